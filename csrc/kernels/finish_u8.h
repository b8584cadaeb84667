// What becomes of the sums of the matrix kernel of uint8: they stay sums, or leave as bytes. Included by isa.cpp only.
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
  // One of those that are made whole, of which this is the first.
  BytePair(const BytePair& first, int next) : pair(first.pair + next), panel(first.panel + 2 * next), has{true, true} {}
  int made(int n) const { return panel + (has[n] ? n : 1 - n); }  // or the other one, whose numbers do no harm
};

enum ByteEnd { kLeave, kMake, kAddTo };  // sums stay sums; become bytes; become bytes to which others are added

// A panel by itself, where the leaf has tiles of one: a register has the sums of two pixels in place of two panels'.
constexpr int registers_of(int pixels, bool alone) { return alone ? (pixels + 1) / 2 : pixels; }

// What is done to the sums of all panels of a call alike.
template <ByteEnd kEnd>
struct ByteDeeds {
  const f32x8 lo, hi, made;
  const ByteOutput output;
  const ByteTerm added;
  explicit ByteDeeds(const Finish& f)
      : lo(f32x8::splat(f.activation.lo)),
        hi(f32x8::splat(f.activation.hi)),
        made(f32x8::splat(kEnd == kAddTo ? f.made.scale / f.sum.scale : 0)),
        output(kEnd == kAddTo ? f.after : f.activation, kEnd == kAddTo ? f.sum : f.made),
        added(kEnd == kAddTo ? f.added : f.made, kEnd == kAddTo ? f.sum : f.made) {}
};
template <>
struct ByteDeeds<kLeave> {
  explicit ByteDeeds(const Finish&) {}
};

// What is done to the sums of a pair, in variables that no store of bytes can change.
template <ByteEnd kEnd, bool kAlone>
struct ByteFinish {
  const bool both, first;  // panels that are made: both, or one of them
  const ByteScale scale;
  const f32x8 lo, hi, made;
  const ByteOutput output;
  const ByteTerm added;
  const ptrdiff_t out_stride, residual_stride;
  uint8_t* out;
  const uint8_t *residual, *residual_second;

  ByteFinish(const GemmArgs& a, const ByteDeeds<kEnd>& deeds, const BytePair& pair, int pixel)
      : both(pair.has[0] && pair.has[1]),
        first(pair.has[0]),
        scale(a.finish->channels[pair.made(0)].multiplier, a.finish->channels[pair.made(1)].multiplier),
        lo(deeds.lo),
        hi(deeds.hi),
        made(deeds.made),
        output(deeds.output),
        added(deeds.added),
        out_stride(a.out_stride),
        residual_stride(a.finish->residual_stride),
        out(static_cast<uint8_t*>(a.out) + pixel * a.out_stride + pair.made(0) * kPanel),
        residual(static_cast<const uint8_t*>(a.finish->residual) + pixel * residual_stride + pair.made(0) * kPanel),
        residual_second(residual + (pair.made(1) - pair.made(0)) * kPanel) {}

  // What is made is a byte already where a residual is added to it: whole steps.
  MBI_INLINE f32x8 add_to(f32x8 x, const uint8_t* residual) const {
    return add(mul(to_float(to_int(less(hi, number(x, lo)))), made), added(residual));
  }

  template <int kPixels>
  MBI_INLINE void put(const i32x16 (&sums)[registers_of(kPixels, kAlone)]) {
    constexpr int kRegisters = registers_of(kPixels, kAlone), kEach = kAlone ? 2 : 1;
    auto has_second = [](int i) { return !kAlone || 2 * i + 1 < kPixels; };
    u8x16 bytes[kRegisters];
    if constexpr (kEnd == kAddTo) {
      MBI_UNROLL for (int i = 0; i < kRegisters; i++) {
        const uint8_t* other = !kAlone ? residual_second : has_second(i) ? residual + residual_stride : residual;
        bytes[i] = output(add_to(scale.first(sums[i]), residual), add_to(scale.second(sums[i]), other));
        residual = pace(residual + (has_second(i) ? kEach : 1) * residual_stride);
        residual_second = pace(residual_second + residual_stride);
      }
    } else {
      output(sums, scale, bytes);
    }
    MBI_UNROLL for (int i = 0; i < kRegisters; i++) {
      if (kAlone) {
        store_half(out, bytes[i]);
        if (has_second(i)) store_second_half(out + out_stride, bytes[i]);
      } else if (__builtin_expect(both, 1)) {
        out = store_next(out, bytes[i], out_stride);
        continue;
      } else if (first) {
        store_half(out, bytes[i]);
      } else {
        store_second_half(out, bytes[i]);
      }
      out = pace(out + (has_second(i) ? kEach : 1) * out_stride);
    }
  }
};

