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

constexpr ptrdiff_t kPanelBytes = kPanel * ptrdiff_t(sizeof(float));

// The activation of a tile, its bounds loaded once.
template <class V, int kPixels, int kVectors>
MBI_INLINE void activate_all(V (&x)[kPixels][kVectors], const ActivationArgs& a, int panel) {
  const V lo = V::splat(a.lo), hi = V::splat(a.hi);
  if (a.curve) {
    MBI_UNROLL for (int p = 0; p < kPixels; p++) {
      MBI_UNROLL for (int n = 0; n < kVectors; n++) x[p][n] = activate(x[p][n], a, panel + n * V::kPanels);
    }
  } else {
    MBI_UNROLL for (int p = 0; p < kPixels; p++) {
      MBI_UNROLL for (int n = 0; n < kVectors; n++) x[p][n] = less(hi, greater(lo, x[p][n]));
    }
  }
}

// A tile of kPixels from x on, kVectors vectors at a time of panels [panel, end); at an edge some columns do not exist.
// Returns the panel after the last one done.
template <class W, class V, int kKernel, int kStride, int kPixels, int kVectors, bool kEdge>
MBI_INLINE int depthwise_vectors(const DepthwiseArgs& a, int x, int panel, int end) {
  constexpr int kColumns = (kPixels - 1) * kStride + kKernel, kPad = kKernel / 2;
  static_assert(kVectors * V::kPanels <= 2, "of one pair");
  constexpr int kAhead = kEdge ? 0 : Tiles<V>::columns_ahead, kPanels = kVectors * V::kPanels;
  const ptrdiff_t in_stride = a.in_stride, out_stride = a.out_stride;
  const int first = x * kStride - a.pad_left, inside = a.in_width - first, kernel_h = a.kernel_h;
  auto exists = [&](int c) { return !kEdge || ((c >= kPad || c >= -first) && (c < kColumns - kPad || c < inside)); };
  const void* const* rows = a.rows;
  const ActivationArgs activation = a.activation;
  const float* bias = static_cast<const float*>(a.bias) + panel * kPanel;
  float* out = at(a.out, (x - a.x0) * out_stride) + panel * kPanel;
  ptrdiff_t offset = first * in_stride + panel * kPanelBytes;
  // The weights of the next panels lie behind these, or a single panel's in the other half of the rows.
  constexpr bool kWalks = Tiles<V>::weights_walk;
  constexpr ptrdiff_t kHalf = kPanel * sizeof(W);
  const W* weights = panel_weights<W>(a.weights, kernel_h * kKernel, a.panel + panel);
  const ptrdiff_t pair = pair_bytes<W>(kernel_h * kKernel);
  ptrdiff_t back = (a.panel + panel) % 2 ? kHalf : pair - kHalf;
  for (; end - panel >= kPanels; panel += kPanels, bias += kPanels * kPanel, out += kPanels * kPanel) {
    if (!kWalks) weights = panel_weights<W>(a.weights, kernel_h * kKernel, a.panel + panel);
    V sums[kPixels][kVectors];
    MBI_UNROLL for (int t = 0; t < kPixels; t++) {
      MBI_UNROLL for (int n = 0; n < kVectors; n++) sums[t][n] = V::load(bias + n * kLanes<V>);
    }
    for (int ky = 0; ky < kernel_h; ky++, weights += kKernel * kRow) {
      if (!rows[ky]) continue;
      const float* in = at(rows[ky], offset);
      V w[kKernel][kVectors], columns[kAhead + 1][kVectors];
      MBI_UNROLL for (int kx = 0; kx < kKernel; kx++) {
        MBI_UNROLL for (int n = 0; n < kVectors; n++) w[kx][n] = V::load(weights + kx * kRow + n * kLanes<V>);
      }
      MBI_UNROLL for (int c = -kAhead; c < kColumns; c++) {
        const int loaded = c + kAhead;
        if (loaded < kColumns) {
          if (exists(loaded)) {
            MBI_UNROLL for (int n = 0; n < kVectors; n++) columns[loaded % (kAhead + 1)][n] =
                kStride > 1 ? V::load_kept(in + n * kLanes<V>) : V::load(in + n * kLanes<V>);
          }
          in = pace(at(in, in_stride));
        }
        if (c < 0 || !exists(c)) continue;
        const V(&column)[kVectors] = columns[c % (kAhead + 1)];
        MBI_UNROLL for (int t = 0; t < kPixels; t++) {
          const int kx = c - t * kStride;
          if (kx < 0 || kx >= kKernel) continue;
          MBI_UNROLL for (int n = 0; n < kVectors; n++) sums[t][n] = fma_in_place(column[n], w[kx][n], sums[t][n]);
        }
      }
    }
    if (kWalks && kPanels == 1) weights = weights_at<W>(weights, -back), back = pair - back;
    offset += kPanels * kPanelBytes;
    activate_all(sums, activation, panel);
    MBI_UNROLL for (int t = 0; t < kPixels; t++) {
      MBI_UNROLL for (int n = 0; n < kVectors; n++) store(at(out, t * out_stride) + n * kLanes<V>, sums[t][n]);
    }
  }
  return panel;
}

