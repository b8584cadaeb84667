// Eight float32 lanes on AVX2 + FMA. Included by isa.cpp only.
#pragma once

#include <immintrin.h>
#include <stdint.h>

namespace mbinfer {
namespace {

struct f32x8 {
  __m256 v;
};

// Register tiles: pixels by panels that the GEMM keeps as sums in 16 registers, and pixels of a depthwise row.
constexpr int kGemmPixels[4] = {0, 12, 6, 4};  // by number of panels
constexpr int kGemmPanels = 3;
constexpr int kGemmInputs = 4;
constexpr int kVectorPanels = 8;                   // of one pixel
constexpr int kDepthwisePixels[4] = {0, 8, 8, 4};  // by kernel: 3, 5, 7
constexpr int kThinPanels = 2;    // side by side where a depthwise tile has at most half as many pixels
constexpr int kColumnsAhead = 0;  // loaded before they are multiplied: for cores that run in order

inline f32x8 load(const float* p) { return {_mm256_loadu_ps(p)}; }
// A value for several uses: a compiler would make each of them a load, to have it as an operand from memory.
inline f32x8 load_once(const float* p) {
  __m256 v = _mm256_loadu_ps(p);
  asm("" : "+x"(v));
  return {v};
}
// A pointer or a distance that nothing is known of: a compiler would have the sum of it and each constant in a
// register, and most on the stack.
template <class T>
inline T opaque(T x) {
  asm("" : "+r"(x));
  return x;
}
// Loads after it come after what was loaded before it, for which sums would lose their registers.
inline void loads_stay() { asm volatile("" : : : "memory"); }
// A value that is in a register, and not used before what was stored earlier is stored.
inline f32x8 in_turn(f32x8 x) {
  asm volatile("" : "+x"(x.v) : : "memory");
  return x;
}
inline void store(float* p, f32x8 a) { _mm256_storeu_ps(p, a.v); }
inline f32x8 splat(float x) { return {_mm256_set1_ps(x)}; }
inline f32x8 add(f32x8 a, f32x8 b) { return {_mm256_add_ps(a.v, b.v)}; }
inline f32x8 sub(f32x8 a, f32x8 b) { return {_mm256_sub_ps(a.v, b.v)}; }
inline f32x8 mul(f32x8 a, f32x8 b) { return {_mm256_mul_ps(a.v, b.v)}; }
inline f32x8 fma(f32x8 a, f32x8 b, f32x8 c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
// The same where the sum stays in its register; a compiler would move sums from one to another.
inline f32x8 fma_in_place(f32x8 a, f32x8 b, f32x8 sum) {
  asm("vfmadd231ps %1, %2, %0" : "+x"(sum.v) : "x"(a.v), "x"(b.v));
  return sum;
}
inline f32x8 greater(f32x8 a, f32x8 b) { return {_mm256_max_ps(a.v, b.v)}; }  // a > b ? a : b
inline f32x8 less(f32x8 a, f32x8 b) { return {_mm256_min_ps(a.v, b.v)}; }     // a < b ? a : b
inline f32x8 nan_or(f32x8 x, f32x8 other) {                                   // x where it is NaN
  return {_mm256_blendv_ps(other.v, x.v, _mm256_cmp_ps(x.v, x.v, _CMP_UNORD_Q))};
}
inline f32x8 widen_u8(const uint8_t* p) {
  return {_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))))};
}

}  // namespace
}  // namespace mbinfer
