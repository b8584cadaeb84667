// The depthwise kernel over vec: for each panel, a tile of pixels of a row is summed in registers. A column of the input
// is loaded once and serves every pixel of the tile that reads it:
//
//   columns   c0 c1 c2 c3 c4 ...        kernel 3, stride 1: pixel t sums c(t) w0 + c(t+1) w1 + c(t+2) w2
//
// Walking the columns from left to right keeps each pixel's chain in kx order. Tiles at the border leave out the columns
// that lie outside. Included by isa.cpp only.
#pragma once

namespace mbinfer {
namespace {

// A tile of kPixels from x on, for every panel: neighbouring panels share cache lines, neighbouring tiles only columns.
template <int kKernel, int kStride, int kPixels, bool kBorder>
MBI_INLINE void depthwise_tile(const DepthwiseArgs& a, int x) {
  const ptrdiff_t in_stride = a.in_stride, out_stride = a.out_stride;
  const int first = x * kStride - a.pad_left, kernel_h = a.kernel_h;
  const float *weights = a.weights, *bias = a.bias;
  float* out = a.out + (x - a.x0) * out_stride;
  ptrdiff_t offset = first * in_stride;
  for (int panel = 0; panel < a.panels; panel++, offset += 8, bias += 8, out += 8) {
    f32x8 sums[kPixels][1];
    MBI_UNROLL for (int t = 0; t < kPixels; t++) sums[t][0] = load(bias);
    for (int ky = 0; ky < kernel_h; ky++, weights += kKernel * 8) {
      const float* row = a.rows[ky];
      if (!row) continue;
      const float* in = row + offset;
      f32x8 w[kKernel];
      MBI_UNROLL for (int kx = 0; kx < kKernel; kx++) w[kx] = load(weights + kx * 8);
      MBI_UNROLL for (int c = 0; c < (kPixels - 1) * kStride + kKernel; c++) {
        if (kBorder && unsigned(first + c) >= unsigned(a.in_width)) continue;
        const f32x8 column = load(in + c * in_stride);
        MBI_UNROLL for (int t = 0; t < kPixels; t++) {
          const int kx = c - t * kStride;
          if (kx >= 0 && kx < kKernel) sums[t][0] = fma(column, w[kx], sums[t][0]);
        }
      }
    }
    activate_all(sums, a.activation);
    MBI_UNROLL for (int t = 0; t < kPixels; t++) store(out + t * out_stride, sums[t][0]);
  }
}

// Tiles of kPixels over [x, end) as long as they fit.
template <int kKernel, int kStride, int kPixels, bool kBorder>
MBI_INLINE int depthwise_tiles(const DepthwiseArgs& a, int x, int end) {
  for (; end - x >= kPixels; x += kPixels) depthwise_tile<kKernel, kStride, kPixels, kBorder>(a, x);
  return x;
}

// All of [x, end) in tiles from the largest to the smallest. Rows of 7, 14, 21 ... pixels are whole tiles of 7.
template <int kKernel, int kStride, bool kBorder>
void depthwise_run(const DepthwiseArgs& a, int x, int end) {
  if constexpr (kDepthwisePixels >= 8 && kKernel == 3) {
    if ((end - x) % 8 && (end - x) % 7 == 0) x = depthwise_tiles<kKernel, kStride, 7, kBorder>(a, x, end);
    x = depthwise_tiles<kKernel, kStride, 8, kBorder>(a, x, end);
  }
  if constexpr (kDepthwisePixels >= 4) x = depthwise_tiles<kKernel, kStride, 4, kBorder>(a, x, end);
  x = depthwise_tiles<kKernel, kStride, 2, kBorder>(a, x, end);
  depthwise_tiles<kKernel, kStride, 1, kBorder>(a, x, end);
}

template <int kKernel, int kStride>
void depthwise_rows(const DepthwiseArgs& a) {
  // Pixels whose taps all lie inside are [inner, outer). Outside of [begin, end) tiles look at every column; those two are
  // moved inwards to whole tiles.
  constexpr int kTile = kDepthwisePixels < 4 ? kDepthwisePixels : kKernel == 3 ? kDepthwisePixels : 4;
  const int room = a.in_width - kKernel + a.pad_left;
  const int inner = (a.pad_left + kStride - 1) / kStride, outer = room < 0 ? 0 : room / kStride + 1;
  const int begin = inner <= a.x0 ? a.x0 : a.x0 + (inner - a.x0 + kTile - 1) / kTile * kTile;
  const int end = outer >= a.x1 ? a.x1 : begin + (outer - begin) / kTile * kTile;
  if (begin >= end) return depthwise_run<kKernel, kStride, true>(a, a.x0, a.x1);
  depthwise_run<kKernel, kStride, true>(a, a.x0, begin);
  depthwise_run<kKernel, kStride, false>(a, begin, end);
  depthwise_run<kKernel, kStride, true>(a, end, a.x1);
}

// Any kernel, stride and dilation: one pixel at a time, taps cut to the input.
void depthwise_pixels(const DepthwiseArgs& a) {
  for (int x = a.x0; x < a.x1; x++) {
    const int first = x * a.stride - a.pad_left;
    const int kx0 = first < 0 ? (-first + a.dilation - 1) / a.dilation : 0;
    const int room = a.in_width - first <= 0 ? 0 : (a.in_width - first + a.dilation - 1) / a.dilation;
    const int kx1 = room < a.kernel_w ? room : a.kernel_w;
    const float* weights = a.weights;
    for (int c = 0; c < a.panels * 8; c += 8, weights += a.kernel_h * a.kernel_w * 8) {
      f32x8 sum = load(a.bias + c);
      for (int ky = 0; ky < a.kernel_h; ky++) {
        if (!a.rows[ky]) continue;
        for (int kx = kx0; kx < kx1; kx++)
          sum = fma(load(a.rows[ky] + ptrdiff_t(first + kx * a.dilation) * a.in_stride + c), load(weights + (ky * a.kernel_w + kx) * 8), sum);
      }
      store(a.out + (x - a.x0) * a.out_stride + c, activate(sum, a.activation));
    }
  }
}

void depthwise(const DepthwiseArgs* a) {
  if (a->dilation == 1 && (a->stride == 1 || a->stride == 2)) {
    const bool one = a->stride == 1;
    if (a->kernel_w == 3) return one ? depthwise_rows<3, 1>(*a) : depthwise_rows<3, 2>(*a);
    if (a->kernel_w == 5) return one ? depthwise_rows<5, 1>(*a) : depthwise_rows<5, 2>(*a);
    if (a->kernel_w == 7) return one ? depthwise_rows<7, 1>(*a) : depthwise_rows<7, 2>(*a);
  }
  depthwise_pixels(*a);
}

}  // namespace
}  // namespace mbinfer
