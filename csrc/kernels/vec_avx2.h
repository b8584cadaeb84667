// Vectors of AVX2, FMA and F16C, see vec.h. Included by isa.cpp, and by vec_avx512.h.
#pragma once

#include <immintrin.h>
#include <stdint.h>

namespace mbinfer {
namespace {

struct f32x8 {
  static constexpr int kPanels = 1;
  __m256 v;

  static f32x8 load(const float* p) { return {_mm256_loadu_ps(p)}; }
  static f32x8 load(const Half* p) { return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))}; }
  static f32x8 splat(float x) { return {_mm256_set1_ps(x)}; }
  static f32x8 widen_u8(const uint8_t* p) {
    return {_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))))};
  }
  // Symptom: GCC makes each use of a loaded value an operand in memory, a second load. Remedy: the value passes through
  // an empty asm. Gain: depthwise stride 2, where two loads a cycle are the limit, 0.85 to 0.92 of the cycles.
  static f32x8 load_kept(const float* p) {
    __m256 v = _mm256_loadu_ps(p);
    asm("" : "+v"(v));
    return {v};
  }
};

// Symptom: GCC turns p + i * stride into one register for each i, and most go to the stack. Remedy: a pointer that
// comes out of an empty asm is related to no other. Gain: a 6x2 tile takes 14 cycles beside its multiplications,
// not 25.
template <class T>
inline T pace(T x) {
  asm("" : "+r"(x));
  return x;
}

// Pins x in a register, and orders it after earlier stores. Symptom: GCC activates a whole tile of sums, then stores
// it, and the row of stores holds up the next tile's multiplications. Gain: 10 cycles beside them, not 26.
template <class V>
inline V in_turn(V x) {
  asm volatile("" : "+v"(x.v) : : "memory");
  return x;
}

inline void store(float* p, f32x8 a) { _mm256_storeu_ps(p, a.v); }
inline f32x8 add(f32x8 a, f32x8 b) { return {_mm256_add_ps(a.v, b.v)}; }
inline f32x8 sub(f32x8 a, f32x8 b) { return {_mm256_sub_ps(a.v, b.v)}; }
inline f32x8 mul(f32x8 a, f32x8 b) { return {_mm256_mul_ps(a.v, b.v)}; }
inline f32x8 fma(f32x8 a, f32x8 b, f32x8 c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
// Symptom: GCC makes a sum in another register than it began in, and moves it back at the end of the loop: five moves
// for 24 multiply-adds of a depthwise tile of stride 2. Remedy: the instruction that adds to its last operand. Gain:
// rows of stride 2 0.97 to 0.99 of the time, of 3 x 256 channels 1024 bytes apart 0.93 (Intel Xeon, Ice Lake).
inline f32x8 fma_in_place(f32x8 a, f32x8 b, f32x8 sum) {
  asm("vfmadd231ps %1, %2, %0" : "+v"(sum.v) : "v"(a.v), "v"(b.v));
  return sum;
}
inline f32x8 div(f32x8 a, f32x8 b) { return {_mm256_div_ps(a.v, b.v)}; }
inline f32x8 exponent_of(f32x8 x) { return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(x.v), 23))}; }
inline f32x8 root(f32x8 x) { return {_mm256_sqrt_ps(x.v)}; }
inline f32x8 binary_log(f32x8 x, f32x8* rest) {
  const __m256i bits = _mm256_castps_si256(x.v);
  const __m256i n = _mm256_srai_epi32(_mm256_sub_epi32(bits, _mm256_set1_epi32(kRootHalfBits)), 23);
  rest->v = _mm256_castsi256_ps(_mm256_sub_epi32(bits, _mm256_slli_epi32(n, 23)));
  return {_mm256_cvtepi32_ps(n)};
}
inline f32x8 greater(f32x8 a, f32x8 b) { return {_mm256_max_ps(a.v, b.v)}; }
inline f32x8 less(f32x8 a, f32x8 b) { return {_mm256_min_ps(a.v, b.v)}; }
inline f32x8 nan_or(f32x8 x, f32x8 other) {
  return {_mm256_blendv_ps(other.v, x.v, _mm256_cmp_ps(x.v, x.v, _CMP_UNORD_Q))};
}

}  // namespace
}  // namespace mbinfer
