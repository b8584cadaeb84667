// The matrix kernel of uint8 over vectors of integers: a tile of pixels by a pair of panels is summed in registers from
// the first tap to the last, and leaves as bytes. Included by isa.cpp only.
#pragma once

namespace mbinfer {
namespace {

constexpr int kQuad = 4;                      // inputs of a row of int8 weights
constexpr int kQuadRow = kQuad * 2 * kPanel;  // bytes of it, for a pair of panels

// Numbers of bytes, as steps from their zero point, times a factor.
struct ByteTerm {
  f32x8 zero, factor;
  ByteTerm(const Type& type, const Type& out)
      : zero(f32x8::splat(float(type.zero_point))), factor(f32x8::splat(type.scale / out.scale)) {}
  MBI_INLINE f32x8 operator()(const uint8_t* p) const { return mul(sub(f32x8::widen_u8(p), zero), factor); }
};

// A pair of panels of a call, of which the first may begin with its second one and the last end with its first.
struct BytePair {
  int pair, panel;  // of the node's; the first panel of those that the call makes, -1 where it is not made
  bool has[2];
  BytePair(int first, int panels, int pair)
      : pair(pair), panel(pair * 2 - first), has{panel >= 0, panel + 1 < panels} {}
  int made(int n) const { return panel + (has[n] ? n : 1 - n); }  // or the other one, whose numbers do no harm
};

enum ByteEnd { kLeave, kMake, kAddTo };  // sums stay sums; become bytes; become bytes to which others are added

// What is done to the sums of a pair, in variables that no store of bytes can change.
template <ByteEnd kEnd>
struct ByteFinish {
  const bool both, first;  // panels that are made: both, or one of them
  const ByteScale scale;
  const f32x8 lo, hi, made;
  const ByteOutput output;
  const ByteTerm added;
  const ptrdiff_t out_stride, residual_stride;
  uint8_t* out;
  const uint8_t *residual, *residual_second;

  ByteFinish(const GemmArgs& a, const Finish& f, const BytePair& pair, int pixel)
      : both(pair.has[0] && pair.has[1]),
        first(pair.has[0]),
        scale(f.channels[pair.made(0)].multiplier, f.channels[pair.made(1)].multiplier),
        lo(f32x8::splat(f.activation.lo)),
        hi(f32x8::splat(f.activation.hi)),
        made(f32x8::splat(kEnd == kAddTo ? f.made.scale / f.sum.scale : 0)),
        output(kEnd == kAddTo ? f.after : f.activation, kEnd == kAddTo ? f.sum : f.made),
        added(kEnd == kAddTo ? f.added : f.made, kEnd == kAddTo ? f.sum : f.made),
        out_stride(a.out_stride),
        residual_stride(f.residual_stride),
        out(static_cast<uint8_t*>(a.out) + pixel * a.out_stride + pair.made(0) * kPanel),
        residual(static_cast<const uint8_t*>(f.residual) + pixel * f.residual_stride + pair.made(0) * kPanel),
        residual_second(residual + (pair.made(1) - pair.made(0)) * kPanel) {}

  // What is made is a byte already where a residual is added to it: whole steps.
  MBI_INLINE f32x8 add_to(f32x8 x, const uint8_t* residual) const {
    return add(mul(to_float(to_int(less(hi, greater(x, lo)))), made), added(residual));
  }

  template <int kPixels>
  MBI_INLINE void put(const i32x16 (&sums)[kPixels]) {
    u8x16 bytes[kPixels];
    if (kEnd == kAddTo) {
      MBI_UNROLL for (int p = 0; p < kPixels; p++) {
        bytes[p] = output(add_to(scale.first(sums[p]), residual), add_to(scale.second(sums[p]), residual_second));
        residual = pace(residual + residual_stride);
        residual_second = pace(residual_second + residual_stride);
      }
    } else {
      output(sums, scale, bytes);
    }
    MBI_UNROLL for (int p = 0; p < kPixels; p++) {
      if (__builtin_expect(both, 1))
        store(out, bytes[p]);
      else if (first)
        store_half(out, bytes[p]);
      else
        store_second_half(out, bytes[p]);
      out = pace(out + out_stride);
    }
  }
};

template <>
struct ByteFinish<kLeave> {
  const bool first, second;
  const ptrdiff_t stride;
  int32_t *to, *to_second;

  ByteFinish(const GemmArgs& a, const Finish&, const BytePair& pair, int pixel)
      : first(pair.has[0]),
        second(pair.has[1]),
        stride(a.sums_stride),
        to(reinterpret_cast<int32_t*>(static_cast<char*>(a.sums) + pixel * stride) + pair.made(0) * kPanel),
        to_second(to + (pair.made(1) - pair.made(0)) * kPanel) {}

