// Depthwise convolutions of 3 x 3 where the CPU adds four products of bytes to a sum in one instruction (SDOT): three
// rows of a column are multiplied together, a pair of panels at a time. A column is transposed once for all pixels that
// read it. Included by isa.cpp only.
#pragma once

namespace mbinfer {
namespace {

// Four bytes of each of 16 channels, for SDOT: vector r has channels r, r + 4, r + 8 and r + 12. Three bytes are of the
// rows; the fourth, the last one of even and the third one of odd channels, is a neighbour's, whose weight is zero.
struct DotColumn {
  int8x16_t v[4];

  static MBI_INLINE DotColumn of(int8x16_t a, int8x16_t b, int8x16_t even, int8x16_t odd) {
    const int16x8_t first = vreinterpretq_s16_s8(vtrn1q_s8(a, b)), second = vreinterpretq_s16_s8(vtrn2q_s8(a, b)),
                    e = vreinterpretq_s16_s8(even), o = vreinterpretq_s16_s8(odd);
    return {{vreinterpretq_s8_s16(vtrn1q_s16(first, e)), vreinterpretq_s8_s16(vtrn1q_s16(second, o)),
             vreinterpretq_s8_s16(vtrn2q_s16(first, e)), vreinterpretq_s8_s16(vtrn2q_s16(second, o))}};
  }
  static MBI_INLINE DotColumn of_weights(int8x16_t a, int8x16_t b, int8x16_t c) {
    const int8x16_t even = vreinterpretq_s8_s16(vdupq_n_s16(0xFF));
    return of(a, b, vandq_s8(c, even), vbicq_s8(c, even));
  }
};

// A pair of panels: its weights, where its sums start and what they are multiplied by, in the order of DotColumn.
struct DotPair {
  DotColumn weights[3];
  int32_t bias[16];
  float multiplier[16];

