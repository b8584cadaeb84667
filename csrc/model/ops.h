// The operators: one row each, with every rule that the reader and the cost of a node need. mbinfer/ops.py is the same
// table; a test holds the two together. A new operator is a row here, kernels, and a place in plan/stages.cpp.
#pragma once

#include <stdint.h>

namespace mbinfer {

enum class Op : uint8_t {
  kConv = 1,  // the numbers are those of the file
  kDepthwise,
  kAdd,
  kMaxPool,
  kAvgPool,
  kGlobalAvgPool,
  kSoftmax,
  kConvert,  // prepare() puts some behind inputs, too
  kLookup,
  kConcat,
  kMul,
  kResize,
  kSub,
  kMax,
  kMin,
  kDiv,
  kSlice,
  kShuffle,
  kDepthToSpace,
  kArgmax,
  kStack,
  kCandidates,
  kNms,
  kNorm,
};

enum class Area : uint8_t {  // the height and width that a node makes
  kWindow,                   // as its kernel, stride, dilation and padding give them
  kWhole,                    // 1 x 1, of the whole map
  kSame,                     // its input's; all inputs have the shape of the output
  kGated,                    // its first input's, which has the shape of the output; the second one too, or it has one
                             // pixel for all, one channel for all, or one number
  kJoined,                   // its inputs'; the output's channels are theirs, one input after the other
  kSliced,                   // its input's, of whose channels it takes some that follow one another
  kShuffled,                 // its input's, whose channels it takes in another order
  kScaled,                   // any, of positions that its window steps through in fractions
  kAll,                      // 1 x 1, of the whole map at once
  kRow,                      // its input's height: row y is one pixel of numbers about all of row y
  kBlocks,                   // each pixel of its input is a block of pixels
  kStacked,                  // any, of the pixels of its inputs, one input after the other, row by row
};

enum class Types : uint8_t {  // of its inputs and its output
  kAlike,                     // all float32, or all uint8 with scales of their own
  kKept,                      // the same, and what it makes has the type of its input
  kFloats,                    // float32
  kAny,                       // float32, uint8 and int8, each
  kReals,                     // float32, of float32 and uint8
  kNumbers,                   // of float32 or uint8 it makes whole numbers: float32, or uint8 of scale 1
  kTable,                     // uint8: a table in the file has an output for each of 256 inputs
  kFactors,                   // float32, and the file has some numbers for it where others have weights
};

struct OpInfo {
  const char* name;
  int inputs;    // -1: any number
  Area area;     // kWindow alone takes a window
  bool weights;  // and a bias
  Types types;
  bool keeps_channels;  // output channel c is made of input channel c alone; otherwise of all channels of its group
  bool pools;           // no dilation, and no window that sees nothing but padding
  uint8_t flags;        // bits that may be set, those of format.h
};

constexpr OpInfo kOps[] = {
    // name, inputs, area, weights, types, keeps_channels, pools, flags
    // conv has any groups; a dense layer covers its whole input
    {"conv", 1, Area::kWindow, true, Types::kAlike, false, false, 2},
    {"depthwise", 1, Area::kWindow, true, Types::kAlike, true, false, 0},
    {"add", 2, Area::kSame, false, Types::kAlike, true, false, 0},  // of two maps
    {"max_pool", 1, Area::kWindow, false, Types::kKept, true, true, 0},
    {"avg_pool", 1, Area::kWindow, false, Types::kAlike, true, true, 29},  // the divisor may count padding
    {"global_avg_pool", 1, Area::kWhole, false, Types::kAlike, true, true, 28},
    {"softmax", 1, Area::kSame, false, Types::kAlike, true, false, 64},  // over channels
    {"convert", 1, Area::kSame, false, Types::kAny, true, false, 0},     // to another type
    {"lookup", 1, Area::kSame, false, Types::kTable, true, false, 0},    // any function of a uint8
    {"concat", -1, Area::kJoined, false, Types::kKept, false, false, 0},
    {"mul", 2, Area::kGated, false, Types::kAlike, true, false, 0},      // of two maps, or of a map and one pixel
    {"resize", 1, Area::kScaled, false, Types::kAlike, true, false, 8},  // nearest or, of two taps, bilinear
    {"sub", 2, Area::kGated, false, Types::kAlike, true, false, 0},
    {"max", 2, Area::kGated, false, Types::kAlike, true, false, 0},
    {"min", 2, Area::kGated, false, Types::kAlike, true, false, 0},
    {"div", 2, Area::kGated, false, Types::kFloats, true, false, 0},
    {"slice", 1, Area::kSliced, false, Types::kKept, false, false, 0},      // zeros where the input has no channel
    {"shuffle", 1, Area::kShuffled, false, Types::kKept, false, false, 0},  // channels of groups in turn
    {"depth_to_space", 1, Area::kBlocks, false, Types::kKept, false, false, 0},
    {"argmax", 1, Area::kRow, false, Types::kNumbers, false, false, 0},  // of each pixel, the largest channel's number
    {"stack", -1, Area::kStacked, false, Types::kKept, true, false, 0},  // pixels of pictures of as many channels
    {"candidates", 2, Area::kRow, false, Types::kReals, false, false, 144},  // boxes, of scores and of places
    {"nms", 1, Area::kAll, false, Types::kFloats, false, false, 128},        // the best boxes that no better one covers
    {"norm", 1, Area::kSame, false, Types::kFactors, true, false, 32},       // by the squares of channels
};
constexpr int kOpCount = sizeof kOps / sizeof kOps[0];

constexpr const OpInfo& info_of(Op op) { return kOps[int(op) - 1]; }
// Whether output pixel x of row y is made of pixel x of row y of its inputs.
constexpr bool by_pixel(Op op) {
  const Area area = info_of(op).area;
  return area == Area::kSame || area == Area::kGated || area == Area::kJoined || area == Area::kSliced ||
         area == Area::kShuffled;
}
constexpr bool multiplies(Op op) { return op == Op::kMul; }  // the numbers of its inputs with one another
constexpr bool takes_anchors(Op op) { return op == Op::kCandidates; }
constexpr bool has_boxes(Op op) { return op == Op::kCandidates || op == Op::kNms; }
// Whether its window steps through the input in fractions.
constexpr bool in_fractions(Op op) { return info_of(op).area == Area::kScaled || info_of(op).area == Area::kBlocks; }
// Operators that only move numbers take none, nor do those that make all channels of a pixel at once.
constexpr bool takes_activation(Op op) {
  const Area area = info_of(op).area;
  return op != Op::kSoftmax && op != Op::kNorm && area != Area::kJoined && area != Area::kSliced &&
         area != Area::kShuffled && area != Area::kBlocks && area != Area::kRow && area != Area::kAll &&
         area != Area::kStacked;
}
constexpr const char* op_name(Op op) { return info_of(op).name; }

}  // namespace mbinfer