template <bool kAlone>
struct ByteFinish<kLeave, kAlone> {
  const bool first, second;
  const ptrdiff_t stride;
  int32_t *to, *to_second;

  ByteFinish(const GemmArgs& a, const ByteDeeds<kLeave>&, const BytePair& pair, int pixel)
      : first(pair.has[0]),
        second(pair.has[1]),
        stride(a.sums_stride),
        to(moved(static_cast<int32_t*>(a.sums) + pair.made(0) * kPanel, pixel * stride)),
        to_second(to + (pair.made(1) - pair.made(0)) * kPanel) {}

  static MBI_INLINE int32_t* moved(int32_t* p, ptrdiff_t bytes) {
    return reinterpret_cast<int32_t*>(reinterpret_cast<char*>(p) + bytes);
  }

  template <int kPixels>
  MBI_INLINE void put(const i32x16 (&sums)[registers_of(kPixels, kAlone)]) {
    if (kAlone) {
      MBI_UNROLL for (int p = 0; p < kPixels; p++, to = moved(to, stride))
          store(to, p % 2 ? sums[p / 2].second() : sums[p / 2].first());
      return;
    }
    MBI_UNROLL for (int p = 0; p < kPixels; p++) {
      if (first) store(to, sums[p].first());
      if (second) store(to_second, sums[p].second());
      to = moved(to, stride);
      to_second = moved(to_second, stride);
    }
  }
};

// What becomes of the sums of several whole pairs that follow one another: as of each by itself. They wait in memory,
// or GCC would keep them there while they are added up, too.
template <ByteEnd kEnd, int kPairs>
struct ByteEnds {
  const GemmArgs& a;
  const BytePair first;
  ByteEnds(const GemmArgs& a, const BytePair& first) : a(a), first(first) {}

  template <int kPixels>
  MBI_INLINE void finish(const ByteDeeds<kEnd>& deeds, const i32x16 (&sums)[kPairs][kPixels], int pixel) const {
    i32x16 waiting[kPairs][kPixels];
    MBI_UNROLL for (int n = 0; n < kPairs; n++) {
      MBI_UNROLL for (int p = 0; p < kPixels; p++) waiting[n][p] = sums[n][p];
    }
    MBI_UNROLL for (int n = 0; n < kPairs; n++) {
      ByteFinish<kEnd, false> end(a, deeds, BytePair(first, n), pixel);
      end.template put<kPixels>(waiting[n]);
    }
  }
};
template <int kPairs>
struct ByteEnds<kMake, kPairs> {
  uint8_t* const out;
  const ptrdiff_t out_stride;
  ByteScale scales[kPairs];
  ByteEnds(const GemmArgs& a, const BytePair& first)
      : out(static_cast<uint8_t*>(a.out) + first.panel * kPanel), out_stride(a.out_stride) {
    const Channels* channels = a.finish->channels + first.panel;
    MBI_UNROLL for (int n = 0; n < kPairs; n++) scales[n] =
        ByteScale(channels[2 * n].multiplier, channels[2 * n + 1].multiplier);
  }

  template <int kPixels>
  MBI_INLINE void finish(const ByteDeeds<kMake>& deeds, const i32x16 (&sums)[kPairs][kPixels], int pixel) const {
    MBI_UNROLL for (int n = 0; n < kPairs; n++) {
      u8x16 bytes[kPixels];
      deeds.output(sums[n], scales[n], bytes);
      uint8_t* to = out + pixel * out_stride + n * 2 * kPanel;
      MBI_UNROLL for (int p = 0; p < kPixels; p++) to = store_next(to, bytes[p], out_stride);
    }
  }
};

}  // namespace
}  // namespace mbinfer
