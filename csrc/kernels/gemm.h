// The matrix kernel over vec: a tile of pixels by vectors is summed in registers from the first tap to the last.
//
//             vector 0  vector 1         weights: one row of lanes for each k and vector
//   pixel 0   sum       sum        <-    scalar in[0][k] times both rows
//   pixel 1   sum       sum        <-    scalar in[1][k] ...
//
// How a tile multiplies is the leaf's, see vec.h; here it is started, finished and stored, and here is the walk over
// the tiles of a call. Included by isa.cpp only.
#pragma once

namespace mbinfer {
namespace {

// Prefetch of the weights of the next vectors while these are multiplied: large late layers read each panel from memory
// once. A few lines at a time, because a burst of requests would hold up the loads of the multiplication itself; where
// there are many inputs, less often, because the loop begins anew each time.
struct Prefetch {
  static constexpr int kMany = 256, kLine = 64;

  const char* at = nullptr;
  ptrdiff_t pair_bytes = 0;   // from one pair of panels to the next
  int pairs = 0, lines = 0;   // lines are left of each pair, in twos
  int share = 0, inputs = 0;  // so many twos of each pair every so many inputs
  int tiles = 0;              // where the leaf asks by itself: so many more tiles, for half of the next pair each

  // Of a tile of one pair: where half of the lines are that it asks for, 0 for none.
  MBI_INLINE ptrdiff_t ahead() {
    if (__builtin_expect(tiles == 0, 1)) return 0;
    return pair_bytes + --tiles * 2 * kLine;
  }
  template <int kMost>  // pairs
  MBI_INLINE void next() {
    for (int line = 0; line < share && lines > 0; line++, lines--, at += 2 * kLine) {
      MBI_UNROLL for (int pair = 0; pair < kMost; pair++) {
        if (pair > 0 && pair == pairs) break;
        __builtin_prefetch(at + pair * pair_bytes, 0, 3);
        __builtin_prefetch(at + pair * pair_bytes + kLine, 0, 3);
      }
    }
  }
};

template <int kValue>
struct Number {
  static constexpr int value = kValue;
};

inline bool is_curved(const Finish* f) { return f && (f->activation.curve || (f->residual && f->after.curve)); }

// The sums of a tile whose activation is a curve, one by one. Never inlined, or every tile would have as many calls.
template <class V>
__attribute__((noinline)) void finish_curved(const V* sums, int pixels, int vectors, const Finish& f,
                                             const float* residual, float* out, ptrdiff_t out_stride, int panel) {
  for (int p = 0; p < pixels; p++, out = at(out, out_stride)) {
    for (int n = 0; n < vectors; n++) {
      V x = activate(*sums++, f.activation, panel + n * V::kPanels);
      if (residual) x = activate(add(x, V::load(residual + n * kLanes<V>)), f.after, panel + n * V::kPanels);
      store(out + n * kLanes<V>, x);
    }
    if (residual) residual = at(residual, f.residual_stride);
  }
}

// kHalf: the last vector has one panel of two, whose other lanes are neither read nor written.
template <class V, int kPixels, int kVectors, bool kWhole, bool kHalf = false>
struct GemmTile : Tile<V, kPixels, kVectors, kWhole> {
  using Tile<V, kPixels, kVectors, kWhole>::sums;

  // Vector n of some that lie side by side.
  static MBI_INLINE V load(const float* p, int n) {
    if constexpr (kHalf)
      if (n == kVectors - 1) return V::load_half(p + n * kLanes<V>);
    return V::load(p + n * kLanes<V>);
  }
  static MBI_INLINE void put(float* p, int n, V x) {
    if constexpr (kHalf)
      if (n == kVectors - 1) return store_half(p + n * kLanes<V>, x);
    store(p + n * kLanes<V>, x);
  }

  // At the bias, or from sums that go on.
  MBI_INLINE void start(const float* bias, const float* from, ptrdiff_t stride) {
    MBI_UNROLL for (int p = 0; p < kPixels; p++) {
      MBI_UNROLL for (int n = 0; n < kVectors; n++) sums[p][n] = load(bias ? bias : at(from, p * stride), n);
    }
  }

  // Each sum is finished and stored before the next one: a row of stores would hold up the multiplications of the next
  // tile.
  template <class Last>
  MBI_INLINE void store_all(float* out, ptrdiff_t out_stride, Last&& last) {
    MBI_UNROLL for (int p = 0; p < kPixels; p++, out = pace(at(out, out_stride))) {
      MBI_UNROLL for (int n = 0; n < kVectors; n++) put(out, n, last(this->take(p, n), p, n));
    }
  }

