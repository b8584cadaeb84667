// Eight float32 lanes as two NEON registers, on aarch64 and on armv7 with VFPv4 (fused multiply-add). Included by
// isa.cpp only.
#pragma once

#include <arm_neon.h>
#include <stdint.h>

namespace mbinfer {
namespace {

struct f32x8 {
  float32x4_t lo, hi;
};

// Register tiles: pixels by panels that the GEMM keeps as sums, in 32 (aarch64) or 16 (armv7) registers of 4 lanes.
#ifdef __aarch64__
constexpr int kGemmPixels[4] = {0, 8, 5, 0};
constexpr int kGemmPanels = 2;
constexpr int kVectorPanels = 8;
constexpr int kDepthwisePixels[4] = {0, 8, 4, 4};  // by kernel: 3, 5, 7
constexpr int kThinPanels = 1;
constexpr int kColumnsAhead = 2;
#else
constexpr int kGemmPixels[4] = {0, 6, 0, 0};
constexpr int kGemmPanels = 1;
constexpr int kVectorPanels = 3;
constexpr int kDepthwisePixels[4] = {0, 4, 2, 2};
constexpr int kThinPanels = 1;
constexpr int kColumnsAhead = 0;
#endif
constexpr int kGemmInputs = 1;  // or four by lane, on aarch64

inline f32x8 load(const float* p) {
#if defined(__aarch64__) || defined(__clang__)
  return {vld1q_f32(p), vld1q_f32(p + 4)};
#else  // one instruction and one address for both; GCC 12 has no intrinsic that loads two registers in a row
  float32x4x2_t v;
  asm("vld1.32 %h0, %A1" : "=w"(v) : "Q"(*reinterpret_cast<const float (*)[8]>(p)));
  return {v.val[0], v.val[1]};
#endif
}
inline f32x8 load_once(const float* p) { return load(p); }
template <class T>
inline T opaque(T x) {
  return x;
}
inline void loads_stay() {}
inline f32x8 in_turn(f32x8 x) { return x; }
inline void store(float* p, f32x8 a) {
  vst1q_f32(p, a.lo);
  vst1q_f32(p + 4, a.hi);
}
inline f32x8 splat(float x) { return {vdupq_n_f32(x), vdupq_n_f32(x)}; }
inline f32x8 add(f32x8 a, f32x8 b) { return {vaddq_f32(a.lo, b.lo), vaddq_f32(a.hi, b.hi)}; }
inline f32x8 sub(f32x8 a, f32x8 b) { return {vsubq_f32(a.lo, b.lo), vsubq_f32(a.hi, b.hi)}; }
inline f32x8 mul(f32x8 a, f32x8 b) { return {vmulq_f32(a.lo, b.lo), vmulq_f32(a.hi, b.hi)}; }
inline f32x8 fma(f32x8 a, f32x8 b, f32x8 c) { return {vfmaq_f32(c.lo, a.lo, b.lo), vfmaq_f32(c.hi, a.hi, b.hi)}; }
inline f32x8 fma_in_place(f32x8 a, f32x8 b, f32x8 sum) { return fma(a, b, sum); }
inline uint32x4_t above(float32x4_t a, float32x4_t b) {
#ifdef __aarch64__
  return vcgtq_f32(a, b);
#else  // GCC 11 and later make scalar code of the intrinsic, 35 instructions, because NEON flushes denormals
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
inline f32x8 widen_u8(const uint8_t* p) {
  uint16x8_t h = vmovl_u8(vld1_u8(p));
  return {vcvtq_f32_u32(vmovl_u16(vget_low_u16(h))), vcvtq_f32_u32(vmovl_u16(vget_high_u16(h)))};
}

#ifdef __aarch64__
// Four consecutive scalars of which each meets a whole vector: one load, then multiply by lane.
struct quad {
  float32x4_t v;
};
inline quad load_quad(const float* p) { return {vld1q_f32(p)}; }
template <int kLane>
inline f32x8 fma_lane(f32x8 w, quad x, f32x8 sum) {
  return {vfmaq_laneq_f32(sum.lo, w.lo, x.v, kLane), vfmaq_laneq_f32(sum.hi, w.hi, x.v, kLane)};
}
#endif  // armv7 has no fused multiply-add by lane

}  // namespace
}  // namespace mbinfer
