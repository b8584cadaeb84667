// What a depthwise convolution of 3 x 3 multiplies on AVX-512 with VNNI, eight panels at a time, see
// depthwise_3x3_u8.h. Included by isa.cpp only.
#pragma once

namespace mbinfer {
namespace {

// Four bytes of each of 64 channels: each quarter of a row has 16 of them, of which vector i has four, from 4 i on.
// Three bytes are of the rows; the weight of the fourth is zero. Results are packed as rows were taken apart, so that
// they lie in order again.
struct FilterColumn {
  __m512i v[4];

  static MBI_INLINE FilterColumn of(__m512i a, __m512i b, __m512i c, __m512i fourth) {
    const __m512i lo = _mm512_unpacklo_epi8(a, b), hi = _mm512_unpackhi_epi8(a, b),
                  lo_last = _mm512_unpacklo_epi8(c, fourth), hi_last = _mm512_unpackhi_epi8(c, fourth);
    return {{_mm512_unpacklo_epi16(lo, lo_last), _mm512_unpackhi_epi16(lo, lo_last), _mm512_unpacklo_epi16(hi, hi_last),
             _mm512_unpackhi_epi16(hi, hi_last)}};
  }
  static MBI_INLINE FilterColumn of_rows(__m512i a, __m512i b, __m512i c) { return of(a, b, c, c); }
  static MBI_INLINE FilterColumn of_outside(int zero_point) {
    const __m512i outside = _mm512_set1_epi8(char(zero_point));
    return {{outside, outside, outside, outside}};
  }
};

// Up to eight panels: their weights, where their sums start and what they are multiplied by, in the order of
// FilterColumn. A row that is outside weighs nothing; its products, of zero points, are where sums start.
struct FilterGroup {
  static constexpr int kPanels = 8, kLeast = 3;
  static constexpr bool kWaits = true;
  FilterColumn weights[3];
  __m512i bias[4];
  __m512 multiplier[4];
  __mmask64 lanes;  // bytes of a row that may be read
  __mmask16 large;  // what is made of these sums may be no int32

  bool fits() const { return !large; }
  MBI_INLINE __m512i load(const uint8_t* row) const { return _mm512_maskz_loadu_epi8(lanes, row); }
  MBI_INLINE void store(uint8_t* out, __m512i bytes) const { _mm512_mask_storeu_epi8(out, lanes, bytes); }

  MBI_INLINE FilterGroup(const DepthwiseArgs& a, int panel, int panels)
      : lanes(~__mmask64(0) >> (8 * (kPanels - panels))), large(0) {
    const auto* rows = static_cast<const char*>(a.weights) + ptrdiff_t((a.panel + panel) / 2) * 9 * kRow;
    const auto* channels = reinterpret_cast<const char*>(static_cast<const Channels*>(a.bias) + panel);
    __mmask16 made[2][4];  // of the first panel of each pair, and of the second
    MBI_UNROLL for (int q = 0; q < 4; q++) {
      MBI_UNROLL for (int n = 0; n < 2; n++) made[n][q] = __mmask16(2 * q + n < panels ? 0xF << 4 * q : 0);
    }
    MBI_UNROLL for (int i = 0; i < 4; i++) {
      constexpr int kTwo = 2 * sizeof(Channels);
      const char* from = channels + i / 2 * sizeof(Channels) + i % 2 * 16;
      bias[i] = quarters<kTwo>(from + offsetof(Channels, bias), made[i / 2]);
      multiplier[i] = _mm512_castsi512_ps(quarters<kTwo>(from + offsetof(Channels, multiplier), made[i / 2]));
      large = __mmask16(large | _mm512_cmp_ps_mask(multiplier[i], _mm512_set1_ps(1), _CMP_NLT_UQ));
    }
    MBI_UNROLL for (int kx = 0; kx < 3; kx++) {
      __m512i w[3];
      MBI_UNROLL for (int ky = 0; ky < 3; ky++) w[ky] = quarters<9 * kRow>(rows + (ky * 3 + kx) * kRow, made[0]);
      weights[kx] = FilterColumn::of(w[0], w[1], w[2], _mm512_setzero_si512());
    }
    if (__builtin_expect(!(a.rows[0] && a.rows[1] && a.rows[2]), 0)) leave_out(a);
  }

 private:
  // 16 bytes of each pair of panels, so far apart; zeros where there is none.
  template <int kStep>
  static MBI_INLINE __m512i quarters(const char* from, const __mmask16 (&made)[4]) {
    __m512i all = _mm512_setzero_si512();
    MBI_UNROLL for (int q = 0; q < 4; q++) {
      const __m128i some = _mm_maskz_loadu_epi32(__mmask8(made[q] >> 4 * q), from + q * kStep);
      all = _mm512_mask_broadcast_i32x4(all, made[q], some);
    }
    return all;
  }

  MBI_INLINE void leave_out(const DepthwiseArgs& a) {
    int inside = 0;
    for (int ky = 0; ky < 3; ky++) inside |= a.rows[ky] ? 0xFF << 8 * ky : 0;
    const __m512i kept = _mm512_set1_epi32(inside), zero = _mm512_set1_epi8(char(a.in_type.zero_point));
    MBI_UNROLL for (int kx = 0; kx < 3; kx++) {
      MBI_UNROLL for (int i = 0; i < 4; i++) {
        __m512i& w = weights[kx].v[i];
        bias[i] = _mm512_dpbusd_epi32(bias[i], zero, _mm512_andnot_si512(kept, w));
        w = _mm512_and_si512(kept, w);
      }
    }
  }
};

struct FilterSums {
  __m512i v[4];
};

struct Filter3x3 {
  const FilterGroup& group;
  const __m512i zero, lo, hi;
  MBI_INLINE Filter3x3(const FilterGroup& g, const ByteOutput& output)
      : group(g),
        zero(_mm512_broadcast_i64x4(output.zero)),
        lo(_mm512_broadcast_i64x4(output.lo)),
        hi(_mm512_broadcast_i64x4(output.highest)) {}

  MBI_INLINE FilterSums sums(const FilterColumn& left, const FilterColumn& middle, const FilterColumn& right) const {
    FilterSums sums;
    MBI_UNROLL for (int i = 0; i < 4; i++) {
      const __m512i first = _mm512_dpbusd_epi32(group.bias[i], left.v[i], group.weights[0].v[i]);
      const __m512i second = _mm512_dpbusd_epi32(first, middle.v[i], group.weights[1].v[i]);
      sums.v[i] = _mm512_dpbusd_epi32(second, right.v[i], group.weights[2].v[i]);
    }
    return sums;
  }

  MBI_INLINE __m512i bytes(const FilterSums& sums) const {
    __m512i steps[4];
    MBI_UNROLL for (int i = 0; i < 4; i++) steps[i] =
        _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_cvtepi32_ps(sums.v[i]), group.multiplier[i]));
    const __m512i first = _mm512_adds_epi16(_mm512_packs_epi32(steps[0], steps[1]), zero),
                  second = _mm512_adds_epi16(_mm512_packs_epi32(steps[2], steps[3]), zero);
    return _mm512_min_epu8(_mm512_max_epu8(_mm512_packus_epi16(first, second), lo), hi);
  }
};

}  // namespace
}  // namespace mbinfer

#include "kernels/filter_walk.h"