  MBI_INLINE void finish(const Finish* f, const float* residual, float* out, ptrdiff_t out_stride, int panel) {
    this->settle();
    if (!f) return store_all(out, out_stride, [](V x, int, int) { return x; });
    const ActivationArgs &first = f->activation, &after = f->after;
    if (!kHalf && is_curved(f)) {
      V waiting[kPixels][kVectors];
      MBI_UNROLL for (int p = 0; p < kPixels; p++) {
        MBI_UNROLL for (int n = 0; n < kVectors; n++) waiting[p][n] = sums[p][n];
      }
      return finish_curved(waiting[0], kPixels, kVectors, *f, residual, out, out_stride, panel);
    }
    const V lo = V::splat(first.lo), hi = V::splat(first.hi);
    if (!residual) return store_all(out, out_stride, [&](V x, int, int) { return less(hi, greater(lo, x)); });
    const V lo_after = V::splat(after.lo), hi_after = V::splat(after.hi);
    const ptrdiff_t residual_stride = f->residual_stride;
    store_all(out, out_stride, [=, from = residual](V x, int p, int n) mutable {
      if (p > 0 && n == 0) from = pace(at(from, residual_stride));
      return less(hi_after, greater(lo_after, add(less(hi, greater(lo, x)), load(from, n))));
    });
  }
};

// Where the sums of a tile begin, at the bias or at those of a call before, and where what is made of them goes.
struct TilePlaces {
  const Finish* const finish;
  const ptrdiff_t sums_stride, out_stride;
  const float *const bias, *from, *residual;
  float* out;