template <class V, int kKernel, int kPixels>
constexpr bool kThin = Tiles<V>::thin_vectors > 1 && kPixels * 2 <= Tiles<V>::depthwise_pixels[1] && kKernel == 3;

// Where a tile has few pixels, several vectors go together, or each sum would wait for itself.
template <class W, class V, int kKernel, int kStride, int kPixels, bool kEdge>
MBI_INLINE void depthwise_panels(const DepthwiseArgs& a, int x, int panel, int end) {
  using Sizes = Tiles<V>;
  if constexpr (kThin<V, kKernel, kPixels>)
    panel = depthwise_vectors<W, V, kKernel, kStride, kPixels, Sizes::thin_vectors, kEdge>(a, x, panel, end);
  depthwise_vectors<W, V, kKernel, kStride, kPixels, 1, kEdge>(a, x, panel, end);
}

template <class W, int kKernel, int kStride, int kPixels, bool kEdge>
MBI_INLINE void depthwise_tile(const DepthwiseArgs& a, int x, Cut cut) {
  if constexpr (wide::kPanels == 1 && !kThin<wide, kKernel, kPixels>)
    return void(depthwise_vectors<W, wide, kKernel, kStride, kPixels, 1, kEdge>(a, x, 0, a.panels));
  if (cut.first) depthwise_vectors<W, f32x8, kKernel, kStride, kPixels, 1, kEdge>(a, x, 0, cut.first);
  depthwise_panels<W, wide, kKernel, kStride, kPixels, kEdge>(a, x, cut.first, cut.last);
  if constexpr (wide::kPanels > 1)
    depthwise_vectors<W, f32x8, kKernel, kStride, kPixels, 1, kEdge>(a, x, cut.last, a.panels);
}

// Tiles of kPixels over [x, x1) as long as they fit, each for all panels: neighbouring panels share cache lines,
// neighbouring tiles only columns.
template <class W, int kKernel, int kStride, int kPixels>
__attribute__((noinline)) int depthwise_tiles(const DepthwiseArgs& a, int x) {
  const Cut cut = cut_panels(a.panel, a.panels);
  for (; a.x1 - x >= kPixels; x += kPixels) {
    const int first = x * kStride - a.pad_left, end = first + (kPixels - 1) * kStride + kKernel;
    if (first >= 0 && end <= a.in_width)
      depthwise_tile<W, kKernel, kStride, kPixels, false>(a, x, cut);
    else
      depthwise_tile<W, kKernel, kStride, kPixels, true>(a, x, cut);
  }
  return x;
}

// Pixels so many bytes apart share a few sets of the first cache: a tile's columns drive each other out before the
// next panel, the other half of their lines, comes. Then tiles of two panels side by side, thus narrow ones, are
// better.
constexpr ptrdiff_t kCrowded = 1024;

// A row in tiles from the largest to the smallest; rows of 7, 14, 21 ... pixels are whole tiles of 7.
template <class W, int kKernel, int kStride>
void depthwise_row(const DepthwiseArgs& a) {
  using Sizes = Tiles<wide>;
  int x = a.x0;
  constexpr int kMost = Sizes::depthwise_pixels[kKernel / 2];
  if constexpr (kMost >= 8) {
    if (Sizes::thin_vectors == 1 || a.in_stride % kCrowded) {
      if ((a.x1 - x) % 8 && (a.x1 - x) % 7 == 0) x = depthwise_tiles<W, kKernel, kStride, 7>(a, x);
      x = depthwise_tiles<W, kKernel, kStride, 8>(a, x);
    }
  }
  if constexpr (kMost >= 4) x = depthwise_tiles<W, kKernel, kStride, 4>(a, x);
  x = depthwise_tiles<W, kKernel, kStride, 2>(a, x);
  depthwise_tiles<W, kKernel, kStride, 1>(a, x);
}

