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

// Weights to ask for while others are multiplied: of each panel `lines` cache lines, `share` of them every `inputs`
// inputs. A few at a time, because a burst of them would hold up the loads of the multiplication itself; where there
// are many inputs, less often, because the loop begins anew each time.
struct Ahead {
  const float* at;
  int share, lines, inputs;
};
constexpr int kAheadRows = 1024;  // of 8 weights; what is smaller stays in the nearer caches
constexpr int kAheadInputs = 16, kAheadManyInputs = 48, kManyInputs = 256;

// kInputs: of a pixel, multiplied in one turn of the loop; each tap has a multiple of it. More than one, because a core
// that is shared with another thread may have room for few instructions beside the multiplications.
template <int kPixels, int kPanels, int kInputs>
struct GemmTile {
  f32x8 sums[kPixels][kPanels];

#ifdef __aarch64__  // four scalars of a pixel in one load, each multiplied in by lane
  template <int kLane>
  inline void step(const quad (&x)[kPixels], const float* const (&panels)[kPanels]) {
    f32x8 row[kPanels];
    MBI_UNROLL for (int n = 0; n < kPanels; n++) row[n] = load(panels[n] + kLane * 8);
    MBI_UNROLL for (int p = 0; p < kPixels; p++) {
      MBI_UNROLL for (int n = 0; n < kPanels; n++) sums[p][n] = fma_lane<kLane>(row[n], x[p], sums[p][n]);
    }
  }
#endif

  // pixels, panels: how far each is from the first one, in bytes.
  MBI_INLINE void multiply(const float* in, ptrdiff_t (&pixels)[kPixels], const float* w, ptrdiff_t (&panels)[kPanels],
                           int k) {
#ifdef __aarch64__
    const float* rows[kPanels];  // a pointer each, so that loads need no other arithmetic
    MBI_UNROLL for (int n = 0; n < kPanels; n++) rows[n] = at(w, panels[n]);
    for (; k >= 4; k -= 4, in += 4, w += 32) {
      quad x[kPixels];
      MBI_UNROLL for (int p = 0; p < kPixels; p++) x[p] = load_quad(at(in, pixels[p]));
      step<0>(x, rows);
      step<1>(x, rows);
      step<2>(x, rows);
      step<3>(x, rows);
      MBI_UNROLL for (int n = 0; n < kPanels; n++) rows[n] += 32;
    }
#endif
    if (kInputs == 1) {
      for (; k > 0; k--, in++, w += 8) turn(in, pixels, w, panels);
    } else {  // never none: k is a multiple
      do {
        turn(in, pixels, w, panels);
        k -= kInputs, in += kInputs, w += kInputs * 8;
      } while (k > 0);
    }
  }

  MBI_INLINE void turn(const float* in, ptrdiff_t (&pixels)[kPixels], const float* w, ptrdiff_t (&panels)[kPanels]) {
    if (kInputs > 1) {  // or each pixel's every input would have a register of its own
      MBI_UNROLL for (int p = 1; p < kPixels; p++) pixels[p] = opaque(pixels[p]);
      MBI_UNROLL for (int n = 1; n < kPanels; n++) panels[n] = opaque(panels[n]);
    }
    MBI_UNROLL for (int i = 0; i < kInputs; i++) {
      if (i) loads_stay();
      f32x8 row[kPanels];
      MBI_UNROLL for (int n = 0; n < kPanels; n++) row[n] = load(at(w + i * 8, panels[n]));
      MBI_UNROLL for (int p = 0; p < kPixels; p++) {
        f32x8 x = splat(*at(in + i, pixels[p]));
        MBI_UNROLL for (int n = 0; n < kPanels; n++) sums[p][n] =
            kInputs > 1 ? fma_in_place(row[n], x, sums[p][n]) : fma(row[n], x, sums[p][n]);
      }
    }
  }

  // At the bias, or from sums that go on.
  MBI_INLINE void start(const float* bias, const float* from, ptrdiff_t stride) {
    MBI_UNROLL for (int p = 0; p < kPixels; p++) {
      MBI_UNROLL for (int n = 0; n < kPanels; n++) sums[p][n] =
          load(bias ? bias + n * 8 : at(from, p * stride) + n * 8);
    }
  }

