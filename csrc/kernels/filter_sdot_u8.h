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

// Columns that follow one another at the same distance: some of the input, or some outside it.
struct FilterRun {
  const uint8_t* rows[3];
  ptrdiff_t stride, columns;
};

// The runs that a row of pixels reads: left of the input, inside it, right of it; then one of no columns.
struct FilterRuns {
  alignas(16) uint8_t outside[2 * kPanel];
  FilterRun runs[4];

  MBI_INLINE FilterRuns(const DepthwiseArgs& a, int panel) {
    vst1q_u8(outside, vdupq_n_u8(uint8_t(a.in_type.zero_point)));
    const int first = a.x0 * a.stride - a.pad_left, count = (a.x1 - a.x0 - 1) * a.stride + 3,
              begin = first < 0 ? 0 : first;
    const int before = begin - first < count ? begin - first : count, left = count - before, room = a.in_width - begin;
    const int inside = room < 0 ? 0 : room < left ? room : left;
    FilterRun* run = runs;
    if (before) *run++ = {{outside, outside, outside}, 0, before};
    if (inside) {
      const void* any = a.rows[0] ? a.rows[0] : a.rows[1] ? a.rows[1] : a.rows[2];
      const ptrdiff_t at = begin * a.in_stride + panel * kPanel;
      auto row = [&](int ky) { return static_cast<const uint8_t*>(a.rows[ky] ? a.rows[ky] : any) + at; };
      *run++ = {{row(0), row(1), row(2)}, a.in_stride, inside};
    }
    if (inside < left) *run++ = {{outside, outside, outside}, 0, left - inside};
    run->columns = 0;
  }
};

// The walk over the columns of a pair of panels: v0 to v11 are three of them, v16 to v27 the weights of a pixel's, v12
// to v15 its sums; x9, x10, x11 point to the rows, x12 is from one column to the next, x13 counts those of a run.
// Symptom: three columns, weights and sums leave no register for what sums are multiplied by; GCC moves and spills
// some, and compares each column's place with the input's width. Remedy: registers that are named, what was the left
// column being multipliers at the end, and outside columns as runs of their own. Gain: 50 instructions for 16 channels
// of a pixel in place of 64.
#define MBI_A "0", "1", "2", "3"
#define MBI_B "4", "5", "6", "7"
#define MBI_C "8", "9", "10", "11"
#define MBI_NEXT_RUN               \
  "ldp x9, x10, [%[runs]], #16\n"  \
  "ldp x11, x12, [%[runs]], #16\n" \
  "ldr x13, [%[runs]], #8\n"
#define MBI_COLUMN_DONE "subs x13, x13, #1\nb.ne 1f\n" MBI_NEXT_RUN "cbz x13, 9f\n1:\n"
#define MBI_OF_TWO(op, of, to, a, b) op " v" to of ", v" a of ", v" b of "\n"
#define MBI_COLUMN_LOADED(a, b, c, d) \
  "ld1 {v" a ".16b}, [x9], x12\nld1 {v" b ".16b}, [x10], x12\nld1 {v31.16b}, [x11], x12\n"
#define MBI_COLUMN_SIGNED(a, b, c, d)   \
  MBI_OF_TWO("eor", ".16b", a, a, "28") \
  MBI_OF_TWO("eor", ".16b", b, b, "28") MBI_OF_TWO("eor", ".16b", "31", "31", "28")
#define MBI_COLUMN_PAIRED(a, b, c, d) MBI_OF_TWO("trn1", ".16b", c, a, b) MBI_OF_TWO("trn2", ".16b", d, a, b)
#define MBI_COLUMN_IN_ORDER(a, b, c, d) \
  MBI_OF_TWO("trn1", ".8h", a, c, "31") \
  MBI_OF_TWO("trn1", ".8h", b, d, "31") MBI_OF_TWO("trn2", ".8h", c, c, "31") MBI_OF_TWO("trn2", ".8h", d, d, "31")
#define MBI_COLUMN_OF(...)       \
  MBI_COLUMN_LOADED(__VA_ARGS__) \
  MBI_COLUMN_SIGNED(__VA_ARGS__) MBI_COLUMN_PAIRED(__VA_ARGS__) MBI_COLUMN_IN_ORDER(__VA_ARGS__) MBI_COLUMN_DONE
#define MBI_COLUMN(set) MBI_COLUMN_OF(set)
#define MBI_FILTER_DOT(sum, w, x) "sdot v" sum ".4s, v" w ".16b, v" x ".16b\n"
#define MBI_FILTER_DOTS(p, q, r, s, a, b, c, d) \
  MBI_FILTER_DOT("12", p, a) MBI_FILTER_DOT("13", q, b) MBI_FILTER_DOT("14", r, c) MBI_FILTER_DOT("15", s, d)
