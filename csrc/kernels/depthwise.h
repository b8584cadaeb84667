// The depthwise kernel over vec: for each panel, a row of pixels with the weights of one kernel row in registers. A column
// of the input is loaded once and serves every pixel of the tile that reads it:
//
//   columns   c0 c1 c2 c3 c4 ...        kernel 3, stride 1: pixel t sums c(t) w0 + c(t+1) w1 + c(t+2) w2
//
// Walking the columns from left to right keeps each pixel's chain in kx order. Included by isa.cpp only.
#pragma once

namespace mbinfer {
namespace {

template <int kKernel, int kStride, int kPixels>
inline void depthwise_tile(const DepthwiseArgs& a, int panel, int x) {
  const float* weights = a.weights + ptrdiff_t(panel) * a.kernel_h * kKernel * 8;
  f32x8 sums[kPixels];
  const f32x8 bias = load(a.bias + panel * 8);
  MBI_UNROLL for (int t = 0; t < kPixels; t++) sums[t] = bias;
  const ptrdiff_t column0 = ptrdiff_t(x * kStride - a.pad_left) * a.in_stride + panel * 8;
  for (int ky = 0; ky < a.kernel_h; ky++, weights += kKernel * 8) {
    if (!a.rows[ky]) continue;
    const float* in = a.rows[ky] + column0;
    f32x8 w[kKernel];
    MBI_UNROLL for (int kx = 0; kx < kKernel; kx++) w[kx] = load(weights + kx * 8);
    MBI_UNROLL for (int c = 0; c < (kPixels - 1) * kStride + kKernel; c++) {
      const f32x8 column = load(in + c * a.in_stride);
      MBI_UNROLL for (int t = 0; t < kPixels; t++) {
        const int kx = c - t * kStride;
        if (kx >= 0 && kx < kKernel) sums[t] = fma(column, w[kx], sums[t]);
      }
    }
  }
  float* out = a.out + (x - a.x0) * a.out_stride + panel * 8;
  MBI_UNROLL for (int t = 0; t < kPixels; t++) store(out + t * a.out_stride, activate(sums[t], a.activation));
}

// Any kernel, stride and dilation, and the pixels at the border: one pixel, taps cut to the input.
inline void depthwise_pixel(const DepthwiseArgs& a, int panel, int x) {
  const float* weights = a.weights + ptrdiff_t(panel) * a.kernel_h * a.kernel_w * 8;
  const int first = x * a.stride - a.pad_left;
  const int kx0 = first < 0 ? (-first + a.dilation - 1) / a.dilation : 0;
  const int room = a.in_width - first <= 0 ? 0 : (a.in_width - first + a.dilation - 1) / a.dilation;
  const int kx1 = room < a.kernel_w ? room : a.kernel_w;
  f32x8 sum = load(a.bias + panel * 8);
  for (int ky = 0; ky < a.kernel_h; ky++) {
    if (!a.rows[ky]) continue;
    for (int kx = kx0; kx < kx1; kx++)
      sum = fma(load(a.rows[ky] + ptrdiff_t(first + kx * a.dilation) * a.in_stride + panel * 8),
                load(weights + (ky * a.kernel_w + kx) * 8), sum);
  }
  store(a.out + (x - a.x0) * a.out_stride + panel * 8, activate(sum, a.activation));
}

// Output pixels [begin, end) whose taps all lie inside the input.
inline void interior(const DepthwiseArgs& a, int* begin, int* end) {
  const int extent = a.dilation * (a.kernel_w - 1) + 1, last = a.in_width - extent + a.pad_left;
  *begin = (a.pad_left + a.stride - 1) / a.stride;
  *end = last < 0 ? 0 : last / a.stride + 1;
  if (*begin < a.x0) *begin = a.x0;
  if (*end > a.x1) *end = a.x1;
  if (*begin > *end) *begin = *end = a.x1;
}

template <int kKernel, int kStride>
void depthwise_rows(const DepthwiseArgs& a) {
  int begin, end;
  interior(a, &begin, &end);
  for (int panel = 0; panel < a.panels; panel++) {
    int x = a.x0;
    for (; x < begin; x++) depthwise_pixel(a, panel, x);
    for (; end - x >= kDepthwisePixels; x += kDepthwisePixels) depthwise_tile<kKernel, kStride, kDepthwisePixels>(a, panel, x);
    if constexpr (kDepthwisePixels > 4)
      for (; end - x >= 4; x += 4) depthwise_tile<kKernel, kStride, 4>(a, panel, x);
    for (; end - x >= 2; x += 2) depthwise_tile<kKernel, kStride, 2>(a, panel, x);
    for (; x < end; x++) depthwise_tile<kKernel, kStride, 1>(a, panel, x);
    for (; x < a.x1; x++) depthwise_pixel(a, panel, x);
  }
}

void depthwise(const DepthwiseArgs* a) {
  if (a->dilation == 1 && (a->stride == 1 || a->stride == 2)) {
    const bool one = a->stride == 1;
    if (a->kernel_w == 3) return one ? depthwise_rows<3, 1>(*a) : depthwise_rows<3, 2>(*a);
    if (a->kernel_w == 5) return one ? depthwise_rows<5, 1>(*a) : depthwise_rows<5, 2>(*a);
    if (a->kernel_w == 7) return one ? depthwise_rows<7, 1>(*a) : depthwise_rows<7, 2>(*a);
  }
  for (int panel = 0; panel < a->panels; panel++)
    for (int x = a->x0; x < a->x1; x++) depthwise_pixel(*a, panel, x);
}

}  // namespace
}  // namespace mbinfer
