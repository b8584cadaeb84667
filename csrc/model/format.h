// The bytes of a model file, versions 1 and 2: fixed-size little-endian records, in this order:
//
//   Header | ValueRecord[] | NodeRecord[] | uint32 node_inputs[] | InputRecord[] | OutputRecord[] | QuantRecord[]
//          | MetadataRecord[] | uint32 labels[] | StateRecord[] | strings | zeros up to a multiple of 64 | weights
//
// Counts are in the header; sections follow one another without gaps, so no section offset is stored and none has to be
// trusted. A string is an offset into `strings`, UTF-8, ended by a zero byte. docs/format.md is the same in prose.
#pragma once

#include <stdint.h>

namespace mbinfer::format {

constexpr uint8_t kMagic[8] = {0x89, 'M', 'B', 'I', '\r', '\n', 0x1A, '\n'};
constexpr uint16_t kMajor = 1, kMinor = 0;
constexpr uint16_t kMajorOfStates = 2;  // of files with states, which readers of version 1 refuse
constexpr uint32_t kNone = 0xFFFFFFFF;  // "no value", "no quantisation record"
constexpr uint64_t kWeightAlign = 64;   // of the weights section, and of every tensor in it

struct Header {
  uint8_t magic[8];
  uint16_t major, minor;
  uint32_t structure_crc;  // CRC-32 (zlib's) of every byte before the weights, this field taken as zero
  uint64_t file_bytes;
  uint64_t weights_offset;  // multiple of 64
  uint64_t weights_bytes;   // weights_offset + weights_bytes == file_bytes
  uint32_t weights_crc;     // CRC-32 of the weights; checked on request only
  uint32_t value_count, node_count, node_input_count, input_count, output_count, quant_count, metadata_count;
  uint32_t label_count, string_bytes, state_count;
  uint32_t reserved[11];  // zero, as every reserved field
};

enum DTypeCode : uint8_t { kFloat32 = 1, kFloat16 = 2, kInt8 = 3, kUint8 = 4, kInt32 = 5 };

struct ValueRecord {
  uint32_t name;
  uint32_t height, width, channels;  // batch is 1, order is NHWC
  uint8_t dtype;                     // DTypeCode
  uint8_t reserved0[3];
  uint32_t quant;  // QuantRecord or kNone
  uint32_t reserved[2];
};

enum ActivationCode : uint8_t {
  kNoActivation = 0,
  kClamp = 1,  // ReLU, ReLU6, Clip
  kHardSwish = 2,
  kSigmoid = 3,
  kSilu = 4,
  kTanh = 5,
  kGelu = 6,      // by the error function
  kGeluTanh = 7,  // its approximation by tanh
  kPrelu = 8,     // negative numbers times a slope for each channel
  kElu = 9,       // slope (e^x - 1) for negative numbers
  kExp = 10,
  kLog = 11,
  kRoot = 12,  // square
  kReciprocal = 13,
  kSoftplus = 14,  // log(1 + e^x)
  kMish = 15,      // x tanh(softplus(x))
};

constexpr uint8_t kCountsPadding = 1;  // flag of avg_pool: divide by kh*kw also at the border
constexpr uint8_t kFullRange = 2;      // flag of conv with int8 weights: some are -128, which have no opposite
// Flags of means of uint8: halves are rounded away from 128, or up, as TensorFlow Lite does; otherwise to even. The
// latter is one of resizes, too.
constexpr uint8_t kHalvesAway = 4, kHalvesUp = 8;
// Beside one of the two: halves go to the even number as counted from there, and not from the zero point.
constexpr uint8_t kHalvesEven = 16;
constexpr uint8_t kLogarithm = 64;  // flag of softmax: the logarithm of what it makes
constexpr uint8_t kCentred = 32;    // flag of norm: of numbers less the mean of their pixel

constexpr uint8_t kSoftmaxed = 16;  // flag of candidates: scores become probabilities of each anchor's classes
// Flag of candidates: a box for each anchor, of its best class, not cut to the picture; of nms: classes do not matter.
constexpr uint8_t kAnchorwise = 128;

struct NodeRecord {
  uint32_t name;
  uint8_t op, activation;  // Op of ops.h, ActivationCode
  uint8_t weight_dtype;    // DTypeCode; 0 without weights
  uint8_t flags;
  uint32_t first_input, input_count;  // in node_inputs, values; the lists follow one another in the nodes' order
  uint32_t output;
  uint32_t groups;
  uint16_t kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w;
  uint16_t pad_top, pad_left, pad_bottom, pad_right;
  float clamp_lo, clamp_hi;              // real numbers; of a node that makes uint8, whole ones from 0 to 255
  uint32_t window_channels;              // norm: around each channel, whose squares are summed; 0: all
  uint64_t weight_offset, weight_bytes;  // from the start of the weights; packed as below
  uint64_t bias_offset, bias_bytes;      // of panels of 8 channels: float32[8], or a ChannelRecord with int8 weights
  uint64_t slope_offset;                 // of kPrelu, kElu: float32, padded with zeros to 8 channels; else 0
  // resize, depth_to_space: output row o begins at floor((o * numerator + term) / denominator), columns likewise.
  // candidates, nms: the bits of six float32: least score, overlap, scales of y, x, height and width.
  uint32_t row_numerator, row_denominator;
  int32_t row_term;
  uint32_t column_numerator, column_denominator;
  int32_t column_term;
  int32_t first_channel;  // slice: of the input, below 0 too; candidates: the first class that counts
  uint32_t reserved[1];   // attributes of operators to come; zero is what every present one does
};
// Packing, with N output channels, two panels of 8 side by side (the last ones padded with zeros), K in (ky, kx,
// channel) order:
//   conv       float32, float16: [N/16][K][16]
//              int8: [N/16][kh*kw][ceil(channels / 4)][16][4], the channels of each tap padded with zeros, so that
//              every tap starts at a group of 4
//   depthwise  [C/16][kh*kw][16] in every dtype
//   lookup     uint8[256]
//   candidates float32 [pixels][anchors][4]: middle y and x, height, width
// A grouped convolution stores, for each panel, the input channels that the panel's groups read (see panel_channels()).

struct InputRecord {
  uint32_t value;
  uint8_t has_recipe;  // 0, 1
  uint8_t color;       // 0 RGB, 1 BGR, 2 grey
  uint8_t reserved0[2];
  float crop;               // side of the central square taken of a picture, as a share of its shorter side
  float mean[4], scale[4];  // x = (u8 - mean) * scale, per channel
  uint32_t reserved[5];
};

struct OutputRecord {
  uint32_t value, name;
  uint32_t rank, dims[8];  // the shape in the source model; the product is height*width*channels
  uint32_t reserved[5];
};

// What int8 weights have for each panel of output channels. An output channel is, in float32 from the integer sum on,
// (bias + sum of input * weight) * multiplier + its zero point, where taps outside the input read its zero point.
struct ChannelRecord {
  int32_t bias[8];         // without the zero point of the input: bias - zero_point * (sum of the channel's weights)
  int32_t signed_bias[8];  // of inputs from which 128 was taken: bias + 128 * (sum of the channel's weights)
  float multiplier[8];     // (input scale * weight scale) / output scale
};

struct QuantRecord {  // a quantised number stands for (number - zero_point) * scale
  float scale;
  int32_t zero_point;
  uint32_t reserved[2];
};

struct MetadataRecord {
  uint32_t key, value;
};

struct StateRecord {  // a value that a run finds as the run before it left `next`
  uint32_t value, next;
  uint64_t initial_offset, initial_bytes;  // its first content, height * width * channels numbers; 0, 0: zeros
  uint32_t reserved[2];
};

static_assert(sizeof(Header) == 128, "");
static_assert(sizeof(ValueRecord) == 32, "");
static_assert(sizeof(NodeRecord) == 128, "");
static_assert(sizeof(InputRecord) == 64, "");
static_assert(sizeof(OutputRecord) == 64, "");
static_assert(sizeof(QuantRecord) == 16, "");
static_assert(sizeof(ChannelRecord) == 96, "");
static_assert(sizeof(StateRecord) == 32, "");

}  // namespace mbinfer::format