  // A row that is outside weighs nothing; its products, of zero points, are where sums start.
  __attribute__((noinline)) DotPair(const DepthwiseArgs& a, int panel) {
    const auto* rows = static_cast<const int8_t*>(a.weights) + ptrdiff_t((a.panel + panel) / 2) * 9 * kRow;
    const Channels* channels = static_cast<const Channels*>(a.bias) + panel;
    for (int i = 0; i < 2; i++) {
      __builtin_memcpy(bias + i * kPanel, channels[i].signed_bias, sizeof channels->signed_bias);
      __builtin_memcpy(multiplier + i * kPanel, channels[i].multiplier, sizeof channels->multiplier);
    }
    int32x4x4_t start = vld4q_s32(bias);
    const float32x4x4_t factors = vld4q_f32(multiplier);
    const int8x16_t zero = vdupq_n_s8(int8_t(a.in_type.zero_point - 128));
    int8x16_t inside[3];
    for (int ky = 0; ky < 3; ky++) inside[ky] = vdupq_n_s8(a.rows[ky] ? -1 : 0);
    for (int kx = 0; kx < 3; kx++, rows += kRow) {
      const int8x16_t w[3] = {vld1q_s8(rows), vld1q_s8(rows + 3 * kRow), vld1q_s8(rows + 6 * kRow)};
      weights[kx] =
          DotColumn::of_weights(vandq_s8(w[0], inside[0]), vandq_s8(w[1], inside[1]), vandq_s8(w[2], inside[2]));
      if (a.rows[0] && a.rows[1] && a.rows[2]) continue;
      const DotColumn outside =
          DotColumn::of_weights(vbicq_s8(w[0], inside[0]), vbicq_s8(w[1], inside[1]), vbicq_s8(w[2], inside[2]));
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
struct DotFilter {
  const DotPair& pair;
  const DotColumn weights[3];
  const ByteOutput output;

  MBI_INLINE uint8x16_t operator()(const DotColumn& left, const DotColumn& middle, const DotColumn& right) const {
    int16x4_t steps[4];
    MBI_UNROLL for (int r = 0; r < 4; r++) {
      int32x4_t sum = vld1q_s32(pair.bias + 4 * r);
      sum = vdotq_s32(sum, weights[0].v[r], left.v[r]);
      sum = vdotq_s32(sum, weights[1].v[r], middle.v[r]);
      sum = vdotq_s32(sum, weights[2].v[r], right.v[r]);
      steps[r] = vqmovn_s32(to_nearest(vmulq_f32(vcvtq_f32_s32(sum), vld1q_f32(pair.multiplier + 4 * r))));
    }
    const int16x8_t even = vqaddq_s16(vcombine_s16(steps[0], steps[2]), output.zero),
                    odd = vqaddq_s16(vcombine_s16(steps[1], steps[3]), output.zero);
    const uint8x16_t bytes = vcombine_u8(vqmovun_s16(even), vqmovun_s16(odd));
    const uint8x16_t order = {0, 8, 4, 12, 1, 9, 5, 13, 2, 10, 6, 14, 3, 11, 7, 15};
    return vminq_u8(output.hi.v, vmaxq_u8(vqtbl1q_u8(bytes, order), output.lo.v));
  }
};

// The columns of a pair of panels, one after the other.
struct DotColumns {
  const uint8_t* rows[3];
  ptrdiff_t at;
  const ptrdiff_t stride;
  const int width;
  int x;
  const int8x16_t half, outside;

  DotColumns(const DepthwiseArgs& a, int panel)
      : at(0),
        stride(a.in_stride),
        width(a.in_width),
        x(a.x0 * a.stride - a.pad_left),
        half(vdupq_n_s8(-128)),
        outside(vdupq_n_s8(int8_t(a.in_type.zero_point - 128))) {
    const void* any = a.rows[0] ? a.rows[0] : a.rows[1] ? a.rows[1] : a.rows[2];
    for (int ky = 0; ky < 3; ky++)
      rows[ky] = static_cast<const uint8_t*>(a.rows[ky] ? a.rows[ky] : any) + panel * kPanel;
    at = x * stride;
  }
  MBI_INLINE int8x16_t row(int ky) const { return veorq_s8(vreinterpretq_s8_u8(vld1q_u8(rows[ky] + at)), half); }
  MBI_INLINE DotColumn next() {
    DotColumn column = {{outside, outside, outside, outside}};
    if (__builtin_expect(unsigned(x) < unsigned(width), 1)) {
      const int8x16_t last = row(2);
      column = DotColumn::of(row(0), row(1), last, last);
    }
    x++;
    at += stride;
    return column;
  }
};

template <int kStride>
__attribute__((noinline)) void dot_pair(const DepthwiseArgs& a, int panel, const ByteOutput& output) {
  const DotPair pair(a, panel);
  const DotFilter filter = {pair, {pair.weights[0], pair.weights[1], pair.weights[2]}, output};
  DotColumns columns(a, panel);
  const ptrdiff_t out_stride = a.out_stride;
  uint8_t* out = static_cast<uint8_t*>(a.out) + panel * kPanel;
  int pixels = a.x1 - a.x0;
  // The right column of a pixel is the left one of its right neighbour with a stride of 2, its middle one with 1: the
  // three change places, so that none is moved.
  auto put = [&](const DotColumn& left, const DotColumn& middle, const DotColumn& right)
                 __attribute__((always_inline)) {
                   vst1q_u8(out, filter(left, middle, right));
                   out += out_stride;
                   return --pixels > 0;
                 };
  DotColumn first = columns.next();
  if constexpr (kStride == 2) {
    for (;;) {
      DotColumn second = columns.next(), third = columns.next();
      if (!put(first, second, third)) return;
      second = columns.next(), first = columns.next();
      if (!put(third, second, first)) return;
    }
  }
  DotColumn second = columns.next();
  for (;;) {
    const DotColumn third = columns.next();
    if (!put(first, second, third)) return;
    first = columns.next();
    if (!put(second, third, first)) return;
    second = columns.next();
    if (!put(third, first, second)) return;
  }
}

// A panel of which the other one of the pair is not made.
void lone_panel(const DepthwiseArgs& a, int panel) {
  DepthwiseArgs lone = a;
  const void* rows[3];
  for (int ky = 0; ky < 3; ky++)
    rows[ky] = a.rows[ky] ? static_cast<const uint8_t*>(a.rows[ky]) + panel * kPanel : nullptr;
  lone.rows = rows;
  lone.out = static_cast<uint8_t*>(a.out) + panel * kPanel;
  lone.bias = static_cast<const Channels*>(a.bias) + panel;
  lone.panel = a.panel + panel;
  lone.panels = 1;
  depthwise_u8(&lone);
}

void depthwise_dot_u8(const DepthwiseArgs* a) {
  const bool dots = a->kernel_h == 3 && a->kernel_w == 3 && a->dilation == 1 && (a->stride == 1 || a->stride == 2) &&
                    (a->rows[0] || a->rows[1] || a->rows[2]) && a->x0 < a->x1;
  if (!dots) return depthwise_u8(a);
  const ByteOutput output(a->activation, a->out_type);
  int panel = 0;
  if (a->panel % 2) lone_panel(*a, panel++);
  for (; panel + 2 <= a->panels; panel += 2)
    a->stride == 1 ? dot_pair<1>(*a, panel, output) : dot_pair<2>(*a, panel, output);
  if (panel < a->panels) lone_panel(*a, panel);
}

}  // namespace
}  // namespace mbinfer
