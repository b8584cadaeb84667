// What a depthwise convolution of 3 x 3 multiplies on AVX2, a pair of panels at a time: bytes are widened to 16 bits
// once for all pixels that read them, and two taps of a channel are multiplied and added by one instruction, exactly.
// See depthwise_3x3_u8.h. Included by isa.cpp only.
#pragma once

namespace mbinfer {
namespace {

// Numbers of 16 channels in 16 bits. Of two rows beside one another, each half of 128 bits of the first register has
// channels 0 to 3, of the second one channels 4 to 7; so are sums, and packing puts them in order again.
struct Beside {
  __m256i v[2];
  static MBI_INLINE Beside of(__m256i a, __m256i b) {
    return {{_mm256_unpacklo_epi16(a, b), _mm256_unpackhi_epi16(a, b)}};
  }
};

// The first two rows of 16 channels, and the last one.
struct FilterColumn {
  Beside two;
  __m256i last;
  static MBI_INLINE FilterColumn of_rows(__m256i a, __m256i b, __m256i c) { return {Beside::of(a, b), c}; }
  static MBI_INLINE FilterColumn of_outside(int zero_point) {
    const __m256i outside = _mm256_set1_epi16(int16_t(zero_point));
    return {{{outside, outside}}, outside};
  }
};

// A pair of panels: its weights, where its sums start and what they are multiplied by, in the order of Beside. A row
// that is outside weighs nothing; its products, of zero points, are where sums start.
struct FilterGroup {
  static constexpr int kPanels = 2, kLeast = 2;
  static constexpr bool kWaits = true;
  Beside two[3], last, right;  // of the first two rows; of the last one, left and middle column, right one
  __m256i bias[2];
  __m256 multiplier[2];
  bool large;  // what is made of these sums may be no int32

  bool fits() const { return !large; }
  static MBI_INLINE __m256i load(const uint8_t* row) {
    return _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(row)));
  }
  static MBI_INLINE void store(uint8_t* out, __m128i bytes) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), bytes);
  }

  MBI_INLINE FilterGroup(const DepthwiseArgs& a, int panel, int) {
    const auto* rows = static_cast<const int8_t*>(a.weights) + ptrdiff_t((a.panel + panel) / 2) * 9 * kRow;
    const auto* channels = static_cast<const Channels*>(a.bias) + panel;
    auto tap = [&](int ky, int kx) {
      return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(rows + (ky * 3 + kx) * kRow)));
    };
    MBI_UNROLL for (int kx = 0; kx < 3; kx++) two[kx] = Beside::of(tap(0, kx), tap(1, kx));
    last = Beside::of(tap(2, 0), tap(2, 1));
    right = Beside::of(tap(2, 2), _mm256_setzero_si256());
    const ByteScale scale(channels[0].multiplier, channels[1].multiplier);
    large = !scale.small;
    MBI_UNROLL for (int i = 0; i < 2; i++) {
      bias[i] = half_of(i, i32x8::load(channels[0].bias).v, i32x8::load(channels[1].bias).v);
      multiplier[i] = _mm256_castsi256_ps(half_of(i, _mm256_castps_si256(scale.a.v), _mm256_castps_si256(scale.b.v)));
    }
    if (__builtin_expect(!(a.rows[0] && a.rows[1] && a.rows[2]), 0)) leave_out(a);
  }

 private:
  static MBI_INLINE __m256i half_of(int i, __m256i first, __m256i second) {
    return i ? _mm256_permute2x128_si256(first, second, 0x31) : _mm256_permute2x128_si256(first, second, 0x20);
  }

  MBI_INLINE void leave_out(const DepthwiseArgs& a) {
    const __m256i zero = _mm256_set1_epi16(int16_t(a.in_type.zero_point));
    auto leave = [&](Beside* weights, int inside) {
      const __m256i kept = _mm256_set1_epi32(inside);
      MBI_UNROLL for (int i = 0; i < 2; i++) {
        __m256i& w = weights->v[i];
        bias[i] = _mm256_add_epi32(bias[i], _mm256_madd_epi16(zero, _mm256_andnot_si256(kept, w)));
        w = _mm256_and_si256(kept, w);
      }
    };
    const int first = a.rows[0] ? 0xFFFF : 0, second = a.rows[1] ? -0x10000 : 0;
    MBI_UNROLL for (int kx = 0; kx < 3; kx++) leave(&two[kx], first | second);
    leave(&last, a.rows[2] ? -1 : 0);
    leave(&right, a.rows[2] ? -1 : 0);
  }
};

struct FilterSums {
  __m256i v[2];
};

// Weights, starts and multipliers are read for each pixel: they have no room beside three columns and the sums.
struct Filter3x3 {
  const FilterGroup& group;
  const __m256i zero;
  const __m128i lo, hi;
  MBI_INLINE Filter3x3(const FilterGroup& g, const ByteOutput& output)
      : group(g),
        zero(output.zero),
        lo(_mm256_castsi256_si128(output.lo)),
        hi(_mm256_castsi256_si128(output.highest)) {}

  MBI_INLINE FilterSums sums(const FilterColumn& left, const FilterColumn& middle, const FilterColumn& right) const {
    const Beside last = Beside::of(left.last, middle.last), alone = Beside::of(right.last, right.last);
    FilterSums sums;
    MBI_UNROLL for (int i = 0; i < 2; i++) {
      auto products = [&](const Beside& x, const Beside& w) { return _mm256_madd_epi16(x.v[i], w.v[i]); };
      const __m256i first = _mm256_add_epi32(products(left.two, group.two[0]), products(middle.two, group.two[1])),
                    second = _mm256_add_epi32(products(right.two, group.two[2]), products(last, group.last)),
                    third = _mm256_add_epi32(products(alone, group.right), group.bias[i]);
      sums.v[i] = _mm256_add_epi32(_mm256_add_epi32(first, second), third);
    }
    return sums;
  }

  MBI_INLINE __m128i bytes(const FilterSums& sums) const {
    __m256i steps[2];
    MBI_UNROLL for (int i = 0; i < 2; i++) steps[i] =
        _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_cvtepi32_ps(sums.v[i]), group.multiplier[i]));
    const __m256i words = _mm256_adds_epi16(_mm256_packs_epi32(steps[0], steps[1]), zero);
    const __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    return _mm_min_epu8(_mm_max_epu8(bytes, lo), hi);
  }
};

}  // namespace
}  // namespace mbinfer

#include "kernels/filter_walk.h"
