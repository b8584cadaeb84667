// The depthwise kernel over vec: for each panel, a tile of pixels of a row is summed in registers. A column of the
// input is loaded once and serves every pixel of the tile that reads it:
//
//   columns   c0 c1 c2 c3 c4 ...        kernel 3, stride 1: pixel t sums c(t) w0 + c(t+1) w1 + c(t+2) w2
//
// Walking the columns from left to right keeps each pixel's chain in kx order. Tiles at either end of a row leave out
// the columns that lie outside. Included by isa.cpp only.
#pragma once

namespace mbinfer {
namespace {

// A tile of kPixels from x on, kPanels panels at a time from `panel` on; at an edge some columns do not exist. Returns
// the panel after the last one done.
template <int kKernel, int kStride, int kPixels, int kPanels, bool kEdge>
MBI_INLINE int depthwise_panels(const DepthwiseArgs& a, int x, int panel) {
  constexpr int kColumns = (kPixels - 1) * kStride + kKernel, kPad = kKernel / 2, kAhead = kEdge ? 0 : kColumnsAhead;
  const ptrdiff_t in_stride = a.in_stride, out_stride = a.out_stride,
                  panel_weights = ptrdiff_t(a.kernel_h) * kKernel * 8;
  const int first = x * kStride - a.pad_left, inside = a.in_width - first, kernel_h = a.kernel_h, panels = a.panels;
  auto exists = [&](int c) { return !kEdge || ((c >= kPad || c >= -first) && (c < kColumns - kPad || c < inside)); };
  const void* const* rows = a.rows;
  const ActivationArgs activation = a.activation;
  const float* weights = static_cast<const float*>(a.weights) + (a.panel + panel) * panel_weights;
  const float* bias = static_cast<const float*>(a.bias) + panel * 8;
  float* out = at(a.out, (x - a.x0) * out_stride) + panel * 8;
  ptrdiff_t offset = first * in_stride + panel * ptrdiff_t(8 * sizeof(float));
  for (; panels - panel >= kPanels; panel += kPanels, bias += kPanels * 8, out += kPanels * 8) {
    f32x8 sums[kPixels][kPanels];
    MBI_UNROLL for (int t = 0; t < kPixels; t++) {
      MBI_UNROLL for (int n = 0; n < kPanels; n++) sums[t][n] = load(bias + n * 8);
    }
    for (int ky = 0; ky < kernel_h; ky++, weights += kKernel * 8) {
      if (!rows[ky]) continue;
      const float* in = at(rows[ky], offset);
      f32x8 w[kKernel][kPanels], columns[kAhead + 1][kPanels];
      MBI_UNROLL for (int kx = 0; kx < kKernel; kx++) {
        MBI_UNROLL for (int n = 0; n < kPanels; n++) w[kx][n] = load(weights + n * panel_weights + kx * 8);
      }
      MBI_UNROLL for (int c = -kAhead; c < kColumns; c++) {
        const int loaded = c + kAhead;
        if (loaded < kColumns) {
          if (exists(loaded)) {
            MBI_UNROLL for (int n = 0; n < kPanels; n++) columns[loaded % (kAhead + 1)][n] =
                kStride > 1 ? load_once(in + n * 8) : load(in + n * 8);
          }
          in = opaque(at(in, in_stride));
        }
        if (c < 0 || !exists(c)) continue;
        const f32x8(&column)[kPanels] = columns[c % (kAhead + 1)];
        MBI_UNROLL for (int t = 0; t < kPixels; t++) {
          const int kx = c - t * kStride;
          if (kx < 0 || kx >= kKernel) continue;
          MBI_UNROLL for (int n = 0; n < kPanels; n++) sums[t][n] = fma(column[n], w[kx][n], sums[t][n]);
        }
      }
    }
    weights += (kPanels - 1) * panel_weights;
    offset += kPanels * ptrdiff_t(8 * sizeof(float));
    activate_all(sums, activation);
    MBI_UNROLL for (int t = 0; t < kPixels; t++) {
      MBI_UNROLL for (int n = 0; n < kPanels; n++) store(at(out, t * out_stride) + n * 8, sums[t][n]);
    }
  }
  return panel;
}

// Where a tile has few pixels, two panels go together, or each sum would wait for itself.
template <int kKernel, int kStride, int kPixels, bool kEdge>
MBI_INLINE void depthwise_tile(const DepthwiseArgs& a, int x) {
  int panel = 0;
  if constexpr (kThinPanels > 1 && kPixels * 2 <= kDepthwisePixels[1] && kKernel == 3)
    panel = depthwise_panels<kKernel, kStride, kPixels, kThinPanels, kEdge>(a, x, panel);
  depthwise_panels<kKernel, kStride, kPixels, 1, kEdge>(a, x, panel);
}

// Tiles of kPixels over [x, x1) as long as they fit, each for all panels: neighbouring panels share cache lines,
// neighbouring tiles only columns.
template <int kKernel, int kStride, int kPixels>
__attribute__((noinline)) int depthwise_tiles(const DepthwiseArgs& a, int x) {
  for (; a.x1 - x >= kPixels; x += kPixels) {
    const int first = x * kStride - a.pad_left, end = first + (kPixels - 1) * kStride + kKernel;
    if (first >= 0 && end <= a.in_width)
      depthwise_tile<kKernel, kStride, kPixels, false>(a, x);
    else
      depthwise_tile<kKernel, kStride, kPixels, true>(a, x);
  }
  return x;
}

// Pixels so many bytes apart share a few sets of the first cache: a tile's columns drive each other out before the
// next panel, the other half of their lines, comes. Then tiles of two panels side by side, thus narrow ones, are
// better.
constexpr ptrdiff_t kCrowded = 1024;

// A row in tiles from the largest to the smallest; rows of 7, 14, 21 ... pixels are whole tiles of 7.
template <int kKernel, int kStride>
void depthwise_row(const DepthwiseArgs& a) {
  int x = a.x0;
  constexpr int kMost = kDepthwisePixels[kKernel / 2];
  if constexpr (kMost >= 8) {
    if (kThinPanels == 1 || a.in_stride % kCrowded) {
      if ((a.x1 - x) % 8 && (a.x1 - x) % 7 == 0) x = depthwise_tiles<kKernel, kStride, 7>(a, x);
      x = depthwise_tiles<kKernel, kStride, 8>(a, x);
    }
  }
  if constexpr (kMost >= 4) x = depthwise_tiles<kKernel, kStride, 4>(a, x);
  x = depthwise_tiles<kKernel, kStride, 2>(a, x);
  depthwise_tiles<kKernel, kStride, 1>(a, x);
}

// Any kernel, stride and dilation: one pixel at a time, taps cut to the input.
void depthwise_pixels(const DepthwiseArgs& a) {
  for (int x = a.x0; x < a.x1; x++) {
    const int first = x * a.stride - a.pad_left;
    const int kx0 = first < 0 ? (-first + a.dilation - 1) / a.dilation : 0;
    const int room = a.in_width - first <= 0 ? 0 : (a.in_width - first + a.dilation - 1) / a.dilation;
    const int kx1 = room < a.kernel_w ? room : a.kernel_w;
    const ptrdiff_t panel_weights = ptrdiff_t(a.kernel_h) * a.kernel_w * 8;
    const float* weights = static_cast<const float*>(a.weights) + a.panel * panel_weights;
    for (int c = 0; c < a.panels * 8; c += 8, weights += panel_weights) {
      f32x8 sum = load(static_cast<const float*>(a.bias) + c);
      for (int ky = 0; ky < a.kernel_h; ky++) {
        if (!a.rows[ky]) continue;
        const float* row = static_cast<const float*>(a.rows[ky]) + c;
        for (int kx = kx0; kx < kx1; kx++)
          sum = fma(load(at(row, (first + kx * a.dilation) * a.in_stride)), load(weights + (ky * a.kernel_w + kx) * 8),
                    sum);
      }
      store(at(a.out, (x - a.x0) * a.out_stride) + c, activate(sum, a.activation));
    }
  }
}

void depthwise(const DepthwiseArgs* a) {
  // A tile may reach half a kernel over either end of the row.
  const int over = (a->x1 - 1) * a->stride - a->pad_left + a->kernel_w - a->in_width, most = a->kernel_w / 2;
  if (a->dilation == 1 && (a->stride == 1 || a->stride == 2) && a->pad_left - a->x0 * a->stride <= most &&
      over <= most) {
    const bool one = a->stride == 1;
    if (a->kernel_w == 3) return one ? depthwise_row<3, 1>(*a) : depthwise_row<3, 2>(*a);
    if (a->kernel_w == 5) return one ? depthwise_row<5, 1>(*a) : depthwise_row<5, 2>(*a);
    if (a->kernel_w == 7) return one ? depthwise_row<7, 1>(*a) : depthwise_row<7, 2>(*a);
  }
  depthwise_pixels(*a);
}

}  // namespace
}  // namespace mbinfer