  MBI_INLINE TilePlaces(const GemmArgs& a, int pixel, int panel)
      : finish(a.finish),
        sums_stride(a.sums_stride),
        out_stride(finish ? a.out_stride : sums_stride),
        bias(a.bias ? static_cast<const float*>(a.bias) + panel * kPanel : nullptr),
        from(at(a.sums, pixel * sums_stride) + panel * kPanel),
        residual(finish && finish->residual ? at(finish->residual, pixel * finish->residual_stride) + panel * kPanel
                                            : nullptr),
        out(at(finish ? a.out : a.sums, pixel * out_stride) + panel * kPanel) {}
  MBI_INLINE void next(int pixels) {
    out = at(out, pixels * out_stride);
    if (!bias) from = at(from, pixels * sums_stride);
    if (residual) residual = at(residual, pixels * finish->residual_stride);
  }
};

// `count` tiles of pixels by a pair of panels, or of one pixel by many, of which the leaf makes all sums by itself.
template <class V, int kPixels, int kVectors>
__attribute__((noinline)) void listed_tiles(const GemmArgs& a, int pixel, int count, int panel, Prefetch& prefetch) {
  using Made = GemmTile<V, kPixels, kVectors, true>;
  const float* weights = panel_weights<float>(a.weights, a.weight_rows, a.panel + panel);
  typename Made::Inputs taps[Made::template kMostListed<float>];
  for (int t = 0; t < a.tap_count; t++)
    taps[t] = {a.taps[t].in, a.in_stride, weights + ptrdiff_t(a.taps[t].weight_row) * kRow, a.taps[t].k};
  TilePlaces places(a, pixel, panel);
  for (; count > 0; count--, pixel += kPixels, places.next(kPixels)) {
    Made tile;
    tile.listed(places.bias ? places.bias : places.from, places.bias ? 0 : places.sums_stride, taps, taps + a.tap_count,
                pixel, kVectors > 2 ? prefetch.pair_bytes : prefetch.ahead());
    tile.finish(places.finish, places.residual, places.out, places.out_stride, panel);
  }
}

// `count` tiles of pixels, one after the other; `kPlain`: of one tap, with nothing to prefetch. Never inlined: among
// the other tiles of gemm() GCC would spill the sums.
template <class W, class V, int kPixels, int kVectors, bool kWhole, bool kPlain, bool kHalf>
__attribute__((noinline)) void gemm_tiles(const GemmArgs& a, int pixel, int count, int panel, Prefetch& prefetch) {
  const ptrdiff_t in_stride = a.in_stride;
  TilePlaces places(a, pixel, panel);
  const W* weights = panel_weights<W>(a.weights, a.weight_rows, a.panel + panel);
  const Tap *taps = a.taps, *taps_end = a.taps + a.tap_count;
  ptrdiff_t in_offset = pixel * in_stride;
  const float* plain_in = kPlain ? at(taps->in, in_offset) : nullptr;
  const W* plain_weights = kPlain ? weights + ptrdiff_t(taps->weight_row) * kRow : nullptr;
  const int plain_k = kPlain ? taps->k : 0;
  constexpr int kParts = parts_of<V>(kVectors), kPartPanels = kVectors * V::kPanels / kParts;
  ptrdiff_t pixels[kPixels], parts[kParts];
  MBI_UNROLL for (int p = 0; p < kPixels; p++) pixels[p] = p * in_stride;
  MBI_UNROLL for (int i = 0; i < kParts; i++) parts[i] =
      bytes_to<W>(a.weight_rows, a.panel + panel + i * kPartPanels) - bytes_to<W>(a.weight_rows, a.panel + panel);
  for (; count > 0; count--, places.next(kPixels)) {
    GemmTile<V, kPixels, kVectors, kWhole, kHalf> tile;
    tile.start(places.bias, places.from, places.sums_stride);
    if (kPlain) {
      tile.multiply(plain_in, pixels, plain_weights, parts, plain_k);
      plain_in = pace(at(plain_in, kPixels * in_stride));
    } else {
      for (const Tap* tap = taps; tap < taps_end; tap++) {
        const float* in = at(tap->in, in_offset);
        const W* w = weights + ptrdiff_t(tap->weight_row) * kRow;
        if constexpr (!kWhole) {  // of a picture, whose weights are too few to be asked for ahead
          if (tap->k > 0) tile.multiply(in, pixels, w, parts, tap->k);
          continue;
        }
        for (int k = tap->k, part; k > 0; k -= part, in += part, w += part * kRow) {
          part = k;
          if (prefetch.share && k >= prefetch.inputs) {
            part = prefetch.inputs;
            prefetch.next<(kVectors * V::kPanels + 1) / 2>();
          }
          tile.multiply(in, pixels, w, parts, part);
        }
      }
      in_offset += kPixels * in_stride;
    }
    tile.finish(places.finish, places.residual, places.out, places.out_stride, panel);
  }
}

// Runs `count` tiles of `pixels` (1 .. kPixels) by kVectors.
template <class W, class V, int kPixels, int kVectors, bool kHalf>
inline void run_tiles(const GemmArgs& a, int pixels, int pixel, int count, int panel, Prefetch& prefetch) {
  if (pixels == kPixels) {
    for (int t = 0; kTurn > 1 && kPixels > 1 && t < a.tap_count; t++)
      if (a.taps[t].k % kTurn)
        return gemm_tiles<W, V, kPixels, kVectors, false, false, kHalf>(a, pixel, count, panel, prefetch);
    if constexpr (constexpr int kMost = GemmTile<V, kPixels, kVectors, true>::template kMostListed<W>; kMost > 0) {
      return a.tap_count < 1 || a.tap_count > kMost
                 ? gemm_tiles<W, V, kPixels, kVectors, true, false, kHalf>(a, pixel, count, panel, prefetch)
                 : listed_tiles<V, kPixels, kVectors>(a, pixel, count, panel, prefetch);
    } else {
      return a.tap_count == 1 && !prefetch.lines
                 ? gemm_tiles<W, V, kPixels, kVectors, true, true, kHalf>(a, pixel, count, panel, prefetch)
                 : gemm_tiles<W, V, kPixels, kVectors, true, false, kHalf>(a, pixel, count, panel, prefetch);
    }
  }
  if constexpr (kPixels > 1) run_tiles<W, V, kPixels - 1, kVectors, kHalf>(a, pixels, pixel, count, panel, prefetch);
}

// Pixels so many bytes apart share a set of the first cache, which has room for 8 lines of them: a higher tile would
// read every input from the second one.
constexpr ptrdiff_t kSetBytes = 4096;
constexpr int kSetPixels = 7;

// The tiles that so many pixels take, of at most kMost. Divided by constants: a division takes as long as some tiles.
template <int kMost>
inline int tiles_of(int pixels, ptrdiff_t in_stride) {
  if (kMost > kSetPixels && in_stride % kSetBytes == 0) return (pixels + kSetPixels - 1) / kSetPixels;
  return (pixels + kMost - 1) / kMost;
}

// All pixels for kVectors vectors from `panel` on, in tiles of nearly equal height: 7 pixels are 4 + 3, not 6 + 1.
template <class W, class V, int kVectors, bool kHalf = false>
inline void run_vectors(const GemmArgs& a, int panel, int end) {
  constexpr int kMost = Tiles<V>::gemm_pixels[kVectors], kPanels = kVectors * V::kPanels;
  const int tiles = tiles_of<kMost>(a.pixels, a.in_stride), height = a.pixels / tiles, taller = a.pixels % tiles;
  Prefetch prefetch;
  const int k = a.tap_count == 1 ? a.taps[0].k : 0;
  constexpr int kFew = Tiles<V>::prefetch_inputs[0], kMany = Tiles<V>::prefetch_inputs[1];
  const bool from_far =
      panel + 2 * kPanels <= end && k >= kFew && int64_t(a.panels) * k * kPanel * int64_t(sizeof(W)) >= a.ahead_from;
  if constexpr (GemmTile<V, 1, kVectors, true>::template kMostListed<W> > 0) {
    prefetch.pair_bytes = pair_bytes<W>(a.weight_rows);
    prefetch.tiles = from_far ? 2 : 0;
  } else if (from_far) {
    // Where the next vectors begin with the second panel of a pair, that pair is multiplied now.
    const int next = a.panel + panel + kPanels, first = (next + 1) / 2;
    constexpr int kRowBytes = kRow * int(sizeof(W)), kTwo = 2 * Prefetch::kLine;
    prefetch.at = weights_at<char>(panel_weights<W>(a.weights, a.weight_rows, first * 2),
                                   ptrdiff_t(a.taps[0].weight_row) * kRowBytes);
    prefetch.pairs = (next + kPanels + 1) / 2 - first;
    prefetch.pair_bytes = pair_bytes<W>(a.weight_rows);
    prefetch.lines = prefetch.pairs ? (k * kRowBytes + kTwo - 1) / kTwo : 0;
    prefetch.inputs = k < Prefetch::kMany ? kFew : kMany;
    const int times = tiles * (k / prefetch.inputs);
    prefetch.share = (prefetch.lines + times - 1) / times;
  }
  // The first tiles ask for all of them; then none are left, and the others have the plain loop.
  auto run = [&](int pixels, int pixel, int count) {
    if (prefetch.lines) {
      const int tile_lines = prefetch.share * (k / prefetch.inputs);
      const int needed = (prefetch.lines + tile_lines - 1) / tile_lines, asking = needed < count ? needed : count;
      run_tiles<W, V, kMost, kVectors, kHalf>(a, pixels, pixel, asking, panel, prefetch);
      pixel += asking * pixels, count -= asking;
    }
    run_tiles<W, V, kMost, kVectors, kHalf>(a, pixels, pixel, count, panel, prefetch);
  };
  if (taller) run(height + 1, 0, taller);
  run(height, taller * (height + 1), tiles - taller);
}

// A dense layer: many vectors side by side, or each sum would wait for the one before. Returns the first panel left.
template <class W>
int run_dense(const GemmArgs& a, int panel, int end) {
  using V = typename Dense<W>::V;
  constexpr int kVectors = Dense<W>::vectors, kPanels = kVectors * V::kPanels;
  Prefetch none;
  none.pair_bytes = pair_bytes<W>(a.weight_rows);
  for (; end - panel >= kPanels; panel += kPanels) run_tiles<W, V, 1, kVectors, false>(a, 1, 0, 1, panel, none);
  return panel;
}

// Panels [panel, end), which are whole vectors.
template <class W, class V>
void run_panels(const GemmArgs& a, int panel, int end) {
  constexpr int kHigh = Tiles<V>::gemm_pixels[Tiles<V>::gemm_vectors > 1 ? 2 : 1];
  const int tiles = tiles_of<kHigh>(a.pixels, a.in_stride);
  while (panel < end) {
    const int left = (end - panel) / V::kPanels;
    auto run = [&](auto vectors) {
      constexpr int kVectors = decltype(vectors)::value;
      if constexpr (kVectors <= Tiles<V>::gemm_vectors) run_vectors<W, V, kVectors>(a, panel, end);
      panel += kVectors * V::kPanels;
    };
    switch (Tiles<V>::vectors_of(left, (a.panel + panel) % 2 == 0, a.pixels, tiles)) {
      case 4:
        run(Number<4>());
        break;
      case 3:
        run(Number<3>());
        break;
      case 2:
        run(Number<2>());
        break;
      default:
        run(Number<1>());
    }
  }
}

template <class W>
void gemm_of(const GemmArgs& a) {
  const Cut cut = cut_panels(a.panel, a.panels);
  if (cut.first) run_panels<W, f32x8>(a, 0, cut.first);
  const bool dense = a.pixels == 1 && a.tap_count;
  const int panel = dense ? run_dense<W>(a, cut.first, cut.last) : cut.first;
  if constexpr (wide::kPanels > 1) {
    // A panel by itself is multiplied with the vector before it: each input is loaded once for both.
    const bool with_last = cut.last < a.panels && panel < cut.last && !is_curved(a.finish);
    run_panels<W, wide>(a, panel, with_last ? cut.last - wide::kPanels : cut.last);
    if (with_last) return run_vectors<W, wide, 2, true>(a, cut.last - wide::kPanels, a.panels);
    run_panels<W, f32x8>(a, cut.last, a.panels);
  } else {
    run_panels<W, wide>(a, panel, cut.last);
  }
}

void gemm(const GemmArgs* a) {
  if (a->pixels <= 0) return;
  a->weight_dtype == DType::kFloat16 ? gemm_of<Half>(*a) : gemm_of<float>(*a);
}

}  // namespace
}  // namespace mbinfer