struct Inside {  // taps [begin, end) of a row
  int begin, end;
};

// Of a pixel whose first tap is column `first` of the input.
inline Inside taps_inside(const DepthwiseArgs& a, int first) {
  auto taps_before = [&](int columns) { return columns <= 0 ? 0 : (columns + a.dilation - 1) / a.dilation; };
  const int begin = taps_before(-first), end = taps_before(a.in_width - first);
  if (end < begin) return {0, 0};
  return {begin < a.kernel_w ? begin : a.kernel_w, end < a.kernel_w ? end : a.kernel_w};
}

// Any kernel, stride and dilation, in tiles of kPixels, whose taps are all inside where they are several. Returns the
// pixel after the last one done.
template <class W, int kPixels>
int depthwise_any(const DepthwiseArgs& a, int x, int end) {
  const ptrdiff_t column = a.dilation * a.in_stride, pixel = a.stride * a.in_stride;
  for (; end - x >= kPixels; x += kPixels) {
    const int first = x * a.stride - a.pad_left;
    const Inside inside = taps_inside(a, first);
    for (int panel = 0; panel < a.panels; panel++) {
      const int c = panel * kPanel;
      const W* weights = panel_weights<W>(a.weights, a.kernel_h * a.kernel_w, a.panel + panel);
      f32x8 sums[kPixels];
      MBI_UNROLL for (int t = 0; t < kPixels; t++) sums[t] = f32x8::load(static_cast<const float*>(a.bias) + c);
      for (int ky = 0; ky < a.kernel_h; ky++, weights += a.kernel_w * kRow) {
        if (!a.rows[ky] || inside.begin == inside.end) continue;
        const float* in = at(static_cast<const float*>(a.rows[ky]) + c, first * a.in_stride + inside.begin * column);
        for (int kx = inside.begin; kx < inside.end; kx++, in = at(in, column)) {
          const f32x8 weight = f32x8::load(weights + kx * kRow);
          MBI_UNROLL for (int t = 0; t < kPixels; t++) sums[t] = fma(f32x8::load(at(in, t * pixel)), weight, sums[t]);
        }
      }
      MBI_UNROLL for (int t = 0; t < kPixels; t++)
          store(at(a.out, (x + t - a.x0) * a.out_stride) + c, activate(sums[t], a.activation, panel));
    }
  }
  return x;
}

// Several pixels at a time where all of their taps are inside, one at a time before and after these.
template <class W>
void depthwise_pixels(const DepthwiseArgs& a) {
  const int room = a.in_width + a.pad_left - (a.kernel_w - 1) * a.dilation - 1;
  const int begin = (a.pad_left + a.stride - 1) / a.stride, end = room < 0 ? 0 : room / a.stride + 1;
  int x = depthwise_any<W, 1>(a, a.x0, begin < a.x1 ? begin : a.x1);
  x = depthwise_any<W, 4>(a, x, end < a.x1 ? end : a.x1);
  depthwise_any<W, 1>(a, x, a.x1);
}

template <class W>
void depthwise_of(const DepthwiseArgs& a) {
  // A tile may reach half a kernel over either end of the row.
  const int over = (a.x1 - 1) * a.stride - a.pad_left + a.kernel_w - a.in_width, most = a.kernel_w / 2;
  if (a.dilation == 1 && (a.stride == 1 || a.stride == 2) && a.pad_left - a.x0 * a.stride <= most && over <= most) {
    const bool one = a.stride == 1;
    if (a.kernel_w == 3) return one ? depthwise_row<W, 3, 1>(a) : depthwise_row<W, 3, 2>(a);
    if (a.kernel_w == 5) return one ? depthwise_row<W, 5, 1>(a) : depthwise_row<W, 5, 2>(a);
    if (a.kernel_w == 7) return one ? depthwise_row<W, 7, 1>(a) : depthwise_row<W, 7, 2>(a);
  }
  depthwise_pixels<W>(a);
}

void depthwise(const DepthwiseArgs* a) {
  a->weight_dtype == DType::kFloat16 ? depthwise_of<Half>(*a) : depthwise_of<float>(*a);
}

}  // namespace
}  // namespace mbinfer
