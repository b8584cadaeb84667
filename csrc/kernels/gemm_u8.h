// The matrix kernel of uint8 over vectors of integers: a tile of pixels by a pair of panels is summed in registers from
// the first tap to the last, and leaves as bytes. Included by isa.cpp only.
#pragma once

namespace mbinfer {
namespace {

// Where the sums of a pair begin: at the bias, or where those of the call before ended.
struct ByteStart {
  const int32_t* from[2];
  ptrdiff_t stride;
  ByteStart(const GemmArgs& a, const BytePair& pair, int pixel) : stride(a.bias ? 0 : a.sums_stride) {
    const auto* channels = static_cast<const Channels*>(a.bias);
    const auto* sums = moved(static_cast<const int32_t*>(a.sums), pixel * a.sums_stride);
    MBI_UNROLL for (int n = 0; n < 2; n++) from[n] = !channels             ? sums + pair.made(n) * kPanel
                                                     : ByteInputs::kSigned ? channels[pair.made(n)].signed_bias
                                                                           : channels[pair.made(n)].bias;
  }
  static MBI_INLINE const int32_t* moved(const int32_t* p, ptrdiff_t bytes) {
    return reinterpret_cast<const int32_t*>(reinterpret_cast<const char*>(p) + bytes);
  }
  MBI_INLINE i32x16 operator()() const { return i32x16::load(from[0], from[1]); }
  MBI_INLINE void next() { MBI_UNROLL for (int n = 0; n < 2; n++) from[n] = moved(from[n], stride); }
  // Of a pixel and the one after it, if that exists.
  MBI_INLINE i32x16 of_two(bool other) const { return i32x16::load(from[0], other ? moved(from[0], stride) : from[0]); }
  MBI_INLINE void next_two(bool other) { from[0] = moved(from[0], other ? 2 * stride : stride); }
};

// Whether the leaf makes tiles whole: from the bias, of inputs that are prepared or lie somewhere.
inline bool can_be_whole(const ByteBlock& block) {
  const GemmArgs& a = block.a;
  bool whole = a.bias && block.count() > 0 && block.count() <= ByteBlock::kMostTaps;
  for (int t = 0; !ByteInputs::kPrepared && whole && t < a.tap_count; t++)
    whole = a.taps[t].in || a.taps[t].k <= int(sizeof block.outside);
  return whole;
}

// `count` tiles that the leaf makes whole.
template <int kPixels, bool kFull, ByteEnd kEnd>
MBI_INLINE void whole_tiles(const ByteBlock& block, const ByteDeeds<kEnd>& deeds, const BytePair& pair, int pixel,
                            int count) {
  using Tile = ByteTile<kPixels, kFull>;
  const GemmArgs& a = block.a;
  const int8_t* weights = static_cast<const int8_t*>(a.weights) + ptrdiff_t(pair.pair) * a.weight_rows * kQuadRow;
  const ptrdiff_t stride = ByteInputs::kPrepared ? block.pixel_bytes() : a.in_stride;
  typename Tile::Inputs taps[ByteBlock::kMostTaps];
  for (int t = 0; t < block.count(); t++) {
    const ByteLine line = block.line(t);
    taps[t] = {line.prepared ? line.prepared : block.outside, line.in ? stride : 0,
               weights + ptrdiff_t(line.weight_row) * kQuadRow, line.quads};
  }
  ByteFinish<kEnd, false> finish(a, deeds, pair, pixel);
  const typename Tile::Start start(ByteStart(a, pair, pixel)());
  const typename Tile::Inputs* const end = taps + block.count();
  for (ptrdiff_t p = ByteInputs::kPrepared ? pixel - block.first : pixel; count > 0; count--, p += kPixels) {
    Tile tile;
    tile.whole(start, taps, end, p);
    finish.template put<kPixels>(tile.sums);
  }
}

template <int kPixels>
struct LoneByteTile;

template <int kPixels, bool kFull, bool kAlone>
struct ByteTileOf {
  using Tile = ByteTile<kPixels, kFull>;
};
template <int kPixels, bool kFull>
struct ByteTileOf<kPixels, kFull, true> {
  using Tile = LoneByteTile<kPixels>;
};

// Adds the products of all lines.
template <int kPixels, class Tile>
MBI_INLINE void multiply_lines(const ByteBlock& block, Tile& tile, ptrdiff_t moved, const ptrdiff_t (&pixels)[kPixels],
                               const int8_t* weights) {
  if constexpr (ByteInputs::kPrepared) {
    for (const ByteLine *line = block.lines, *end = line + block.line_count; line < end; line++) {
      ptrdiff_t distances[kPixels];
      const ptrdiff_t inside = line->in ? -1 : 0;
      MBI_UNROLL for (int p = 0; p < kPixels; p++) distances[p] = pixels[p] & inside;
      tile.multiply(line->prepared + (moved & inside), distances, weights + ptrdiff_t(line->weight_row) * kQuadRow,
                    line->quads);
    }
    return;
  }
  ptrdiff_t nowhere[kPixels];
  MBI_UNROLL for (int p = 0; p < kPixels; p++) nowhere[p] = 0;
  for (int t = 0; t < block.a.tap_count; t++) {
    const Tap& tap = block.a.taps[t];
    const int8_t* w = weights + ptrdiff_t(tap.weight_row) * kQuadRow;
    if (__builtin_expect(tap.in != nullptr, 1)) {
      tile.multiply(static_cast<const uint8_t*>(tap.in) + moved, pixels, w, quads_of(tap));
    } else {
      block.for_each_outside(tap.k, [&](const uint8_t* outside, int i, int some) {
        tile.multiply(outside, nowhere, w + i / kQuad * kQuadRow, some / kQuad);
      });
    }
  }
}

// `count` tiles, one after the other; of one line, whose sums begin at the bias, or of any. Never inlined: among other
// tiles GCC would spill the sums, as it does around the loop over lines, which takes as long as 8 to 16 inputs.
template <int kPixels, bool kFull, ByteEnd kEnd, bool kOneLine, bool kAlone>
__attribute__((noinline)) void byte_tiles(const ByteBlock& block, const ByteDeeds<kEnd>& deeds, const BytePair& pair,
                                          int pixel, int count) {
  const GemmArgs& a = block.a;
  using Tile = typename ByteTileOf<kPixels, kFull, kAlone>::Tile;
  if constexpr (Tile::kWhole)
    if (can_be_whole(block)) return whole_tiles<kPixels, kFull, kEnd>(block, deeds, pair, pixel, count);
  const int8_t* weights = static_cast<const int8_t*>(a.weights) + ptrdiff_t(pair.pair) * a.weight_rows * kQuadRow;
  if (kAlone && !pair.has[0]) weights += kQuadRow / 2;
  const ptrdiff_t stride = ByteInputs::kPrepared ? block.pixel_bytes() : a.in_stride;
  ptrdiff_t pixels[kPixels];
  MBI_UNROLL for (int p = 0; p < kPixels; p++) pixels[p] = p * stride;
  ByteFinish<kEnd, kAlone> finish(a, deeds, pair, pixel);
  ByteStart start(a, pair, pixel);
  const int* corrections = block.corrections + (pixel - block.first);
  ptrdiff_t moved = (ByteInputs::kPrepared ? pixel - block.first : pixel) * stride;
  const uint8_t* const only = kOneLine ? block.line(0).prepared : nullptr;
  const int quads = kOneLine ? block.line(0).quads : 0;
  if (kOneLine) weights += ptrdiff_t(block.line(0).weight_row) * kQuadRow;
  constexpr int kRegisters = registers_of(kPixels, kAlone), kWaiting = ByteTiles::waiting_tiles;
  for (int some; count > 0; count -= some) {
    some = count < kWaiting ? count : kWaiting;
    i32x16 waiting[kWaiting][kRegisters];
    for (int i = 0; i < some; i++, moved += kPixels * stride, corrections += kPixels) {
      Tile tile;
      MBI_UNROLL for (int n = 0; n < kRegisters; n++) {
        const int p = kAlone ? 2 * n : n, other = kAlone && p + 1 < kPixels ? p + 1 : p;
        tile.sums[n] = kAlone ? start.of_two(other > p) : start();
        if constexpr (ByteInputs::kCorrected) tile.sums[n] = add(tile.sums[n], corrections[p], corrections[other]);
        if (!kOneLine) kAlone ? start.next_two(other > p) : start.next();
      }
      tile.start();
      if (kOneLine)
        tile.multiply(only + moved, pixels, weights, quads);
      else
        multiply_lines<kPixels>(block, tile, moved, pixels, weights);
      tile.settle();
      if (kWaiting == 1) {
        finish.template put<kPixels>(tile.sums);
      } else {
        MBI_UNROLL for (int n = 0; n < kRegisters; n++) waiting[i][n] = tile.sums[n];
      }
    }
    for (int i = 0; kWaiting > 1 && i < some; i++) finish.template put<kPixels>(waiting[i]);
  }
}

template <int kPixels, int kPairs>
struct WideByteTile;

// `count` tiles of whole pairs that follow one another, from `first` on.
template <int kPixels, int kPairs, ByteEnd kEnd, bool kOneLine>
__attribute__((noinline)) void wide_tiles(const ByteBlock& block, const ByteDeeds<kEnd>& deeds, const BytePair& first,
                                          int pixel, int count) {
  const GemmArgs& a = block.a;
  const ptrdiff_t stride = a.in_stride, pair_bytes = ptrdiff_t(a.weight_rows) * kQuadRow;
  const int8_t* weights = static_cast<const int8_t*>(a.weights) + first.pair * pair_bytes;
  const ByteLine only = kOneLine ? block.line(0) : ByteLine();
  ptrdiff_t pixels[kPixels];
  MBI_UNROLL for (int p = 0; p < kPixels; p++) pixels[p] = p * stride;
  const ByteEnds<kEnd, kPairs> ends(a, first);
  i32x16 bias[kPairs];
  MBI_UNROLL for (int n = 0; kOneLine && n < kPairs; n++) bias[n] = ByteStart(a, BytePair(first, n), pixel)();
  for (; count > 0; count--, pixel += kPixels) {
    WideByteTile<kPixels, kPairs> tile(pair_bytes);
    MBI_UNROLL for (int n = 0; n < kPairs; n++) {
      ByteStart start(a, BytePair(first, n), pixel);
      MBI_UNROLL for (int p = 0; p < kPixels; p++) {
        tile.sums[n][p] = kOneLine ? bias[n] : start();
        if (!kOneLine) start.next();
      }
    }
    if (kOneLine)
      tile.multiply(only.in + pixel * stride, pixels, weights + ptrdiff_t(only.weight_row) * kQuadRow, only.quads);
    else
      multiply_lines<kPixels>(block, tile, pixel * stride, pixels, weights);
    ends.finish(deeds, tile.sums, pixel);
  }
}

// What a block's tiles share.
template <bool kFull, ByteEnd kEnd, bool kOneLine>
struct ByteRun {
  const ByteBlock& block;
  const ByteDeeds<kEnd>& deeds;