  // Each sum is finished and stored before the next one: a row of stores would hold up the multiplications of the next
  // tile.
  template <class Last>
  MBI_INLINE void store_all(float* out, ptrdiff_t out_stride, Last&& last) {
    MBI_UNROLL for (int p = 0; p < kPixels; p++, out = opaque(at(out, out_stride))) {
      MBI_UNROLL for (int n = 0; n < kPanels; n++)
          store(out + n * 8, last(kInputs > 1 ? in_turn(sums[p][n]) : sums[p][n], p, n));
    }
  }

  MBI_INLINE void finish(const Finish* e, const float* residual, float* out, ptrdiff_t out_stride) {
    if (kInputs > 1) {  // in registers here, whatever becomes of them
      MBI_UNROLL for (int p = 0; p < kPixels; p++) {
        MBI_UNROLL for (int n = 0; n < kPanels; n++) sums[p][n] = in_turn(sums[p][n]);
      }
    }
    if (!e) return store_all(out, out_stride, [](f32x8 x, int, int) { return x; });
    const ActivationArgs &first = e->activation, &after = e->after;
    auto residual_at = [&](int p, int n) {
      if (p > 0 && n == 0) residual = opaque(at(residual, e->residual_stride));
      return load(residual + n * 8);
    };
    if (first.hard_swish || (residual && after.hard_swish))
      return store_all(out, out_stride, [&](f32x8 x, int p, int n) {
        x = activate(x, first);
        return residual ? activate(add(x, residual_at(p, n)), after) : x;
      });
    const f32x8 lo = splat(first.lo), hi = splat(first.hi);
    if (!residual) return store_all(out, out_stride, [&](f32x8 x, int, int) { return less(hi, greater(lo, x)); });
    const f32x8 lo_after = splat(after.lo), hi_after = splat(after.hi);
    store_all(out, out_stride, [&](f32x8 x, int p, int n) {
      return less(hi_after, greater(lo_after, add(less(hi, greater(lo, x)), residual_at(p, n))));
    });
  }

  // `count` tiles of pixels, one after the other; `kPlain`: of one tap, with no weights to ask for. Never inlined:
  // among the other tiles of gemm() GCC would spill the sums.
  template <bool kPlain>
  __attribute__((noinline)) static void run(const GemmArgs& a, int pixel, int count, int panel, Ahead& ahead) {
    const ptrdiff_t in_stride = a.in_stride, panel_stride = ptrdiff_t(a.weight_rows) * 8;
    const Finish* e = a.finish;
    const float* bias = a.bias ? static_cast<const float*>(a.bias) + panel * 8 : nullptr;
    const ptrdiff_t sums_stride = a.sums_stride, out_stride = e ? a.out_stride : sums_stride;
    float* out = at(e ? a.out : a.sums, pixel * out_stride) + panel * 8;
    const float* from = at(a.sums, pixel * sums_stride) + panel * 8;
    const float* residual = e && e->residual ? at(e->residual, pixel * e->residual_stride) + panel * 8 : nullptr;
    const float* panel_weights = static_cast<const float*>(a.weights) + (a.panel + panel) * panel_stride;
    const Tap *taps = a.taps, *taps_end = a.taps + a.tap_count;
    ptrdiff_t in_offset = pixel * in_stride;
    const float* plain_in = kPlain ? at(taps->in, in_offset) : nullptr;
    const float* plain_weights = kPlain ? panel_weights + ptrdiff_t(taps->weight_row) * 8 : nullptr;
    const int plain_k = kPlain ? taps->k : 0;
    ptrdiff_t pixels[kPixels], panels[kPanels];
    MBI_UNROLL for (int p = 0; p < kPixels; p++) pixels[p] = p * in_stride;
    MBI_UNROLL for (int n = 0; n < kPanels; n++) panels[n] = n * panel_stride * ptrdiff_t(sizeof(float));
    for (; count > 0; count--) {
      GemmTile tile;
      tile.start(bias, from, sums_stride);
      if (kPlain) {
        tile.multiply(plain_in, pixels, plain_weights, panels, plain_k);
        plain_in = opaque(at(plain_in, kPixels * in_stride));
      } else {
        for (const Tap* tap = taps; tap < taps_end; tap++) {
          const float* in = at(tap->in, in_offset);
          const float* weights = panel_weights + ptrdiff_t(tap->weight_row) * 8;
          for (int k = tap->k, part; k > 0; k -= part, in += part, weights += part * 8) {
            part = k;
            if (ahead.share && k >= ahead.inputs) {
              part = ahead.inputs;
              for (int line = 0; line < ahead.share && ahead.lines > 0; line++, ahead.lines--, ahead.at += 16)
                MBI_UNROLL for (int n = 0; n < kPanels; n++) __builtin_prefetch(ahead.at + n * panel_stride, 0, 3);
            }
            tile.multiply(in, pixels, weights, panels, part);
          }
        }
        in_offset += kPixels * in_stride;
      }
      tile.finish(e, residual, out, out_stride);
      out = at(out, kPixels * out_stride);
      if (!bias) from = at(from, kPixels * sums_stride);
      if (residual) residual = at(residual, kPixels * e->residual_stride);
    }
  }
};

