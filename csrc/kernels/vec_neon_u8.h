// Vectors of integers on NEON, and the tiles that multiply bytes, with and without instructions for four products at a
// time, see vec_u8.h. Included by isa.cpp only.
#pragma once

namespace mbinfer {
namespace {

struct i32x8 {
  int32x4_t lo, hi;
  static i32x8 load(const int32_t* p) { return {vld1q_s32(p), vld1q_s32(p + 4)}; }
  static i32x8 splat(int x) { return {vdupq_n_s32(x), vdupq_n_s32(x)}; }
  static i32x8 widen_u8(const uint8_t* p) {
    const uint16x8_t words = vmovl_u8(vld1_u8(p));
    return {vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(words))),
            vreinterpretq_s32_u32(vmovl_u16(vget_high_u16(words)))};
  }
};
inline void store(int32_t* p, i32x8 a) {
  vst1q_s32(p, a.lo);
  vst1q_s32(p + 4, a.hi);
}
inline i32x8 add(i32x8 a, i32x8 b) { return {vaddq_s32(a.lo, b.lo), vaddq_s32(a.hi, b.hi)}; }
inline i32x8 sub(i32x8 a, i32x8 b) { return {vsubq_s32(a.lo, b.lo), vsubq_s32(a.hi, b.hi)}; }
inline f32x8 to_float(i32x8 a) { return {vcvtq_f32_s32(a.lo), vcvtq_f32_s32(a.hi)}; }
constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23
inline int32x4_t to_nearest(float32x4_t x) {
#ifdef __aarch64__
  return vcvtnq_s32_f32(x);
#else
  // No instruction rounds to nearest. Added to kMagic a number below 2^22 does. The bits of larger ones, as
  // integers, are larger, or less where they are negative, so that what saturates stays beyond all that a byte needs.
  const float32x4_t magic = vdupq_n_f32(kMagic);
  return vqsubq_s32(vreinterpretq_s32_f32(vaddq_f32(x, magic)), vreinterpretq_s32_f32(magic));
#endif
}
inline i32x8 to_int(f32x8 a) { return {to_nearest(a.lo), to_nearest(a.hi)}; }

struct i32x16 {  // sums of a pair of panels
  i32x8 v[2];
  static i32x16 load(const int32_t* p, const int32_t* q) { return {{i32x8::load(p), i32x8::load(q)}}; }
  i32x8 first() const { return v[0]; }
  i32x8 second() const { return v[1]; }
};

// What the sums of a pair are multiplied by. armv7 has no registers for it beside those of a tile.
struct ByteScale {
#ifdef __aarch64__
  f32x8 a, b;
  ByteScale(const float* p, const float* q) : a(f32x8::load(p)), b(f32x8::load(q)) {}
  f32x8 factors(int n) const { return n ? b : a; }
#else
  const float *p, *q;
  ByteScale(const float* p, const float* q) : p(p), q(q) {}
  f32x8 factors(int n) const { return f32x8::load(n ? q : p); }
#endif
  f32x8 first(i32x16 x) const { return mul(to_float(x.v[0]), factors(0)); }
  f32x8 second(i32x16 x) const { return mul(to_float(x.v[1]), factors(1)); }
};

struct u8x16 {
  uint8x16_t v;
  static u8x16 load(const uint8_t* p) { return {vld1q_u8(p)}; }
  static u8x16 load_half(const uint8_t* p) { return {vcombine_u8(vld1_u8(p), vdup_n_u8(0))}; }
  static u8x16 splat(int x) { return {vdupq_n_u8(uint8_t(x))}; }
};
inline void store(uint8_t* p, u8x16 a) { vst1q_u8(p, a.v); }
// Symptom: GCC moves the pointer by itself. Remedy: the instruction that stores and moves it. Gain: 21
// instructions for 16 results in place of 22.
inline uint8_t* store_next(uint8_t* p, u8x16 a, ptrdiff_t stride) {
#ifdef __aarch64__
  asm volatile("st1 {%1.16b}, [%0], %2" : "+r"(p) : "w"(a.v), "r"(stride) : "memory");
#else
  asm volatile("vst1.8 {%e1, %f1}, [%0], %2" : "+r"(p) : "w"(a.v), "r"(stride) : "memory");
#endif
  return p;
}
inline void store_half(uint8_t* p, u8x16 a) { vst1_u8(p, vget_low_u8(a.v)); }
inline void store_second_half(uint8_t* p, u8x16 a) { vst1_u8(p, vget_high_u8(a.v)); }
inline u8x16 greater(u8x16 a, u8x16 b) { return {vmaxq_u8(a.v, b.v)}; }
inline u8x16 less(u8x16 a, u8x16 b) { return {vminq_u8(a.v, b.v)}; }
#ifdef __aarch64__
inline u8x16 pick(u8x16 from, u8x16 which) { return {vqtbl1q_u8(from.v, which.v)}; }
inline f32x8 number(f32x8 x, f32x8 lo) { return {vmaxnmq_f32(x.lo, lo.lo), vmaxnmq_f32(x.hi, lo.hi)}; }
#else
inline u8x16 pick(u8x16 from, u8x16 which) {
  const uint8x8x2_t halves = {{vget_low_u8(from.v), vget_high_u8(from.v)}};
  return {vcombine_u8(vtbl2_u8(halves, vget_low_u8(which.v)), vtbl2_u8(halves, vget_high_u8(which.v)))};
}
inline f32x8 number(f32x8 x, f32x8 lo) { return greater(x, lo); }
#endif

