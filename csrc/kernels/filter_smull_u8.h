// What a depthwise convolution of 3 x 3 multiplies on aarch64 without dot products, a pair of panels at a time: two
// products of bytes are added in 16 bits (SMULL, SMLAL), see depthwise_3x3_u8.h. Included by isa.cpp only.
#pragma once

#include "kernels/filter_neon_u8.h"

namespace mbinfer {
namespace {

// Bytes of two rows or columns beside one another, of 8 channels each: SADALP adds both products to a channel's sum.
struct Beside {
  int8x16_t v[2];
  static MBI_INLINE Beside of(int8x16_t a, int8x16_t b) { return {{vzip1q_s8(a, b), vzip2q_s8(a, b)}}; }
};

// The first two rows of 16 channels, and the last one.
struct FilterColumn {
  Beside two;
  int8x16_t last;
  static MBI_INLINE FilterColumn of_rows(int8x16_t a, int8x16_t b, int8x16_t c) { return {Beside::of(a, b), c}; }
  static MBI_INLINE FilterColumn of_outside(int zero_point) {
    const int8x16_t outside = vdupq_n_s8(int8_t(zero_point - 128));
    return {{{outside, outside}}, outside};
  }
};

struct FilterGroup : FilterPair {
  FilterColumn weights[3];
  bool small;  // no weight is -128, of which two products may not fit 16 bits

  bool fits() const { return small; }

  // A row that is outside weighs nothing; its products, of zero points, are where sums start.
  __attribute__((noinline)) FilterGroup(const DepthwiseArgs& a, int panel, int) : FilterPair(a, panel) {
    const auto* rows = static_cast<const int8_t*>(a.weights) + ptrdiff_t((a.panel + panel) / 2) * 9 * kRow;
    int8x16_t w[3][3], least = vdupq_n_s8(0);
    for (int ky = 0; ky < 3; ky++) {
      for (int kx = 0; kx < 3; kx++, rows += kRow) {
        w[ky][kx] = vld1q_s8(rows);
        least = vminq_s8(least, w[ky][kx]);
        if (a.rows[ky]) continue;
        add_outside(w[ky][kx], a.in_type.zero_point - 128);
        w[ky][kx] = vdupq_n_s8(0);
      }
    }
    small = vminvq_s8(least) > -128;
    for (int kx = 0; kx < 3; kx++) weights[kx] = FilterColumn::of_rows(w[0][kx], w[1][kx], w[2][kx]);
  }

  void add_outside(int8x16_t w, int zero) {
    for (int c = 0; c < 16; c++) bias[c] += w[c] * zero;
  }
};

// What all pixels of a pair of panels have in common, in variables that no store of bytes can change: sums and what
// they are multiplied by are read for each pixel, as they have no room beside three columns and their weights.
struct Filter3x3 {
  static FilterSums bytes(FilterSums made) { return made; }
  const FilterGroup& group;
  const FilterColumn left, middle, right;
  const Beside last;  // of the left and the middle column
  const ByteOutput output;
  MBI_INLINE Filter3x3(const FilterGroup& g, const ByteOutput& out)
      : group(g),
        left(g.weights[0]),
        middle(g.weights[1]),
        right(g.weights[2]),
        last(Beside::of(left.last, middle.last)),
        output(out) {}

  MBI_INLINE uint8x16_t sums(const FilterColumn& l, const FilterColumn& m, const FilterColumn& r) const {
    const Beside b = Beside::of(l.last, m.last);
    int32x4_t sums[4];
    MBI_UNROLL for (int i = 0; i < 4; i++) sums[i] = vld1q_s32(group.bias + 4 * i);
    MBI_UNROLL for (int i = 0; i < 2; i++) {
      add_four(&sums[2 * i], left.two.v[i], l.two.v[i], middle.two.v[i], m.two.v[i]);
      add_four(&sums[2 * i], right.two.v[i], r.two.v[i], last.v[i], b.v[i]);
    }
    const int16x8_t first = multiply_low(right.last, r.last), second = multiply_high(right.last, r.last);
    const i32x16 all[1] = {{{{vaddw_s16(sums[0], vget_low_s16(first)), vaddw_high_s16(sums[1], first)},
                             {vaddw_s16(sums[2], vget_low_s16(second)), vaddw_high_s16(sums[3], second)}}}};
    u8x16 bytes[1];
    output(all, ByteScale(group.multiplier, group.multiplier + kPanel), bytes);
    return bytes[0].v;
  }

  // Of 8 channels, two bytes each of x and y, times w and v.
  static MBI_INLINE void add_four(int32x4_t* sums, int8x16_t w, int8x16_t x, int8x16_t v, int8x16_t y) {
    sums[0] = vpadalq_s16(sums[0], multiply_low(multiply_low(w, x), v, y));
    sums[1] = vpadalq_s16(sums[1], multiply_high(multiply_high(w, x), v, y));
  }
};

}  // namespace
}  // namespace mbinfer

#include "kernels/filter_walk.h"