  template <int kPixels, bool kAlone>
  void tiles(const BytePair& pair, int height, int pixel, int count) const {
    if (height == kPixels) return byte_tiles<kPixels, kFull, kEnd, kOneLine, kAlone>(block, deeds, pair, pixel, count);
    if constexpr (kPixels > 1) tiles<kPixels - 1, kAlone>(pair, height, pixel, count);
  }

  template <int kPixels, int kPairs>
  void wide(const BytePair& pair, int height, int pixel, int count) const {
    if (height == kPixels) return wide_tiles<kPixels, kPairs, kEnd, kOneLine>(block, deeds, pair, pixel, count);
    if constexpr (kPixels > 1) wide<kPixels - 1, kPairs>(pair, height, pixel, count);
  }

  // body(height, pixel, count): all pixels, in tiles of nearly equal height.
  template <int kMost, class Body>
  void cut(Body&& body) const {
    const int all = (block.pixels + kMost - 1) / kMost, height = block.pixels / all, taller = block.pixels % all;
    if (taller) body(height + 1, block.first, taller);
    body(height, block.first + taller * (height + 1), all - taller);
  }

  template <bool kAlone>
  void panels(const BytePair& pair) const {
    constexpr int kMost = kAlone ? ByteTiles::lone_pixels : ByteTiles::gemm_pixels;
    cut<kMost>([&](int height, int pixel, int count) { tiles<kMost, kAlone>(pair, height, pixel, count); });
  }

