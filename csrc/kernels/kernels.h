// The kernels' whole interface: plain arguments, and for each instruction set a table of functions for each type.
//
// A kernel makes part of one row (or a run of pixels) of a value; rows, strips, rings and threads belong to the
// callers. Data is `void*`, strides are bytes, and channels come in whole panels of 8, except where a kernel says
// otherwise: a kernel casts once, at its top. What the bits of a float32 result are is fixed here and by reference.cpp,
// and every instruction set keeps it:
//   - a sum of products is one chain of fused multiply-adds that starts at the bias, in (ky, kx, channel) order;
//     taps outside the input are skipped; a chain that is cut goes on from the float32 that `sums` holds;
//   - clamp(x) is  y = lo > x ? lo : x,  then  hi < y ? hi : y;  hard-swish is  x * (clamp(x + 3, 0, 6) * (1/6)),
//     which overflows nowhere; the other curves are those of curves.h, operation by operation;
//   - weights of float16 stand for the float32 of the same value, denormal float16 included;
//   - a maximum or minimum of two numbers is NaN where one of them is;
//   - a max pool gives the first of its largest values, or NaN where it meets one (which NaN is not promised);
//   - sums over pixels run in row-major order, and are multiplied by the rounded reciprocal of the count;
//   - callers round to nearest and flush denormals, where the CPU can (exec/float_mode.h): inputs and results below
//     2^-126 are zeros of their sign.
// Weights are those of a whole node, as the file packs them: two panels side by side, [panels / 2][rows][16], the last
// one filled up with zeros where their number is odd. A row is a tap and channel of a matrix (four channels of int8
// weights: [rows][16][4]), a tap of a depthwise kernel.
//
// uint8 values have int8 weights and sums of int32, which wrap around. docs/quantization.md has the arithmetic:
//   - a sum starts at the bias of Channels, and a tap outside the input reads its zero point;
//   - requantise(x) is  clamp(x, lo, hi)  in steps from the zero point of the output, which holds no NaN, rounded
//   half
//     to even, plus that zero point; x is float(sum) * multiplier, each rounded to float32 once;
//   - an addition is  requantise(float(a - a_zero) * (a_scale / out_scale) + float(b - b_zero) * (b_scale /
//   out_scale)),
//     every operation rounded.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "dtype.h"

