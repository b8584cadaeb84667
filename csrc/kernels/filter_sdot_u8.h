// What a depthwise convolution of 3 x 3 multiplies on NEON with dot products, a pair of panels at a time, see
// depthwise_3x3_u8.h. Included by isa.cpp only.
#pragma once

#include "kernels/filter_neon_u8.h"

namespace mbinfer {
namespace {

// Four bytes of each of 16 channels, for SDOT: vector r has channels r, r + 4, r + 8 and r + 12. Three bytes are of the
// rows; the fourth, the last one of even and the third one of odd channels, is a neighbour's, whose weight is zero.
struct FilterColumn {
  int8x16_t v[4];

  static MBI_INLINE FilterColumn of_rows(int8x16_t a, int8x16_t b, int8x16_t c) { return of(a, b, c, c); }
  static FilterColumn of_outside(int zero_point) {
    const int8x16_t outside = vdupq_n_s8(int8_t(zero_point - 128));
    return {{outside, outside, outside, outside}};
  }
  static MBI_INLINE FilterColumn of(int8x16_t a, int8x16_t b, int8x16_t even, int8x16_t odd) {
    const int16x8_t first = vreinterpretq_s16_s8(vtrn1q_s8(a, b)), second = vreinterpretq_s16_s8(vtrn2q_s8(a, b)),
                    e = vreinterpretq_s16_s8(even), o = vreinterpretq_s16_s8(odd);
    return {{vreinterpretq_s8_s16(vtrn1q_s16(first, e)), vreinterpretq_s8_s16(vtrn1q_s16(second, o)),
             vreinterpretq_s8_s16(vtrn2q_s16(first, e)), vreinterpretq_s8_s16(vtrn2q_s16(second, o))}};
  }
  static MBI_INLINE FilterColumn of_weights(int8x16_t a, int8x16_t b, int8x16_t c) {
    const int8x16_t even = vreinterpretq_s8_s16(vdupq_n_s16(0xFF));
    return of(a, b, vandq_s8(c, even), vbicq_s8(c, even));
  }
};

// A pair of panels, in the order of FilterColumn.
struct FilterGroup : FilterPair {
  FilterColumn weights[3];

  static constexpr bool fits() { return true; }

  // A row that is outside weighs nothing; its products, of zero points, are where sums start.
  __attribute__((noinline)) FilterGroup(const DepthwiseArgs& a, int panel, int) : FilterPair(a, panel) {
    const auto* rows = static_cast<const int8_t*>(a.weights) + ptrdiff_t((a.panel + panel) / 2) * 9 * kRow;
    int32x4x4_t start = vld4q_s32(bias);
    const float32x4x4_t factors = vld4q_f32(multiplier);
    const int8x16_t zero = vdupq_n_s8(int8_t(a.in_type.zero_point - 128));
    int8x16_t inside[3];
    for (int ky = 0; ky < 3; ky++) inside[ky] = vdupq_n_s8(a.rows[ky] ? -1 : 0);
    for (int kx = 0; kx < 3; kx++, rows += kRow) {
      const int8x16_t w[3] = {vld1q_s8(rows), vld1q_s8(rows + 3 * kRow), vld1q_s8(rows + 6 * kRow)};
      weights[kx] =
          FilterColumn::of_weights(vandq_s8(w[0], inside[0]), vandq_s8(w[1], inside[1]), vandq_s8(w[2], inside[2]));
      if (a.rows[0] && a.rows[1] && a.rows[2]) continue;
      const FilterColumn outside =
          FilterColumn::of_weights(vbicq_s8(w[0], inside[0]), vbicq_s8(w[1], inside[1]), vbicq_s8(w[2], inside[2]));
      MBI_UNROLL for (int r = 0; r < 4; r++) start.val[r] = vdotq_s32(start.val[r], outside.v[r], zero);
    }
    MBI_UNROLL for (int r = 0; r < 4; r++) {
      vst1q_s32(bias + 4 * r, start.val[r]);
      vst1q_f32(multiplier + 4 * r, factors.val[r]);
    }
  }
};

// What all pixels of a pair of panels have in common, in variables that no store of bytes can change: sums and what
// they are multiplied by are read for each pixel, as they have no room beside three columns and their weights.
struct Filter3x3 {
  static FilterSums bytes(FilterSums made) { return made; }
  const FilterGroup& group;
  const FilterColumn weights[3];
  const ByteOutput output;
  MBI_INLINE Filter3x3(const FilterGroup& g, const ByteOutput& out)
      : group(g), weights{g.weights[0], g.weights[1], g.weights[2]}, output(out) {}

  MBI_INLINE uint8x16_t sums(const FilterColumn& left, const FilterColumn& middle, const FilterColumn& right) const {
    int16x4_t steps[4];
    MBI_UNROLL for (int r = 0; r < 4; r++) {
      int32x4_t sum = vld1q_s32(group.bias + 4 * r);
      sum = vdotq_s32(sum, weights[0].v[r], left.v[r]);
      sum = vdotq_s32(sum, weights[1].v[r], middle.v[r]);
      sum = vdotq_s32(sum, weights[2].v[r], right.v[r]);
      steps[r] = vqmovn_s32(to_nearest(vmulq_f32(vcvtq_f32_s32(sum), vld1q_f32(group.multiplier + 4 * r))));
    }
    const int16x8_t even = vqaddq_s16(vcombine_s16(steps[0], steps[2]), output.zero),
                    odd = vqaddq_s16(vcombine_s16(steps[1], steps[3]), output.zero);
    const uint8x16_t bytes = vcombine_u8(vqmovun_s16(even), vqmovun_s16(odd));
    const uint8x16_t order = {0, 8, 4, 12, 1, 9, 5, 13, 2, 10, 6, 14, 3, 11, 7, 15};
    return output.clamped({vqtbl1q_u8(bytes, order)}).v;
  }
};

}  // namespace
}  // namespace mbinfer