// Runs `count` tiles of `pixels` (1 .. kPixels) by kPanels.
template <int kPixels, int kPanels>
inline void run_tiles(const GemmArgs& a, int pixels, int pixel, int count, int panel, Ahead& ahead) {
  if (pixels == kPixels) {
    constexpr int kInputs =
        kPixels > 1 ? kGemmInputs : 1;  // one pixel's weights come from far, and nothing makes that faster
    using Tile = GemmTile<kPixels, kPanels, kInputs>;
    for (int t = 0; kInputs > 1 && t < a.tap_count; t++)
      if (a.taps[t].k % kInputs)
        return GemmTile<kPixels, kPanels, 1>::template run<false>(a, pixel, count, panel, ahead);
    const bool plain = a.tap_count == 1 && !ahead.lines;
    return plain ? Tile::template run<true>(a, pixel, count, panel, ahead)
                 : Tile::template run<false>(a, pixel, count, panel, ahead);
  }
  if constexpr (kPixels > 1) run_tiles<kPixels - 1, kPanels>(a, pixels, pixel, count, panel, ahead);
}

// All pixels for kPanels panels from `panel` on, in tiles of nearly equal height: 7 pixels are 4 + 3, not 6 + 1.
// Meanwhile the weights of the next panels come: large late layers read each panel from memory once.
template <int kPanels>
inline void run_panels(const GemmArgs& a, int panel) {
  constexpr int kMost = kGemmPixels[kPanels];
  const int tiles = (a.pixels + kMost - 1) / kMost, height = a.pixels / tiles, taller = a.pixels % tiles;
  Ahead ahead = {};
  const int k = a.tap_count == 1 ? a.taps[0].k : 0;
  if (panel + 2 * kPanels <= a.panels && k >= kAheadInputs && a.panels * k >= kAheadRows) {
    ahead.at = static_cast<const float*>(a.weights) +
               (ptrdiff_t(a.panel + panel + kPanels) * a.weight_rows + a.taps[0].weight_row) * 8;
    ahead.lines = (k + 1) / 2;
    ahead.inputs = k < kManyInputs ? kAheadInputs : kAheadManyInputs;
    const int times = tiles * (k / ahead.inputs);
    ahead.share = (ahead.lines + times - 1) / times;
  }
  // The first tiles ask for all of them; then none are left, and the others have the plain loop.
  auto run = [&](int pixels, int pixel, int count) {
    if (ahead.lines) {
      const int tile_lines = ahead.share * (k / ahead.inputs), needed = (ahead.lines + tile_lines - 1) / tile_lines;
      const int asking = needed < count ? needed : count;
      run_tiles<kMost, kPanels>(a, pixels, pixel, asking, panel, ahead);
      pixel += asking * pixels, count -= asking;
    }
    run_tiles<kMost, kPanels>(a, pixels, pixel, count, panel, ahead);
  };
  if (taller) run(height + 1, 0, taller);
  run(height, taller * (height + 1), tiles - taller);
}

void gemm(const GemmArgs* a) {
  if (a->pixels <= 0) return;
  int panel = 0;
  // One pixel, a dense layer: many panels side by side, or each sum would wait for the one before.
  if (a->pixels == 1 && a->tap_count)
    for (Ahead none = {}; a->panels - panel >= kVectorPanels; panel += kVectorPanels)
      run_tiles<1, kVectorPanels>(*a, 1, 0, 1, panel, none);
  if constexpr (kGemmPanels >= 3) {
    // Tiles of few pixels want more panels for the same reason.
    constexpr int kMost = kGemmPixels[2];
    if (a->pixels / ((a->pixels + kMost - 1) / kMost) <= kGemmPixels[3])
      for (; a->panels - panel == 3 || a->panels - panel >= 5; panel += 3) run_panels<3>(*a, panel);
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
