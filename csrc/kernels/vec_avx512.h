// Vectors of AVX-512 (F, BW, DQ, VL): two panels of a pair in one register, and single panels as on AVX2, see vec.h.
// With MBINFER_SIMDE the same source is made of AVX2 by SIMDe, so that it can be tested where there is no AVX-512.
// Included by isa.cpp only.
#pragma once

#ifdef MBINFER_SIMDE
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>

#include "kernels/simde_avx512.h"
#endif

#include "kernels/vec_avx2.h"

namespace mbinfer {
namespace {

struct f32x16 {
  static constexpr int kPanels = 2;
  __m512 v;

  static f32x16 load(const float* p) { return {_mm512_loadu_ps(p)}; }
  static f32x16 load(const Half* p) {
#ifdef MBINFER_SIMDE  // which has no such conversion
    const __m512 lower = _mm512_castps256_ps512(f32x8::load(p).v);
    return {_mm512_insertf32x8(lower, f32x8::load(p + kPanel).v, 1)};
#else
    return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
#endif
  }
  static f32x16 load_kept(const float* p) { return load(p); }
  static f32x16 load_half(const float* p) { return {_mm512_castps256_ps512(_mm256_loadu_ps(p))}; }
  static f32x16 splat(float x) { return {_mm512_set1_ps(x)}; }
  static f32x16 widen_u8(const uint8_t* p) {
    return {_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))))};
  }
};

inline void store(float* p, f32x16 a) { _mm512_storeu_ps(p, a.v); }
inline void store_half(float* p, f32x16 a) { _mm256_storeu_ps(p, _mm512_castps512_ps256(a.v)); }
inline f32x16 add(f32x16 a, f32x16 b) { return {_mm512_add_ps(a.v, b.v)}; }
inline f32x16 sub(f32x16 a, f32x16 b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline f32x16 mul(f32x16 a, f32x16 b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline f32x16 fma(f32x16 a, f32x16 b, f32x16 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline f32x16 fma_in_place(f32x16 a, f32x16 b, f32x16 sum) { return fma(a, b, sum); }
inline f32x16 div(f32x16 a, f32x16 b) { return {_mm512_div_ps(a.v, b.v)}; }
inline f32x16 exponent_of(f32x16 x) { return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(x.v), 23))}; }
inline f32x16 root(f32x16 x) { return {_mm512_sqrt_ps(x.v)}; }
inline f32x16 binary_log(f32x16 x, f32x16* rest) {
  const __m512i bits = _mm512_castps_si512(x.v);
  const __m512i n = _mm512_srai_epi32(_mm512_sub_epi32(bits, _mm512_set1_epi32(kRootHalfBits)), 23);
  rest->v = _mm512_castsi512_ps(_mm512_sub_epi32(bits, _mm512_slli_epi32(n, 23)));
  return {_mm512_cvtepi32_ps(n)};
}
inline f32x16 greater(f32x16 a, f32x16 b) { return {_mm512_max_ps(a.v, b.v)}; }
inline f32x16 less(f32x16 a, f32x16 b) { return {_mm512_min_ps(a.v, b.v)}; }
inline f32x16 nan_or(f32x16 x, f32x16 other) {
  return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(x.v, x.v, _CMP_UNORD_Q), other.v, x.v)};
}
#ifdef MBINFER_SIMDE
inline f32x16 in_turn(f32x16 x) { return x; }  // of two registers
#endif

}  // namespace
}  // namespace mbinfer