  template <int kPixels>
  MBI_INLINE void put(const i32x16 (&sums)[kPixels]) {
    MBI_UNROLL for (int p = 0; p < kPixels; p++) {
      if (first) store(to, sums[p].first());
      if (second) store(to_second, sums[p].second());
      to = reinterpret_cast<int32_t*>(reinterpret_cast<char*>(to) + stride);
      to_second = reinterpret_cast<int32_t*>(reinterpret_cast<char*>(to_second) + stride);
    }
  }
};

// Some pixels of a call, prepared where the leaf wants that: of each tap the inputs of all pixels, one after the other.
struct ByteBlock {
  static constexpr int kMostPixels = 64, kMostTaps = 64;
  static constexpr ptrdiff_t kMostBytes = ByteInputs::kQuadBytes * ByteInputs::kMostQuads;
  const GemmArgs& a;
  int first = 0, pixels = 0;
  ptrdiff_t stride;                 // from one pixel to the next, in bytes of inputs
  bool shared = true;               // neighbouring pixels read some inputs in common, or all that lies between them
  alignas(32) uint8_t outside[64];  // inputs of a tap that is outside
  int corrections[kMostPixels];     // where the leaf wants them
  const uint8_t* taps[ByteInputs::kPrepared ? kMostTaps : 1];  // prepared, of the block's first pixel
  alignas(32) uint8_t prepared[ByteInputs::kPrepared ? ByteInputs::kRoom : 1];

  explicit ByteBlock(const GemmArgs& a) : a(a), stride(a.in_stride) {
    __builtin_memset(outside, a.zero_point, sizeof outside);
    if (!ByteInputs::kPrepared) return;
    int most = 0;
    for (int t = 0; t < a.tap_count; t++) {
      most = a.taps[t].k > most ? a.taps[t].k : most;
      shared = shared && (!a.taps[t].in || a.taps[t].k >= stride);
    }
    shared = shared && stride % kQuad == 0 && stride >= 0;
    if (!shared) stride = most;
  }

  static constexpr ptrdiff_t prepared_bytes(ptrdiff_t inputs) { return inputs / kQuad * ByteInputs::kQuadBytes; }
  ptrdiff_t pixel_bytes() const { return prepared_bytes(stride); }

  // So many pixels that their inputs find room.
  int most_pixels() const {
    ptrdiff_t fixed = 0;
    for (int t = 0; t < a.tap_count; t++) fixed += prepared_bytes(a.taps[t].k);
    const ptrdiff_t room = kMostBytes - fixed, each = a.tap_count * pixel_bytes();
    if (room < 0 || a.tap_count > kMostTaps) return 0;
    const ptrdiff_t fit = each ? room / each + 1 : kMostPixels;
    return fit < kMostPixels ? int(fit) : kMostPixels;
  }

  // body(in, k) for all inputs of a tap that is outside.
  template <class Body>
  MBI_INLINE void for_each_outside(int k, Body&& body) const {
    for (int i = 0, some; i < k; i += some) {
      some = k - i < int(sizeof outside) ? k - i : int(sizeof outside);
      body(outside, i, some);
    }
  }