// From sums to bytes: every step on the way saturates.
struct ByteOutput {
  int16x8_t zero;
  u8x16 lo, hi;
  bool clamps;  // to less than all that a byte can be
#ifndef __aarch64__
  struct {
    float magic[4];
    int16_t zero[8];
  } constants;
#endif
  ByteOutput(const ActivationArgs& a, const Type& type)
      : zero(vdupq_n_s16(int16_t(type.zero_point))),
        lo(u8x16::splat(int(a.lo) + type.zero_point)),
        hi(u8x16::splat(int(a.hi) + type.zero_point)),
        clamps(int(a.lo) + type.zero_point > 0 || int(a.hi) + type.zero_point < 255) {
#ifndef __aarch64__
    vst1q_f32(constants.magic, vdupq_n_f32(kMagic));
    vst1q_s16(constants.zero, zero);
#endif
  }
  uint8x8_t narrow(f32x8 x) const {
    const i32x8 steps = to_int(x);
    return vqmovun_s16(vqaddq_s16(vcombine_s16(vqmovn_s32(steps.lo), vqmovn_s32(steps.hi)), zero));
  }
  MBI_INLINE u8x16 clamped(u8x16 bytes) const {
    return __builtin_expect(clamps, 0) ? less(hi, greater(bytes, lo)) : bytes;
  }
  MBI_INLINE u8x16 operator()(f32x8 a, f32x8 b) const { return clamped({vcombine_u8(narrow(a), narrow(b))}); }
  template <int kCount>
  MBI_INLINE void operator()(const i32x16 (&sums)[kCount], const ByteScale& scale, u8x16 (&bytes)[kCount]) const {
    MBI_UNROLL for (int i = 0; i < kCount; i++) bytes[i] = scaled(sums[i], scale);
    if (__builtin_expect(!clamps, 1)) return;
    MBI_UNROLL for (int i = 0; i < kCount; i++) bytes[i] = less(hi, greater(bytes[i], lo));
  }

#ifdef __aarch64__
  MBI_INLINE u8x16 scaled(const i32x16& sums, const ByteScale& scale) const {
    return {vcombine_u8(narrow(scale.first(sums)), narrow(scale.second(sums)))};
  }
#else
  // Symptom: GCC 12 loads registers by halves and makes constants anew for each of four. Remedy: the instructions
  // themselves. Gain: 27 for 16 sums in place of some 50.
  MBI_INLINE u8x16 scaled(const i32x16& sums, const ByteScale& scale) const {
    int32x4_t a = sums.v[0].lo, b = sums.v[0].hi, c = sums.v[1].lo, d = sums.v[1].hi;
    asm("vld1.32 {d16-d19}, [%[p]]\n"
        "vld1.32 {d20-d23}, [%[q]]\n"
        "vld1.32 {d24-d27}, [%[constants]]\n"
        "vcvt.f32.s32 %q0, %q0\n"
        "vcvt.f32.s32 %q1, %q1\n"
        "vcvt.f32.s32 %q2, %q2\n"
        "vcvt.f32.s32 %q3, %q3\n"
        "vmul.f32 %q0, %q0, q8\n"
        "vmul.f32 %q1, %q1, q9\n"
        "vmul.f32 %q2, %q2, q10\n"
        "vmul.f32 %q3, %q3, q11\n"
        "vadd.f32 %q0, %q0, q12\n"
        "vadd.f32 %q1, %q1, q12\n"
        "vadd.f32 %q2, %q2, q12\n"
        "vadd.f32 %q3, %q3, q12\n"
        "vqsub.s32 %q0, %q0, q12\n"
        "vqsub.s32 %q1, %q1, q12\n"
        "vqsub.s32 %q2, %q2, q12\n"
        "vqsub.s32 %q3, %q3, q12\n"
        "vqmovn.s32 %e0, %q0\n"
        "vqmovn.s32 %e2, %q2\n"
        "vqmovn.s32 %f0, %q1\n"
        "vqmovn.s32 %f2, %q3\n"
        "vqadd.s16 %q0, %q0, q13\n"
        "vqadd.s16 %q2, %q2, q13\n"
        "vqmovun.s16 %e0, %q0\n"
        "vqmovun.s16 %f0, %q2\n"
        : "+&w"(a), "+&w"(b), "+&w"(c), "+&w"(d)
        : [p] "r"(scale.p), [q] "r"(scale.q), [constants] "r"(&constants), "m"(constants),
          "m"(*reinterpret_cast<const float (*)[8]>(scale.p)), "m"(*reinterpret_cast<const float (*)[8]>(scale.q))
        : "q8", "q9", "q10", "q11", "q12", "q13");
    return {vreinterpretq_u8_s32(a)};
  }
#endif
};

