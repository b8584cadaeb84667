// Vectors of NEON, two registers each, on aarch64 and on armv7 with VFPv4 (fused multiply-add), see vec.h. Included by
// isa.cpp only.
#pragma once

#include <arm_neon.h>
#include <stdint.h>

namespace mbinfer {
namespace {

inline float32x4_t widen(uint16x4_t halves) {
#ifdef __aarch64__
  return vcvt_f32_f16(vreinterpret_f16_u16(halves));
#else
  // Symptom: GCC has the intrinsic only with an option that fixes the format of float16 for the whole unit. Remedy: the
  // instruction itself, which every CPU with VFPv4 has. Gain: no integer arithmetic in its place.
  float32x4_t floats;
  asm("vcvt.f32.f16 %q0, %P1" : "=w"(floats) : "w"(halves));
  return floats;
#endif
}

struct f32x8 {
  static constexpr int kPanels = 1;
  float32x4_t lo, hi;

  static f32x8 load(const float* p) {
#if defined(__aarch64__) || defined(__clang__)
    return {vld1q_f32(p), vld1q_f32(p + 4)};
#else
    // Symptom: GCC 12 has no intrinsic that loads two registers in a row, and takes two loads and two addresses.
    // Remedy: the instruction itself. Gain, with tiles of 6x1: armv7 11.5 -> 10.1 million instructions (MobileNetV2
    // 0.35@96).
    float32x4x2_t v;
    asm("vld1.32 %h0, %A1" : "=w"(v) : "Q"(*reinterpret_cast<const float (*)[8]>(p)));
    return {v.val[0], v.val[1]};
#endif
  }
  static f32x8 load(const Half* p) {
    const uint16x8_t halves = vld1q_u16(&p->bits);
    return {widen(vget_low_u16(halves)), widen(vget_high_u16(halves))};
  }
  static f32x8 load_kept(const float* p) { return load(p); }
  static f32x8 splat(float x) { return {vdupq_n_f32(x), vdupq_n_f32(x)}; }
  static f32x8 widen_u8(const uint8_t* p) {
    uint16x8_t h = vmovl_u8(vld1_u8(p));
    return {vcvtq_f32_u32(vmovl_u16(vget_low_u16(h))), vcvtq_f32_u32(vmovl_u16(vget_high_u16(h)))};
  }
};

template <class T>
inline T pace(T x) {
  return x;
}

inline void store(float* p, f32x8 a) {
  vst1q_f32(p, a.lo);
  vst1q_f32(p + 4, a.hi);
}
inline f32x8 add(f32x8 a, f32x8 b) { return {vaddq_f32(a.lo, b.lo), vaddq_f32(a.hi, b.hi)}; }
inline f32x8 sub(f32x8 a, f32x8 b) { return {vsubq_f32(a.lo, b.lo), vsubq_f32(a.hi, b.hi)}; }
inline f32x8 mul(f32x8 a, f32x8 b) { return {vmulq_f32(a.lo, b.lo), vmulq_f32(a.hi, b.hi)}; }
inline f32x8 fma(f32x8 a, f32x8 b, f32x8 c) { return {vfmaq_f32(c.lo, a.lo, b.lo), vfmaq_f32(c.hi, a.hi, b.hi)}; }
inline f32x8 fma_in_place(f32x8 a, f32x8 b, f32x8 c) { return fma(a, b, c); }
inline f32x8 div(f32x8 a, f32x8 b) { return {a.lo / b.lo, a.hi / b.hi}; }  // armv7 has no instruction for vectors
inline float32x4_t exponent_of(float32x4_t x) {
  return vreinterpretq_f32_s32(vshlq_n_s32(vreinterpretq_s32_f32(x), 23));
}
inline f32x8 exponent_of(f32x8 x) { return {exponent_of(x.lo), exponent_of(x.hi)}; }
inline float32x4_t root(float32x4_t x) {
#ifdef __aarch64__
  return vsqrtq_f32(x);
#else  // armv7 has an instruction for one number
  float32x4_t y = x;
  for (int lane = 0; lane < 4; lane++) {
    float number = x[lane];
    asm("vsqrt.f32 %0, %0" : "+t"(number));
    y[lane] = number;
  }
  return y;
#endif
}
inline f32x8 root(f32x8 x) { return {root(x.lo), root(x.hi)}; }
inline float32x4_t binary_log(float32x4_t x, float32x4_t* rest) {
  const int32x4_t bits = vreinterpretq_s32_f32(x), n = vshrq_n_s32(vsubq_s32(bits, vdupq_n_s32(kRootHalfBits)), 23);
  *rest = vreinterpretq_f32_s32(vsubq_s32(bits, vshlq_n_s32(n, 23)));
  return vcvtq_f32_s32(n);
}
inline f32x8 binary_log(f32x8 x, f32x8* rest) { return {binary_log(x.lo, &rest->lo), binary_log(x.hi, &rest->hi)}; }
inline uint32x4_t above(float32x4_t a, float32x4_t b) {
#ifdef __aarch64__
  return vcgtq_f32(a, b);
#else
  // Symptom: GCC 11 and later make scalar code of the intrinsic, 35 instructions, because NEON flushes denormals.
  // Remedy: the instruction itself. Gain: armv7 21.0 -> 11.5 million instructions (MobileNetV2 0.35@96).
  uint32x4_t mask;
  asm("vcgt.f32 %q0, %q1, %q2" : "=w"(mask) : "w"(a), "w"(b));
  return mask;
#endif
}
inline uint32x4_t is_number(float32x4_t a) {
#ifdef __aarch64__
  return vceqq_f32(a, a);
#else
  uint32x4_t mask;
  asm("vceq.f32 %q0, %q1, %q1" : "=w"(mask) : "w"(a));
  return mask;
#endif
}
inline f32x8 nan_or(f32x8 x, f32x8 other) {  // x where it is NaN
  return {vbslq_f32(is_number(x.lo), other.lo, x.lo), vbslq_f32(is_number(x.hi), other.hi, x.hi)};
}
// Selected by comparison, not vmaxq: the second operand must come back for NaN and for zeros of either sign.
inline f32x8 greater(f32x8 a, f32x8 b) {
  return {vbslq_f32(above(a.lo, b.lo), a.lo, b.lo), vbslq_f32(above(a.hi, b.hi), a.hi, b.hi)};
}
inline f32x8 less(f32x8 a, f32x8 b) {
  return {vbslq_f32(above(b.lo, a.lo), a.lo, b.lo), vbslq_f32(above(b.hi, a.hi), a.hi, b.hi)};
}

}  // namespace
}  // namespace mbinfer