  // Returns how many of so many whole pairs it made.
  template <int kPairs>
  int wide_panels(const BytePair& pair, int left) const {
    constexpr int kMost = ByteTiles::wide_pixels;
    if constexpr (kPairs > 1) {
      if (ByteTiles::pairs_of(left) < kPairs) return wide_panels<kPairs - 1>(pair, left);
      cut<kMost>([&](int height, int pixel, int count) { wide<kMost, kPairs>(pair, height, pixel, count); });
      return kPairs;
    }
    return 0;
  }

  void run() const {
    const GemmArgs& a = block.a;
    for (int i = a.panel / 2, made; i * 2 < a.panel + a.panels; i += made) {
      const BytePair pair(a.panel, a.panels, i);
      made = pair.has[0] ? wide_panels<ByteTiles::wide_pairs>(pair, (a.panel + a.panels) / 2 - i) : 0;
      if (made) continue;
      made = 1;
      if constexpr (ByteTiles::lone_pixels > 0)
        if (!(pair.has[0] && pair.has[1])) {
          panels<true>(pair);
          continue;
        }
      panels<false>(pair);
    }
  }
};

template <bool kFull, ByteEnd kEnd>
void run_byte_block(const ByteBlock& block) {
  static constexpr Finish kNone = {};
  const ByteDeeds<kEnd> deeds(kEnd == kLeave ? kNone : *block.a.finish);
  const bool one_line = block.count() == 1 && block.line(0).in && block.a.bias;
  one_line ? ByteRun<kFull, kEnd, true>{block, deeds}.run() : ByteRun<kFull, kEnd, false>{block, deeds}.run();
}

template <bool kFull>
void run_bytes(const ByteBlock& block) {
  const Finish* f = block.a.finish;
  !f            ? run_byte_block<kFull, kLeave>(block)
  : f->residual ? run_byte_block<kFull, kAddTo>(block)
                : run_byte_block<kFull, kMake>(block);
}

void gemm_u8(const GemmArgs* a);

// The taps of a call from a pixel on, one turn after the other, each of inputs that find room; every turn but the first
// goes on from the sums of the one before.
void gemm_in_turns(const GemmArgs& a, ptrdiff_t pixel) {
  constexpr int kInputs = ByteInputs::kMostQuads;  // of a turn: a quarter of what finds room, for some pixels of them
  Tap taps[ByteBlock::kMostTaps];
  GemmArgs turn = a;
  turn.taps = taps;
  turn.finish = nullptr;
  for (int t = 0, done = 0; t < a.tap_count;) {
    int inputs = 0;
    for (turn.tap_count = 0; t < a.tap_count && inputs < kInputs && turn.tap_count < ByteBlock::kMostTaps;) {
      const Tap& tap = a.taps[t];
      const int some = tap.k - done < kInputs - inputs ? tap.k - done : kInputs - inputs;
      taps[turn.tap_count++] = {tap.in ? static_cast<const uint8_t*>(tap.in) + pixel * a.in_stride + done : nullptr,
                                some, tap.weight_row + done / kQuad};
      inputs += some;
      done += some;
      if (done == tap.k) t++, done = 0;
    }
    if (t == a.tap_count) turn.finish = a.finish;
    gemm_u8(&turn);
    turn.bias = nullptr;
  }
}

// Some pixels and panels of a call that begins at the bias and ends as bytes.
struct GemmPart {
  GemmArgs args;
  Finish finish;
  GemmPart(const GemmArgs& a, int pixel, int pixels, int panel, int panels) : args(a), finish(*a.finish) {
    args.pixels = a.pixels - pixel < pixels ? a.pixels - pixel : pixels;
    args.panel = a.panel + panel;
    args.panels = a.panels - panel < panels ? a.panels - panel : panels;
    args.out = static_cast<uint8_t*>(a.out) + pixel * a.out_stride + panel * kPanel;
    args.bias = static_cast<const Channels*>(a.bias) + panel;
    args.finish = &finish;
    finish.channels += panel;
    if (finish.residual)
      finish.residual = static_cast<const uint8_t*>(finish.residual) + pixel * finish.residual_stride + panel * kPanel;
  }
};

// A call whose inputs find no room together. Where it begins at the bias and ends as bytes, the sums of some pixels and
// panels at a time wait here.
void gemm_of_many(const GemmArgs& a) {
  if (!a.bias || !a.finish) return gemm_in_turns(a, 0);
  constexpr int kPixels = 8, kPanels = 16;
  alignas(64) int32_t sums[kPixels * kPanels * kPanel];
  for (int pixel = 0; pixel < a.pixels; pixel += kPixels)
    for (int panel = 0; panel < a.panels; panel += kPanels) {
      GemmPart part(a, pixel, kPixels, panel, kPanels);
      part.args.sums = sums;
      part.args.sums_stride = kPanels * kPanel * sizeof(int32_t);
      gemm_in_turns(part.args, pixel);
    }
}

void gemm_u8(const GemmArgs* a) {
  ByteBlock block(*a);
  const int most = ByteInputs::kPrepared ? block.most_pixels() : a->pixels;
  if (ByteInputs::kPrepared && most <= 0) return gemm_of_many(*a);
  for (; block.first < a->pixels; block.first += block.pixels) {
    block.pixels = a->pixels - block.first < most ? a->pixels - block.first : most;
    if (ByteInputs::kPrepared) block.prepare_all();
    if constexpr (ByteInputs::kAnyWeight)
      run_bytes<false>(block);
    else
      a->full_range ? run_bytes<true>(block) : run_bytes<false>(block);
  }
}

}  // namespace
}  // namespace mbinfer