inline int8x16_t four_of(const uint8_t* p) {  // the same four bytes, four times
  int32_t quad;
  __builtin_memcpy(&quad, p, sizeof quad);
  return vreinterpretq_s8_s32(vdupq_n_s32(quad));
}

}  // namespace
}  // namespace mbinfer

#ifdef __ARM_FEATURE_DOTPROD
#include "kernels/tile_sdot_u8.h"
#else
#include "kernels/tile_neon_u8.h"
#endif

namespace mbinfer {
namespace {

// Columns and weights of a depthwise convolution, widened to 16 bits.
struct ByteColumns {
  using Weight = int16x8_t;
  struct Lanes {};
  static constexpr int kPanels = 1, kRows = 1;
  static int16x8_t column(const uint8_t* const (&rows)[1], Lanes) {
    return vreinterpretq_s16_u16(vmovl_u8(vld1_u8(rows[0])));
  }
  static int16x8_t outside(int zero_point) { return vdupq_n_s16(int16_t(zero_point)); }
  static int16x8_t weight(const int8_t* const (&rows)[1]) { return vmovl_s8(vld1_s8(rows[0])); }
  static i32x8 multiply(int16x8_t column, int16x8_t weight, i32x8 sum) {
#ifdef __aarch64__
    return {vmlal_s16(sum.lo, vget_low_s16(column), vget_low_s16(weight)), vmlal_high_s16(sum.hi, column, weight)};
#else
    return {vmlal_s16(sum.lo, vget_low_s16(column), vget_low_s16(weight)),
            vmlal_s16(sum.hi, vget_high_s16(column), vget_high_s16(weight))};
#endif
  }
};

#ifdef __aarch64__

constexpr int kLookUp = 16;

// Of so many times 16 bytes their numbers in a table of 256: an index past 64 leaves what the quarters before have
// found. Symptom: GCC 12 loads all of the table again for each 16 bytes, which takes longer than to look them up, and
// spills it where it cannot. Remedy: registers that are named. Gain: 11 instructions for 16 bytes in place of 16, four
// of which load 64 bytes each; the plain loop takes 80.
MBI_INLINE void look_up(const uint8_t* table, const uint8_t* in, uint8_t* out, ptrdiff_t times) {
  asm volatile(
      "ld1 {v0.16b - v3.16b}, [%[table]], #64\n"
      "ld1 {v4.16b - v7.16b}, [%[table]], #64\n"
      "ld1 {v16.16b - v19.16b}, [%[table]], #64\n"
      "ld1 {v20.16b - v23.16b}, [%[table]]\n"
      "1:\n"
      "ldr q24, [%[in]], #16\n"
      "eor v25.16b, v24.16b, %[second].16b\n"
      "eor v26.16b, v24.16b, %[third].16b\n"
      "eor v27.16b, v24.16b, %[fourth].16b\n"
      "tbl v24.16b, {v0.16b - v3.16b}, v24.16b\n"
      "tbx v24.16b, {v4.16b - v7.16b}, v25.16b\n"
      "tbx v24.16b, {v16.16b - v19.16b}, v26.16b\n"
      "tbx v24.16b, {v20.16b - v23.16b}, v27.16b\n"
      "subs %[times], %[times], #1\n"
      "str q24, [%[out]], #16\n"
      "b.ne 1b\n"
      : [table] "+r"(table), [in] "+r"(in), [out] "+r"(out), [times] "+r"(times)
      : [second] "w"(vdupq_n_u8(0x40)), [third] "w"(vdupq_n_u8(0x80)), [fourth] "w"(vdupq_n_u8(0xC0))
      : "cc", "memory", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v16", "v17", "v18", "v19", "v20", "v21", "v22",
        "v23", "v24", "v25", "v26", "v27");
}

#else

constexpr auto lookup_bytes = lookup_reference;  // a table of 256 fills all registers of armv7

#endif

}  // namespace
}  // namespace mbinfer