#define MBI_TO(op, sum) op " v" sum ".4s, v" sum ".4s\n"
#define MBI_ALL_TO(op) MBI_TO(op, "12") MBI_TO(op, "13") MBI_TO(op, "14") MBI_TO(op, "15")
#define MBI_SCALED(sum, by) MBI_OF_TWO("fmul", ".4s", sum, sum, by)
#define MBI_ALL_SCALED(a, b, c, d) MBI_SCALED("12", a) MBI_SCALED("13", b) MBI_SCALED("14", c) MBI_SCALED("15", d)
#define MBI_ALL_TO_BYTES           \
  "sqxtn v12.4h, v12.4s\n"         \
  "sqxtn v13.4h, v13.4s\n"         \
  "sqxtn2 v12.8h, v14.4s\n"        \
  "sqxtn2 v13.8h, v15.4s\n"        \
  "sqadd v12.8h, v12.8h, v29.8h\n" \
  "sqadd v13.8h, v13.8h, v29.8h\n" \
  "sqxtun v12.8b, v12.8h\n"        \
  "sqxtun2 v12.16b, v13.8h\n"      \
  "tbl v12.16b, {v12.16b}, v30.16b\n"
#define MBI_PIXEL_OF(l0, l1, l2, l3, m0, m1, m2, m3, ...)                                                             \
  "ld1 {v12.4s - v15.4s}, [%[bias]]\n" MBI_COLUMN_LOADED(__VA_ARGS__)                                                 \
      MBI_FILTER_DOTS("16", "17", "18", "19", l0, l1, l2, l3) MBI_COLUMN_SIGNED(__VA_ARGS__)                          \
          MBI_FILTER_DOTS("20", "21", "22", "23", m0, m1, m2, m3) MBI_COLUMN_PAIRED(                                  \
              __VA_ARGS__) "ld1 {v" l0 ".4s - v" l3 ".4s}, [%[multiplier]]\n" MBI_COLUMN_IN_ORDER(__VA_ARGS__)        \
              MBI_FILTER_DOTS("24", "25", "26", "27", __VA_ARGS__) MBI_ALL_TO("scvtf") MBI_ALL_SCALED(l0, l1, l2, l3) \
                  MBI_ALL_TO("fcvtns") MBI_ALL_TO_BYTES "st1 {v12.16b}, [%[out]], %[stride]\n" MBI_COLUMN_DONE
#define MBI_PIXEL(...) MBI_PIXEL_OF(__VA_ARGS__)
// The right column of a pixel is the left one of its right neighbour with a stride of 2, its middle one with 1: the
// three change places, so that none is moved.
#define MBI_WALK_1  \
  MBI_COLUMN(MBI_A) \
  MBI_COLUMN(MBI_B) \
  "2:\n" MBI_PIXEL(MBI_A, MBI_B, MBI_C) MBI_PIXEL(MBI_B, MBI_C, MBI_A) MBI_PIXEL(MBI_C, MBI_A, MBI_B) "b 2b\n9:\n"
#define MBI_WALK_2  \
  MBI_COLUMN(MBI_A) \
  "2:\n" MBI_COLUMN(MBI_B) MBI_PIXEL(MBI_A, MBI_B, MBI_C) MBI_COLUMN(MBI_B) MBI_PIXEL(MBI_C, MBI_B, MBI_A) "b " \
                                                                                                           "2b\n9:\n"
#define MBI_WALK(walk)                                                                                                 \
  asm volatile(                                                                                                        \
      "ld1 {v16.16b - v19.16b}, [%[weights]], #64\n"                                                                   \
      "ld1 {v20.16b - v23.16b}, [%[weights]], #64\n"                                                                   \
      "ld1 {v24.16b - v27.16b}, [%[weights]]\n" MBI_NEXT_RUN walk                                                      \
      : [runs] "+&r"(runs), [out] "+&r"(out), [weights] "+&r"(weights)                                                 \
      : [bias] "r"(group.bias), [multiplier] "r"(group.multiplier), [stride] "r"(a.out_stride), "w"(half), "w"(zero),  \
        "w"(order)                                                                                                     \
      : "cc", "memory", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14", \
        "v15", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26", "v27", "v31", "x9", "x10", \
        "x11", "x12", "x13")

// All pixels of a call, of a pair of panels.
template <int kStride>
MBI_INLINE void filter_pixels(const DepthwiseArgs& a, int panel, const FilterGroup& group, const ByteOutput& output) {
  const FilterRuns all(a, panel);
  const FilterRun* runs = all.runs;
  const FilterColumn* weights = group.weights;
  uint8_t *const first = static_cast<uint8_t*>(a.out) + panel * kPanel, *out = first;
  register int8x16_t half asm("v28") = vdupq_n_s8(-128);
  register int16x8_t zero asm("v29") = output.zero;
  register uint8x16_t order asm("v30") = {0, 8, 4, 12, 1, 9, 5, 13, 2, 10, 6, 14, 3, 11, 7, 15};
  if constexpr (kStride == 1)
    MBI_WALK(MBI_WALK_1);
  else
    MBI_WALK(MBI_WALK_2);
  if (__builtin_expect(!output.clamps, 1)) return;
  out = first;
  for (int x = a.x0; x < a.x1; x++, out += a.out_stride) store(out, output.clamped(u8x16::load(out)));
}

}  // namespace
}  // namespace mbinfer
