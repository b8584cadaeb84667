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
  BytePair(const GemmArgs& a, int pair)
      : pair(pair), panel(pair * 2 - a.panel), has{panel >= 0, panel + 1 < a.panels} {}
  int made(int n) const { return panel + (has[n] ? n : 1 - n); }  // or the other one, whose numbers do no harm
};

enum ByteEnd { kLeave, kMake, kAddTo };  // sums stay sums; become bytes; become bytes to which others are added

// What is done to the sums of a pair, in variables that no store of bytes can change.
template <ByteEnd kEnd>
struct ByteFinish {
  const bool first, second;
  const f32x8 one, two, lo, hi, made;
  const ByteOutput output;
  const ByteTerm added;
  const ptrdiff_t out_stride, residual_stride;
  uint8_t* out;
  const uint8_t *residual, *residual_second;

  ByteFinish(const GemmArgs& a, const Finish& f, const BytePair& pair, int pixel)
      : first(pair.has[0]),
        second(pair.has[1]),
        one(f32x8::load(f.channels[pair.made(0)].multiplier)),
        two(f32x8::load(f.channels[pair.made(1)].multiplier)),
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

  MBI_INLINE void put(i32x8 a, i32x8 b) {
    f32x8 x = mul(to_float(a), one), y = mul(to_float(b), two);
    if (kEnd == kAddTo) {
      x = add_to(x, residual);
      y = add_to(y, residual_second);
      residual = pace(residual + residual_stride);
      residual_second = pace(residual_second + residual_stride);
    }
    const u8x16 bytes = output(x, y);
    if (__builtin_expect(first && second, 1))
      store(out, bytes);
    else if (first)
      store_half(out, bytes);
    else
      store_second_half(out, bytes);
    out = pace(out + out_stride);
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

  MBI_INLINE void put(i32x8 a, i32x8 b) {
    if (first) store(to, a);
    if (second) store(to_second, b);
    to = reinterpret_cast<int32_t*>(reinterpret_cast<char*>(to) + stride);
    to_second = reinterpret_cast<int32_t*>(reinterpret_cast<char*>(to_second) + stride);
  }
};

// Some pixels of a call, prepared where the leaf wants that: the inputs of all taps, one pixel after the other.
struct ByteBlock {
  static constexpr int kBytes = ByteInputs::kQuadBytes * 1024, kSlack = 32, kMostPixels = 32;
  const GemmArgs& a;
  int first = 0, pixels = 0, inputs = 0;
  alignas(32) uint8_t outside[64];  // inputs of a tap that is outside
  int corrections[kMostPixels];
  alignas(32) uint8_t prepared[ByteInputs::kPrepared ? kBytes + kSlack : 1];

  explicit ByteBlock(const GemmArgs& a) : a(a) {
    __builtin_memset(outside, a.zero_point, sizeof outside);
    for (int t = 0; t < a.tap_count; t++) inputs += a.taps[t].k;
  }

  ptrdiff_t pixel_bytes() const { return ptrdiff_t(inputs) / kQuad * ByteInputs::kQuadBytes; }

  // body(in, k, weight_row) for all inputs of a pixel; none of them follows the pixel where it is `outside`.
  template <class Body>
  MBI_INLINE void for_each_input(int pixel, Body&& body) const {
    for (const Tap *tap = a.taps, *end = tap + a.tap_count; tap < end; tap++) {
      if (tap->in) {
        body(static_cast<const uint8_t*>(tap->in) + pixel * a.in_stride, tap->k, tap->weight_row);
        continue;
      }
      for (int k = 0, some; k < tap->k; k += some) {
        some = tap->k - k < int(sizeof outside) ? tap->k - k : int(sizeof outside);
        body(outside, some, tap->weight_row + k / kQuad);
      }
    }
  }

