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

// Weights to ask for while others are multiplied: `lines` cache lines of each panel every kAheadInputs inputs. A few at a
// time, because a burst of them would hold up the loads of the multiplication itself.
struct Ahead {
  const float* at;
  int lines;
};
constexpr int kAheadInputs = 16;

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

  inline void multiply(const float* in, ptrdiff_t in_stride, const float* w, ptrdiff_t panel_stride, int k) {
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

  static void run(const GemmArgs& a, int pixel, int panel, Ahead ahead) {
    GemmTile tile;
    float* out = a.out + pixel * a.out_stride + panel * 8;
    MBI_UNROLL for (int p = 0; p < kPixels; p++) {
      MBI_UNROLL for (int n = 0; n < kPanels; n++)
        tile.sums[p][n] = load(a.bias ? a.bias + (panel + n) * 8 : out + p * a.out_stride + n * 8);
    }
    for (int t = 0; t < a.tap_count; t++) {
      const GemmTap& tap = a.taps[t];
      const float* in = tap.in + pixel * a.in_stride;
      const float* weights = a.weights + panel * a.panel_stride + ptrdiff_t(tap.weight_row) * 8;
      for (int k = 0; k < tap.k; k += kAheadInputs) {
        for (int line = 0; line < ahead.lines; line++, ahead.at += 16)
          MBI_UNROLL for (int n = 0; n < kPanels; n++) __builtin_prefetch(ahead.at + n * a.panel_stride, 0, 3);
        tile.multiply(in + k, a.in_stride, weights + k * 8, a.panel_stride, tap.k - k < kAheadInputs ? tap.k - k : kAheadInputs);
      }
    }
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
inline void run_tile(const GemmArgs& a, int pixels, int pixel, int panel, Ahead ahead) {
  if (pixels == kPixels) return GemmTile<kPixels, kPanels>::run(a, pixel, panel, ahead);
  if constexpr (kPixels > 1) run_tile<kPixels - 1, kPanels>(a, pixels, pixel, panel, ahead);
}

// All pixels for kPanels panels from `panel` on, in tiles of nearly equal height: 7 pixels are 4 + 3, not 6 + 1. Meanwhile
// the weights of the next panels come: large late layers read each panel from memory once.
template <int kPanels>
inline void run_panels(const GemmArgs& a, int panel) {
  constexpr int kMost = kGemmPixels[kPanels];
  const int tiles = (a.pixels + kMost - 1) / kMost, height = a.pixels / tiles, taller = a.pixels % tiles;
  const GemmTap first = a.tap_count ? a.taps[0] : GemmTap{nullptr, 1, 0};  // no tap: all lie outside the input
  const int inputs = first.k, blocks = (inputs + kAheadInputs - 1) / kAheadInputs, lines = (inputs + 1) / 2;
  const int share = (lines + tiles * blocks - 1) / (tiles * blocks);  // of the lines, for each block of inputs of each tile
  const bool more = a.tap_count == 1 && panel + 2 * kPanels <= a.panels;
  const float* next = a.weights + (panel + kPanels) * a.panel_stride + ptrdiff_t(first.weight_row) * 8;
  for (int t = 0, pixel = 0; t < tiles; t++) {
    const int pixels = height + (t < taller), done = t * blocks * share;
    run_tile<kMost, kPanels>(a, pixels, pixel, panel, {next + done * 16, more && done < lines ? share : 0});
    pixel += pixels;
  }
}

void gemm(const GemmArgs* a) {
  if (a->pixels <= 0) return;
  int panel = 0;
  // One pixel, a dense layer: many panels side by side, or each sum would wait for the one before.
  if (a->pixels == 1 && a->tap_count)
    for (; a->panels - panel >= kVectorPanels; panel += kVectorPanels) {
      const float* ahead = a->weights + panel * a->panel_stride + (a->taps[0].weight_row + 4 * kAheadInputs) * 8;
      GemmTile<1, kVectorPanels>::run(*a, 0, panel, {ahead, kAheadInputs / 2});
    }
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
