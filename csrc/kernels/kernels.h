// The kernels' whole interface: plain arguments and one table of functions for each instruction set.
//
// Every kernel makes part of one row (or a run of pixels) of a float32 value; rows, strips, rings and threads belong to
// the callers. What the bits of a result are is fixed here and by reference.cpp, and every instruction set keeps it:
//   - a sum of products is one chain of fused multiply-adds that starts at the bias, in (ky, kx, channel) order;
//     taps outside the input are skipped; a chain cut by chunks goes on from the float32 that the output holds;
//   - clamp(x) is  y = lo > x ? lo : x,  then  hi < y ? hi : y;  hard-swish is  (x * clamp(x + 3, 0, 6)) * (1/6);
//   - sums over pixels run in row-major order, and are multiplied by the rounded reciprocal of the count.
// Pixels are `stride` floats apart and hold whole panels of 8 channels, except where a kernel says otherwise.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace mbinfer {

struct ActivationArgs {
  float lo, hi;  // -inf, +inf: none
  int hard_swish;
};

// What happens to finished sums: activation, then (where `residual` is not null) the addition and its own activation.
struct Epilogue {
  ActivationArgs activation;
  const float* residual;  // pixel 0, channel 0
  ptrdiff_t residual_stride;
  ActivationArgs after;
};

struct GemmTap {
  const float* in;  // of pixel 0; `k` channels from here on (no padding needed)
  int k;
  int weight_row;  // the first of the k rows of each panel that meet them
};

// out[p][n] = epilogue(start + sum over taps and k of in[p][k] * weights[n / 8][k][n % 8])
struct GemmArgs {
  const GemmTap* taps;
  int tap_count;
  ptrdiff_t in_stride;
  float* out;
  ptrdiff_t out_stride;
  int pixels;
  const float* weights;  // of the first panel
  ptrdiff_t panel_stride;
  int panels;
  const float* bias;         // null: go on from the sums in `out`
  const Epilogue* epilogue;  // null: the sums go on later
};

// One row of a depthwise convolution, output pixels [x0, x1).
struct DepthwiseArgs {
  const float* const* rows;                            // kernel_h rows of the input, null outside
  int kernel_h, kernel_w, stride, dilation, pad_left;  // stride, dilation and padding along the row
  int in_width;
  ptrdiff_t in_stride;
  float* out;  // of pixel x0
  ptrdiff_t out_stride;
  int x0, x1;
  const float* weights;  // [panels][kernel_h * kernel_w][8]
  const float* bias;
  int panels;
  ActivationArgs activation;
};

// One row of a max or average pool, output pixels [x0, x1).
struct PoolArgs {
  const float* const* rows;
  int kernel_h, kernel_w, stride, pad_left;
  int in_width;
  ptrdiff_t in_stride;
  float* out;
  ptrdiff_t out_stride;
  int x0, x1;
  int panels;
  int average;
  int divisor;  // 0: the taps inside the input
  ActivationArgs activation;
};

// sums[c] (+)= sum over pixels of in[p][c]; the last call multiplies by `factor` and activates.
struct ReduceArgs {
  const float* in;
  ptrdiff_t in_stride;
  int pixels, panels;
  float* sums;
  int first, last;
  float factor;
  ActivationArgs activation;
};

struct AddArgs {  // out[p] = activation(a[p] + b[p]) for whole panels
  const float *a, *b;
  float* out;
  ptrdiff_t a_stride, b_stride, out_stride;
  int pixels, panels;
  ActivationArgs activation;
};

struct NormaliseArgs {  // out[i] = (in[i] - mean[i % period]) * scale[i % period], period a multiple of 8
  const uint8_t* in;
  float* out;
  int count, period;
  const float *mean, *scale;
};

struct KernelTable {
  const char* isa;
  int gemm_pixels, gemm_panels;  // the register tile: work cut at its multiples runs fastest
  void (*gemm)(const GemmArgs*);
  void (*depthwise)(const DepthwiseArgs*);
  void (*pool)(const PoolArgs*);
  void (*reduce)(const ReduceArgs*);
  void (*add)(const AddArgs*);
  void (*normalise)(const NormaliseArgs*);
  // Fused multiply-adds and nothing else, in as many chains as the matrix kernel has sums: the most that a core can do.
  // Returns how many. values: 16 floats; sums: kPeakSums floats.
  long (*multiply_adds)(const float* values, float* sums, int rounds);
};
constexpr int kPeakSums = 128;

extern const KernelTable kReferenceKernels;
extern const KernelTable kAvx2Kernels;
extern const KernelTable kNeonKernels;

// Softmax over `channels` values, in place allowed. One scalar routine for every instruction set.
void softmax(const float* in, float* out, int channels);

}  // namespace mbinfer