namespace mbinfer {

enum Curve : int {
  kNoCurve,
  kHardSwish,
  kSigmoid,
  kSilu,
  kTanh,
  kGelu,
  kGeluTanh,
  kPrelu,
  kElu,
  kExp,
  kLog,
  kRoot,
  kReciprocal,
  kSoftplus,
  kMish
};
constexpr int32_t kRootHalfBits = 0x3F3504F3;  // the bits of sqrt(1/2), for binary_log() of vec.h

struct ActivationArgs {
  float lo, hi;         // -inf, +inf: none; of uint8: whole steps from the zero point, between those of 0 and of 255
  int curve;            // in place of the bounds
  const float* slopes;  // of kPrelu and kElu, where a number is negative: by channel, from the first panel made on
};

// Of the 8 output channels of a panel, with int8 weights; format.h has the same record.
struct Channels {
  int32_t bias[kPanel];         // of sums of (input * weight)
  int32_t signed_bias[kPanel];  // of sums of ((input - 128) * weight)
  float multiplier[kPanel];
};

// What happens to finished sums: activation, then (where `residual` is not null) the addition and its own activation.
struct Finish {
  ActivationArgs activation;
  const void* residual;  // pixel 0, channel 0
  ptrdiff_t residual_stride;
  ActivationArgs after;
  // uint8: of the first panel made; of what is made, of the residual, and of their sum
  const Channels* channels = nullptr;
  Type made = {}, added = {}, sum = {};
};

struct Tap {
  // Of pixel 0; `k` channels from here on (no padding needed). uint8: `k` is a multiple of 4, of which the last ones
  // may be anything where the weights are zero; null: the tap is outside, and every input is the zero point.
  const void* in;
  int k;
  int weight_row;  // the first of the k rows of each panel that meet them
};

// out[p][n] = finish(start + sum over taps and k of in[p][k] * weights[n / 16][k][n % 16]), for some panels of a node.
// Sums that are cut into several calls wait in `sums`; where a sum is of the output's type, that may be the output.
struct GemmArgs {
  const Tap* taps;
  int tap_count;
  ptrdiff_t in_stride;
  void* sums;  // of pixel 0 and the first panel made, as `out`
  ptrdiff_t sums_stride;
  void* out;
  ptrdiff_t out_stride;
  int pixels;
  const void* weights;
  int weight_rows;
  int panel, panels;                     // made: [panel, panel + panels) of the node's
  const void* bias;                      // of the first panel made (uint8: its Channels); null: go on from `sums`
  const Finish* finish;                  // null: leave the sums in `sums`
  int zero_point = 0;                    // of the input
  int full_range = 0;                    // some int8 weights of the node may be -128
  DType weight_dtype = DType::kFloat32;  // or kFloat16; of uint8: kInt8, whatever this says
  // Bytes of a call's weights from which on those of the next vectors are asked for while others are multiplied: what
  // is smaller stays in the core's first cache.
  int64_t ahead_from = 32 << 10;
};

// One row of a depthwise convolution, output pixels [x0, x1), some panels of a node.
struct DepthwiseArgs {
  const void* const* rows;                             // kernel_h rows of the input, of the first panel; null: outside
  int kernel_h, kernel_w, stride, dilation, pad_left;  // stride, dilation and padding along the row
  int in_width;
  ptrdiff_t in_stride;
  void* out;  // of pixel x0 and the first panel
  ptrdiff_t out_stride;
  int x0, x1;
  const void* weights;
  int panel, panels;  // made, of the node's
  const void* bias;   // of the first panel made (uint8: its Channels)
  ActivationArgs activation;
  Type in_type = {}, out_type = {};
  DType weight_dtype = DType::kFloat32;  // as of GemmArgs
};

// Zero points of a mean of uint8 that is rounded as numbers and not as steps: what they are beyond those of its types,
// which it is made with. It is sum * factor and what they add.
struct MeanZeros {
  float in, out;
};
static inline float offset_of(const MeanZeros& zeros, float count, float factor) {
  return zeros.out - zeros.in * count * factor;
}

// One row of a max or average pool, output pixels [x0, x1).
struct PoolArgs {
  const void* const* rows;
  int kernel_h, kernel_w, stride, pad_left;
  int in_width;
  ptrdiff_t in_stride;
  void* out;
  ptrdiff_t out_stride;
  int x0, x1;
  int panels;
  int average;
  int divisor;  // 0: the taps inside the input
  ActivationArgs activation;
  Type in_type = {}, out_type = {};  // uint8: a mean is requantise(sum of (in - zero point) * factor + offset)
  MeanZeros zeros = {};
};

// sums[c] (+)= sum over pixels of in[p][c]; the last call writes out[c] = activation(sums[c] * factor). `sums` may be
// `out` where a sum is of the output's type; a call that is first and last needs none. uint8: of in[p][c] - zero point,
// and requantise(sums[c] * factor + offset).
struct ReduceArgs {
  const void* in;
  ptrdiff_t in_stride;
  int pixels, panels;
  void *sums, *out;
  int first, last;
  float factor;  // of a mean: 1 / pixels; uint8: in_scale / (out_scale * pixels)
  ActivationArgs activation;
  Type in_type = {}, out_type = {};
  float offset = 0;  // uint8
};

struct AddArgs {  // out[p] = activation(a[p] + b[p])
  const void *a, *b;
  void* out;
  ptrdiff_t a_stride, b_stride, out_stride;
  int pixels, panels;
  ActivationArgs activation;
  Type a_type = {}, b_type = {}, out_type = {};
};

enum Pair : int { kMul, kSub, kMax, kMin, kDiv };

// out[p] = activation(a[p] * b[p]), or another function of the two. b_stride 0: one pixel for all; one_channel: the
// first channel of b for all. Of uint8 a product is requantise(float((a - a_zero) * (b - b_zero)) * factor), another
// function, which is no quotient, is that of float(a - a_zero) * factor and float(b - b_zero) * b_factor.
struct PairArgs {
  Pair pair;
  const void *a, *b;
  void* out;
  ptrdiff_t a_stride, b_stride, out_stride;
  int pixels, panels;
  ActivationArgs activation;
  int one_channel = 0;
  float factor = 1, b_factor = 1;
  Type a_type = {}, b_type = {}, out_type = {};
};

// How a resize of uint8 counts along an axis, as onnxruntime and XNNPACK do in float32.
struct ByteAxis {
  int last;       // pixel
  float middle;   // 0.5: positions are rounded as those of middles of pixels, 0: of their beginnings
  bool in_parts;  // XNNPACK's weights: rounded to so many parts
};
constexpr int kResizeParts = 1 << 11;

// How much of the pixel behind `whole` an output has that lies `rest / denominator` after it; half where both are the
// last one.
static inline float byte_fraction(int whole, int rest, int denominator, const ByteAxis& axis) {
  if (whole < 0) return 0;
  if (whole >= axis.last) return 0.5f;
  const float position = float(double(whole) + double(axis.middle) + double(rest) / double(denominator));
  const float f = (position - axis.middle) - float(whole);
  return axis.in_parts ? float(int(f * float(kResizeParts) + 0.5f)) / float(kResizeParts) : f;
}

// Pixels of a row between two rows. Pixel 0 lies `rest / denominator` behind `first`, each other one `step` and
// `step_rest / denominator` after the one before it. Of one tap it is the pixel that it lies behind, of two it is
// weighed between that and the next, across, then down, each a + f (b - a). Positions are cut to the row. Of uint8 it
// is requantise(sum / out_type.scale), the sum being that of four pixels, those of the upper row first, and each
// (weight down * weight across) * (float(in - zero point) * in_type.scale); of one tap both ways it is
// requantise(float(in - zero point) * (in_type.scale / out_type.scale)).
struct ResizeArgs {
  const void* rows[2];  // null rows[1]: one tap down
  float down;           // how near it is to rows[1]
  int taps;             // across
  int first, rest, step, step_rest, denominator;
  int in_width;
  ptrdiff_t in_stride;
  void* out;
  ptrdiff_t out_stride;
  int pixels, panels;
  ActivationArgs activation;
  Type in_type = {}, out_type = {};
  ByteAxis columns = {};  // of uint8
};

struct SoftmaxArgs {  // over the `channels` of each pixel, which need not fill panels; in place allowed
  const void* in;
  void* out;
  ptrdiff_t in_stride, out_stride;
  int pixels, channels;
  int logarithm = 0;  // of what it makes, float32 only
  Type in_type = {}, out_type = {};
};

// out[p][c] = y / max(offset + factor * sum of squares, least)^exponent, the sum over the channels of a window around
// c, or over all of them. y is in[p][c], less the mean of the pixel's channels where it is `centred`, which a window is
// not. The sum of a window is one chain, from its first channel to the last. A sum over all channels is eight chains,
// each of every eighth channel: s0 to s7, joined as ((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7)).
struct NormArgs {
  const void* in;
  void* out;  // not the input
  ptrdiff_t in_stride, out_stride;
  int pixels, channels;
  int window;  // how many channels, (window - 1) / 2 of them before c; 0: all of the pixel
  int centred;
  const float* numbers;  // factor, offset, exponent, least
};

struct LookupArgs {  // out[p][c] = table[in[p][c]], of uint8
  const void *in, *table;
  void* out;
  ptrdiff_t in_stride, out_stride;
  int pixels, panels;
};

// out[p] = the number of the largest channel of in[p], the first of those as large: a byte, or a float32. A NaN is
// larger than nothing and nothing is larger than it: a channel 0 that is one stays.
struct ArgmaxArgs {
  const void* in;
  DType in_type;  // float32 or uint8
  void* out;
  DType out_type;  // uint8 or float32
  ptrdiff_t in_stride;
  int pixels, channels;
};

constexpr int kBox = 6;  // numbers of a box: y0, x0, y1, x1 as shares of the picture, score, class

// The best `boxes` boxes of a row of pixels, of those that score more than `least_score`, best first, of equal ones the
// first; zeros behind them. Pixels have `anchors` times `classes` scores, and of each anchor how far the box's middle
// and size are from it: middle + step / scale * size, size * e^(step / scale), along y and x; boxes are cut to the
// picture.
struct CandidatesArgs {
  const void *scores, *places;
  Type scores_type, places_type;
  ptrdiff_t scores_stride, places_stride;
  int pixels, anchors, classes, first_class;  // classes before `first_class` are no boxes
  bool softmax;                               // over the classes of an anchor
  bool anchorwise;                            // a box for each anchor in its place, its best class's, not cut
  const void* table;                          // float32: middle y and x, height, width, of each anchor of each pixel
  int first_pixel;                            // of the row, in that table
  float least_score, scale[4];
  void* out;  // float32
  int boxes;
};

// The best `most` of boxes, best first, of equal ones the first, without those of which a better one of their class
// shares more than `overlap` of what both cover; of an overlap of 1 or more all stay. Zeros behind them.
struct NmsArgs {
  const void* in;
  ptrdiff_t in_stride;  // from row to row
  int rows, boxes;      // boxes of each row, of which those of score 0 are none
  float overlap;
  bool anchorwise;  // a box covers those of other classes too
  void* out;
  int most;
};

// Numbers of one type as numbers of another: float32, uint8 and int8, through the real number x that they stand for,
// which is (in - zero_point) * scale, or (in[c] - mean[c]) * scale[c] where there is a mean. A quantised number is x /
// scale, NaN taken for the least, clamped to what the type holds and rounded half to even, plus the zero point.
// Channels from `channels` up to `out_channels` become zeros.
struct ConvertArgs {
  const void* in;
  Type in_type;
  void* out;
  Type out_type;
  ptrdiff_t in_stride, out_stride;
  int pixels, channels, out_channels;
  const float *mean, *scale;      // of each channel of a picture, or null
  const float* factor = nullptr;  // scale / out_type.scale, where all 256 bytes become the same so; or null
};

struct Tile {
  int pixels, panels;  // of the matrix kernel: work cut at its multiples runs fastest
};

struct Kernels {  // of one type
  Tile tile;
  void (*gemm)(const GemmArgs*);
  void (*depthwise)(const DepthwiseArgs*);
  void (*pool)(const PoolArgs*);
  void (*reduce)(const ReduceArgs*);
  void (*add)(const AddArgs*);
  void (*pair)(const PairArgs*);
  void (*resize)(const ResizeArgs*);
  void (*softmax)(const SoftmaxArgs*);
  void (*norm)(const NormArgs*);  // float32 only
};

struct KernelTable {  // of one instruction set
  const char* isa;
  Kernels f32;
  const Kernels* u8;
  void (*lookup)(const LookupArgs*);
  void (*convert)(const ConvertArgs*);
  // Fused multiply-adds and nothing else, in as many chains as the matrix kernel has sums: the most that a core can do.
  // Returns how many. values: two vectors; sums: kPeakSums floats.
  long (*multiply_adds)(const float* values, float* sums, int rounds);

  const Kernels& of(DType type) const;  // of values of this type
};
constexpr int kPeakSums = 512, kPeakValues = 32;

extern const KernelTable kReferenceKernels;
extern const KernelTable kAvx2Kernels;
extern const KernelTable kAvx512Kernels;
extern const Kernels kAvxvnniKernels, kAvx512vnniKernels;  // of bytes
extern const Kernels kSimdevnniKernels;
extern const KernelTable kSimdeKernels;  // those of AVX-512, made of AVX2 by SIMDe: for tests
extern const KernelTable kNeonKernels;
extern const KernelTable kDotprodKernels;

// One scalar routine for every instruction set: its sums over channels have an order of their own.
void softmax_f32(const SoftmaxArgs* args);
void softmax_u8(const SoftmaxArgs* args);

// The plain loops of uint8, which are the specification, and serve where an instruction set has nothing faster.
extern const Kernels kReferenceU8;
void lookup_reference(const LookupArgs* args);
void convert_reference(const ConvertArgs* args);
void argmax(const ArgmaxArgs* args);
void candidates(const CandidatesArgs* args);
void nms(const NmsArgs* args);  // one scalar routine for every instruction set

}  // namespace mbinfer
