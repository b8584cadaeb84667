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
  kConvert = 255,  // an input into values that the other operators read; prepare() puts it there, no file has it
};

enum class Area : uint8_t {  // the height and width that a node makes
  kWindow,                   // as its kernel, stride, dilation and padding give them
  kWhole,                    // 1 x 1, of the whole map
  kSame,                     // its input's; all inputs have the shape of the output
};

struct OpInfo {
  const char* name;
  int inputs;           // -1: any number
  Area area;            // kWindow alone takes a window
  bool weights;         // and a bias
  bool keeps_channels;  // output channel c is made of input channel c alone; otherwise of all channels of its group
  bool pools;           // no dilation, and no window that sees nothing but padding
  uint8_t flags;        // bits that may be set; 1: the divisor counts padding
};

constexpr OpInfo kOps[] = {
    // name, inputs, area, weights, keeps_channels, pools, flags
    {"conv", 1, Area::kWindow, true, false, false, 0},  // with any groups; a dense layer covers its whole input
    {"depthwise", 1, Area::kWindow, true, true, false, 0},
    {"add", 2, Area::kSame, false, true, false, 0},  // of two maps
    {"max_pool", 1, Area::kWindow, false, true, true, 0},
    {"avg_pool", 1, Area::kWindow, false, true, true, 1},  // the divisor may count padding
    {"global_avg_pool", 1, Area::kWhole, false, true, true, 0},
    {"softmax", 1, Area::kSame, false, true, false, 0},  // over channels
};
constexpr int kOpCount = sizeof kOps / sizeof kOps[0];

constexpr OpInfo kConvertInfo = {"convert", 1, Area::kSame, false, true, false, 0};

constexpr const OpInfo& info_of(Op op) { return op == Op::kConvert ? kConvertInfo : kOps[int(op) - 1]; }
constexpr const char* op_name(Op op) { return info_of(op).name; }

}  // namespace mbinfer