  void prepare_all() {
    const bool corrected = ByteInputs::kCorrected;
    if (corrected)
      for (int p = 0; p < pixels; p++) corrections[p] = 0;
    uint8_t* to = prepared;
    for (int t = 0; t < a.tap_count; t++) {
      const Tap& tap = a.taps[t];
      const int k = tap.k;
      taps[t] = to;
      if (!tap.in) {
        for_each_outside(k, [&](const uint8_t* in, int i, int some) { prepare(in, some, to + prepared_bytes(i)); });
        if (corrected)
          for (int p = 0, all = correction(to, k); p < pixels; p++) corrections[p] += all;
        to += prepared_bytes(k);
        continue;
      }
      const auto* in = static_cast<const uint8_t*>(tap.in) + first * a.in_stride;
      if (shared) {
        prepare(in, int(ptrdiff_t(pixels - 1) * stride) + k, to);
      } else {
        for (int p = 0; p < pixels; p++) prepare(in + p * a.in_stride, k, to + p * pixel_bytes());
      }
      if (corrected)
        for (int p = 0; p < pixels; p++) corrections[p] += correction(to + p * pixel_bytes(), k);
      to += (pixels - 1) * pixel_bytes() + prepared_bytes(k);
    }
  }
};

// Where the sums of a pair begin: at the bias, or where those of the call before ended.
struct ByteStart {
  const int32_t* from[2];
  ptrdiff_t stride;
  ByteStart(const GemmArgs& a, const BytePair& pair, int pixel) : stride(a.bias ? 0 : a.sums_stride) {
    const auto* channels = static_cast<const Channels*>(a.bias);
    const auto* sums = reinterpret_cast<const int32_t*>(static_cast<const char*>(a.sums) + pixel * a.sums_stride);
    MBI_UNROLL for (int n = 0; n < 2; n++) from[n] = !channels             ? sums + pair.made(n) * kPanel
                                                     : ByteInputs::kSigned ? channels[pair.made(n)].signed_bias
                                                                           : channels[pair.made(n)].bias;
  }
  i32x16 operator()() const { return i32x16::load(from[0], from[1]); }
  MBI_INLINE void next() {
    MBI_UNROLL for (int n = 0; n < 2; n++) from[n] =
        reinterpret_cast<const int32_t*>(reinterpret_cast<const char*>(from[n]) + stride);
  }
};

inline int quads_of(const Tap& tap) { return int(unsigned(tap.k) / kQuad); }

// Whether the leaf makes tiles whole: from the bias, of inputs that are prepared or lie somewhere.
inline bool can_be_whole(const ByteBlock& block) {
  const GemmArgs& a = block.a;
  bool whole = a.bias && a.tap_count > 0 && a.tap_count <= ByteBlock::kMostTaps;
  for (int t = 0; !ByteInputs::kPrepared && whole && t < a.tap_count; t++)
    whole = a.taps[t].in || a.taps[t].k <= int(sizeof block.outside);
  return whole;
}

// `count` tiles that the leaf makes whole.
template <int kPixels, bool kFull, ByteEnd kEnd>
MBI_INLINE void whole_tiles(const ByteBlock& block, const BytePair& pair, int pixel, int count) {
  using Tile = ByteTile<kPixels, kFull>;
  const GemmArgs& a = block.a;
  const int8_t* weights = static_cast<const int8_t*>(a.weights) + ptrdiff_t(pair.pair) * a.weight_rows * kQuadRow;
  const ptrdiff_t stride = ByteInputs::kPrepared ? block.pixel_bytes() : a.in_stride;
  typename Tile::Inputs taps[ByteBlock::kMostTaps];
  for (int t = 0; t < a.tap_count; t++) {
    const Tap& tap = a.taps[t];
    const auto* in = ByteInputs::kPrepared ? block.taps[t]
                     : tap.in              ? static_cast<const uint8_t*>(tap.in)
                                           : block.outside;
    taps[t] = {in, tap.in ? stride : 0, weights + ptrdiff_t(tap.weight_row) * kQuadRow, quads_of(tap)};
  }
  static constexpr Finish kNone = {};
  ByteFinish<kEnd> finish(a, kEnd == kLeave ? kNone : *a.finish, pair, pixel);
  const typename Tile::Start start(ByteStart(a, pair, pixel)());
  const typename Tile::Inputs* const end = taps + a.tap_count;
  for (ptrdiff_t p = ByteInputs::kPrepared ? pixel - block.first : pixel; count > 0; count--, p += kPixels) {
    Tile tile;
    tile.whole(start, taps, end, p);
    finish.put(tile.sums);
  }
}

// `count` tiles, one after the other; of one tap, whose sums begin at the bias, or of any. Never inlined: among other
// tiles GCC would spill the sums, as it does around the loop over taps, which takes as long as 8 to 16 inputs.
template <int kPixels, bool kFull, ByteEnd kEnd, bool kOneTap>
__attribute__((noinline)) void byte_tiles(const ByteBlock& block, const BytePair& pair, int pixel, int count) {
  const GemmArgs& a = block.a;
  if constexpr (ByteTile<kPixels, kFull>::kWhole)
    if (can_be_whole(block)) return whole_tiles<kPixels, kFull, kEnd>(block, pair, pixel, count);
  const int8_t* weights = static_cast<const int8_t*>(a.weights) + ptrdiff_t(pair.pair) * a.weight_rows * kQuadRow;
  const ptrdiff_t stride = ByteInputs::kPrepared ? block.pixel_bytes() : a.in_stride;
  ptrdiff_t pixels[kPixels], nowhere[kPixels];
  MBI_UNROLL for (int p = 0; p < kPixels; p++) pixels[p] = p * stride, nowhere[p] = 0;
  static constexpr Finish kNone = {};
  ByteFinish<kEnd> finish(a, kEnd == kLeave ? kNone : *a.finish, pair, pixel);
  ByteStart start(a, pair, pixel);
  const int* corrections = block.corrections + (pixel - block.first);
  ptrdiff_t moved = (ByteInputs::kPrepared ? pixel - block.first : pixel) * stride;
  auto inputs = [&](int t) {
    return ByteInputs::kPrepared ? block.taps[t] : static_cast<const uint8_t*>(a.taps[t].in);
  };
  const uint8_t* const only = kOneTap ? inputs(0) : nullptr;
  const int quads = kOneTap ? quads_of(a.taps[0]) : 0;
  if (kOneTap) weights += ptrdiff_t(a.taps[0].weight_row) * kQuadRow;
  for (; count > 0; count--, moved += kPixels * stride, corrections += kPixels) {
    ByteTile<kPixels, kFull> tile;
    MBI_UNROLL for (int p = 0; p < kPixels; p++) {
      tile.sums[p] = start();
      if (ByteInputs::kCorrected) tile.sums[p] = add(tile.sums[p], corrections[p]);
      if (!kOneTap) start.next();
    }
    tile.start();
    if (kOneTap) tile.multiply(only + moved, pixels, weights, quads);
    for (int t = 0; !kOneTap && t < a.tap_count; t++) {
      const Tap& tap = a.taps[t];
      const int8_t* w = weights + ptrdiff_t(tap.weight_row) * kQuadRow;
      if (__builtin_expect(tap.in != nullptr, 1)) {
        tile.multiply(inputs(t) + moved, pixels, w, quads_of(tap));
      } else if (ByteInputs::kPrepared) {
        tile.multiply(block.taps[t], nowhere, w, quads_of(tap));
      } else {
        block.for_each_outside(tap.k, [&](const uint8_t* outside, int i, int some) {
          tile.multiply(outside, nowhere, w + i / kQuad * kQuadRow, some / kQuad);
        });
      }
    }
    tile.settle();
    finish.put(tile.sums);
  }
}

template <int kPixels, bool kFull, ByteEnd kEnd, bool kOneTap>
void run_byte_tiles(const ByteBlock& block, const BytePair& pair, int height, int pixel, int count) {
  if (height == kPixels) return byte_tiles<kPixels, kFull, kEnd, kOneTap>(block, pair, pixel, count);
  if constexpr (kPixels > 1) run_byte_tiles<kPixels - 1, kFull, kEnd, kOneTap>(block, pair, height, pixel, count);
}

// All pixels of a block, in tiles of nearly equal height.
template <bool kFull, ByteEnd kEnd, bool kOneTap>
void run_byte_pairs(const ByteBlock& block) {
  constexpr int kMost = ByteTiles::gemm_pixels;
  const GemmArgs& a = block.a;
  const int tiles = (block.pixels + kMost - 1) / kMost, height = block.pixels / tiles, taller = block.pixels % tiles;
  for (int pair = a.panel / 2; pair * 2 < a.panel + a.panels; pair++) {
    const BytePair panels(a.panel, a.panels, pair);
    if (taller) run_byte_tiles<kMost, kFull, kEnd, kOneTap>(block, panels, height + 1, block.first, taller);
    run_byte_tiles<kMost, kFull, kEnd, kOneTap>(block, panels, height, block.first + taller * (height + 1),
                                                tiles - taller);
  }
}

template <bool kFull, ByteEnd kEnd>
void run_byte_block(const ByteBlock& block) {
  const GemmArgs& a = block.a;
  a.tap_count == 1 && a.taps[0].in&& a.bias ? run_byte_pairs<kFull, kEnd, true>(block)
                                            : run_byte_pairs<kFull, kEnd, false>(block);
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

// A call whose inputs find no room together. Where it begins at the bias and ends as bytes, the sums of some pixels and
// panels at a time wait here.
void gemm_of_many(const GemmArgs& a) {
  if (!a.bias || !a.finish) return gemm_in_turns(a, 0);
  constexpr int kPixels = 8, kPanels = 16;
  alignas(64) int32_t sums[kPixels * kPanels * kPanel];
  for (int pixel = 0; pixel < a.pixels; pixel += kPixels)
    for (int panel = 0; panel < a.panels; panel += kPanels) {
      Finish finish = *a.finish;
      GemmArgs some = a;
      some.pixels = a.pixels - pixel < kPixels ? a.pixels - pixel : kPixels;
      some.panel = a.panel + panel;
      some.panels = a.panels - panel < kPanels ? a.panels - panel : kPanels;
      some.sums = sums;
      some.sums_stride = kPanels * kPanel * sizeof(int32_t);
      some.out = static_cast<uint8_t*>(a.out) + pixel * a.out_stride + panel * kPanel;
      some.bias = static_cast<const Channels*>(a.bias) + panel;
      some.finish = &finish;
      finish.channels += panel;
      if (finish.residual)
        finish.residual =
            static_cast<const uint8_t*>(finish.residual) + pixel * finish.residual_stride + panel * kPanel;
      gemm_in_turns(some, pixel);
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