  void prepare_all() {
    for (int p = 0; p < pixels; p++) {
      uint8_t* out = prepared + p * pixel_bytes();
      corrections[p] = 0;
      for_each_input(first + p, [&](const uint8_t* in, int k, int) {
        corrections[p] += prepare(in, k, out);
        out += k / kQuad * ByteInputs::kQuadBytes;
      });
    }
  }
};

// `count` tiles, one after the other. Never inlined: among other tiles GCC would spill the sums.
template <int kPixels, bool kFull, ByteEnd kEnd>
__attribute__((noinline)) void byte_tiles(const ByteBlock& block, const BytePair& pair, int pixel, int count) {
  const GemmArgs& a = block.a;
  const int8_t* weights = static_cast<const int8_t*>(a.weights) + ptrdiff_t(pair.pair) * a.weight_rows * kQuadRow;
  const ptrdiff_t stride = ByteInputs::kPrepared ? block.pixel_bytes() : a.in_stride;
  ptrdiff_t pixels[kPixels], nowhere[kPixels];
  MBI_UNROLL for (int p = 0; p < kPixels; p++) pixels[p] = p * stride, nowhere[p] = 0;
  const Finish none = {};
  ByteFinish<kEnd> finish(a, a.finish ? *a.finish : none, pair, pixel);
  // Sums begin at the bias, or where those of the call before ended.
  const auto* channels = static_cast<const Channels*>(a.bias);
  const int32_t* from[2];
  MBI_UNROLL for (int n = 0; n < 2; n++) from[n] =
      !channels ? reinterpret_cast<const int32_t*>(static_cast<const char*>(a.sums) + pixel * a.sums_stride) +
                      pair.made(n) * kPanel
      : ByteInputs::kSigned ? channels[pair.made(n)].signed_bias
                            : channels[pair.made(n)].bias;
  const ptrdiff_t from_stride = channels ? 0 : a.sums_stride;
  const int* corrections = block.corrections + (pixel - block.first);
  const Tap *const taps = a.taps, *const taps_end = taps + a.tap_count;
  const uint8_t* in = block.prepared + (pixel - block.first) * stride;
  for (; count > 0; count--, pixel += kPixels) {
    ByteTile<kPixels, kFull> tile;
    MBI_UNROLL for (int p = 0; p < kPixels; p++) {
      MBI_UNROLL for (int n = 0; n < 2; n++) {
        tile.sums[p][n] = i32x8::load(from[n]);
        if (ByteInputs::kPrepared) tile.sums[p][n] = add(tile.sums[p][n], i32x8::splat(corrections[p]));
        from[n] = reinterpret_cast<const int32_t*>(reinterpret_cast<const char*>(from[n]) + from_stride);
      }
    }
    tile.start();
    if (ByteInputs::kPrepared) {
      const uint8_t* x = in;  // taps whose weights follow one another are like one
      for (const Tap* tap = taps; tap < taps_end; tap++) {
        const int row = tap->weight_row;
        int quads = tap->k / kQuad;
        for (; tap + 1 < taps_end && tap[1].weight_row == row + quads; tap++) quads += tap[1].k / kQuad;
        tile.multiply(x, pixels, weights + ptrdiff_t(row) * kQuadRow, quads);
        x += quads * ByteInputs::kQuadBytes;
      }
      in += kPixels * stride;
      corrections += kPixels;
    } else {
      block.for_each_input(pixel, [&](const uint8_t* x, int k, int weight_row) {
        const int8_t* w = weights + ptrdiff_t(weight_row) * kQuadRow;
        tile.multiply(x, x == block.outside ? nowhere : pixels, w, k / kQuad);
      });
    }
    tile.settle();
    MBI_UNROLL for (int p = 0; p < kPixels; p++) finish.put(tile.sums[p][0], tile.sums[p][1]);
  }
}

template <int kPixels, bool kFull, ByteEnd kEnd>
void run_byte_tiles(const ByteBlock& block, const BytePair& pair, int height, int pixel, int count) {
  if (height == kPixels) return byte_tiles<kPixels, kFull, kEnd>(block, pair, pixel, count);
  if constexpr (kPixels > 1) run_byte_tiles<kPixels - 1, kFull, kEnd>(block, pair, height, pixel, count);
}

// All pixels of a block, in tiles of nearly equal height.
template <bool kFull, ByteEnd kEnd>
void run_byte_block(const ByteBlock& block) {
  constexpr int kMost = ByteTiles::gemm_pixels;
  const GemmArgs& a = block.a;
  const int tiles = (block.pixels + kMost - 1) / kMost, height = block.pixels / tiles, taller = block.pixels % tiles;
  for (int pair = a.panel / 2; pair * 2 < a.panel + a.panels; pair++) {
    const BytePair panels(a, pair);
    if (taller) run_byte_tiles<kMost, kFull, kEnd>(block, panels, height + 1, block.first, taller);
    run_byte_tiles<kMost, kFull, kEnd>(block, panels, height, block.first + taller * (height + 1), tiles - taller);
  }
}

template <bool kFull>
void run_bytes(const ByteBlock& block) {
  const Finish* f = block.a.finish;
  !f            ? run_byte_block<kFull, kLeave>(block)
  : f->residual ? run_byte_block<kFull, kAddTo>(block)
                : run_byte_block<kFull, kMake>(block);
}

void gemm_u8(const GemmArgs* a) {
  ByteBlock block(*a);
  const ptrdiff_t bytes = block.pixel_bytes();
  if (ByteInputs::kPrepared && bytes > ByteBlock::kBytes) return kReferenceU8.gemm(a);
  const ptrdiff_t fit = bytes ? ByteBlock::kBytes / bytes : ByteBlock::kMostPixels;
  const int most = !ByteInputs::kPrepared         ? a->pixels
                   : fit < ByteBlock::kMostPixels ? int(fit)
                                                  : ByteBlock::kMostPixels;
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
