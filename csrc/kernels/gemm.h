// The matrix kernel over vec: a tile of pixels by panels is summed in registers from the first tap to the last.
//
//             panel 0   panel 1          weights: one row of 8 lanes for each k and panel
//   pixel 0   sum       sum        <-    scalar in[0][k] times both rows
//   pixel 1   sum       sum        <-    scalar in[1][k] ...
//
// Included by isa.cpp only.
#pragma once

namespace mbinfer {
namespace {

template <int kPixels, int kPanels>
struct GemmTile {
  f32x8 sums[kPixels][kPanels];

#ifdef __ARM_NEON  // four scalars of a pixel in one load, each multiplied in by lane
  template <int kLane>
  inline void step(const quad (&x)[kPixels], const float* w, ptrdiff_t panel_stride) {
    f32x8 row[kPanels];
    MBI_UNROLL for (int n = 0; n < kPanels; n++) row[n] = load(w + n * panel_stride + kLane * 8);
    MBI_UNROLL for (int p = 0; p < kPixels; p++) {
      MBI_UNROLL for (int n = 0; n < kPanels; n++) sums[p][n] = fma_lane<kLane>(row[n], x[p], sums[p][n]);
    }
  }
#endif

  inline void multiply(const GemmTap& tap, ptrdiff_t in_offset, ptrdiff_t in_stride, const float* weights, ptrdiff_t panel_stride) {
    const float* in = tap.in + in_offset;
    const float* w = weights + ptrdiff_t(tap.weight_row) * 8;
    int k = tap.k;
#ifdef __ARM_NEON
    for (; k >= 4; k -= 4, in += 4, w += 32) {
      quad x[kPixels];
      MBI_UNROLL for (int p = 0; p < kPixels; p++) x[p] = load_quad(in + p * in_stride);
      step<0>(x, w, panel_stride);
      step<1>(x, w, panel_stride);
      step<2>(x, w, panel_stride);
      step<3>(x, w, panel_stride);
    }
#endif
    for (; k > 0; k--, in++, w += 8) {
      f32x8 row[kPanels];
      MBI_UNROLL for (int n = 0; n < kPanels; n++) row[n] = load(w + n * panel_stride);
      MBI_UNROLL for (int p = 0; p < kPixels; p++) {
        f32x8 x = splat(in[p * in_stride]);
        MBI_UNROLL for (int n = 0; n < kPanels; n++) sums[p][n] = fma(row[n], x, sums[p][n]);
      }
    }
  }

  static void run(const GemmArgs& a, int pixel, int panel) {
    GemmTile tile;
    float* out = a.out + pixel * a.out_stride + panel * 8;
    MBI_UNROLL for (int p = 0; p < kPixels; p++) {
      MBI_UNROLL for (int n = 0; n < kPanels; n++)
        tile.sums[p][n] = load(a.bias ? a.bias + (panel + n) * 8 : out + p * a.out_stride + n * 8);
    }
    const float* weights = a.weights + panel * a.panel_stride;
    for (int t = 0; t < a.tap_count; t++) tile.multiply(a.taps[t], pixel * a.in_stride, a.in_stride, weights, a.panel_stride);
    if (const Epilogue* e = a.epilogue) {
      activate_all(tile.sums, e->activation);
      if (e->residual) {
        const float* residual = e->residual + pixel * e->residual_stride + panel * 8;
        MBI_UNROLL for (int p = 0; p < kPixels; p++) {
          MBI_UNROLL for (int n = 0; n < kPanels; n++) tile.sums[p][n] = add(tile.sums[p][n], load(residual + p * e->residual_stride + n * 8));
        }
        activate_all(tile.sums, e->after);
      }
    }
    MBI_UNROLL for (int p = 0; p < kPixels; p++) {
      MBI_UNROLL for (int n = 0; n < kPanels; n++) store(out + p * a.out_stride + n * 8, tile.sums[p][n]);
    }
  }
};

// Runs the tile of `pixels` (1 .. kPixels) by kPanels.
template <int kPixels, int kPanels>
inline void run_tile(const GemmArgs& a, int pixels, int pixel, int panel) {
  if (pixels == kPixels) return GemmTile<kPixels, kPanels>::run(a, pixel, panel);
  if constexpr (kPixels > 1) run_tile<kPixels - 1, kPanels>(a, pixels, pixel, panel);
}

// Asks for a share of the weights of the panels after these, so that they come while these are multiplied. Large late
// layers read every panel from memory once, and wait for its first lines otherwise.
template <int kPanels>
inline void prefetch_panels(const GemmArgs& a, int panel, int share, int shares) {
  const int lines = a.taps[0].k / 2;  // of a panel: 8 floats for each k, 16 floats a line
  const float* weights = a.weights + (panel + kPanels) * a.panel_stride + ptrdiff_t(a.taps[0].weight_row) * 8;
  for (int n = 0; n < kPanels && panel + kPanels + n < a.panels; n++, weights += a.panel_stride)
    for (int line = lines * share / shares; line < lines * (share + 1) / shares; line++) __builtin_prefetch(weights + line * 16, 0, 2);
}

// All pixels for kPanels panels from `panel` on, in tiles of nearly equal height: 7 pixels are 4 + 3, not 6 + 1.
template <int kPanels>
inline void run_panels(const GemmArgs& a, int panel) {
  constexpr int kMost = kGemmPixels[kPanels];
  int tiles = (a.pixels + kMost - 1) / kMost, height = a.pixels / tiles, taller = a.pixels % tiles;
  for (int t = 0, pixel = 0; t < tiles; t++) {
    int pixels = height + (t < taller);
    if (kPanels <= kGemmPanels) prefetch_panels<kPanels>(a, panel, t, tiles);
    run_tile<kMost, kPanels>(a, pixels, pixel, panel);
    pixel += pixels;
  }
}

void gemm(const GemmArgs* a) {
  if (a->pixels <= 0) return;
  int panel = 0;
  // One pixel, a dense layer: many panels side by side, or each sum would wait for the one before.
  if (a->pixels == 1)
    for (; a->panels - panel >= kVectorPanels; panel += kVectorPanels) GemmTile<1, kVectorPanels>::run(*a, 0, panel);
  if constexpr (kGemmPanels >= 2) {
    for (; a->panels - panel >= 4 || a->panels - panel == 2; panel += 2) run_panels<2>(*a, panel);
    if constexpr (kGemmPanels >= 3)
      for (; a->panels - panel == 3; panel += 3) run_panels<3>(*a, panel);
    for (; a->panels - panel >= 2; panel += 2) run_panels<2>(*a, panel);
  }
  for (; panel < a->panels; panel++) run_panels<1>(*a, panel);
}

}  // namespace
}  // namespace mbinfer
