// Instructions of AVX-512 that the kernels use and SIMDe does not have, made of others, under their own names: for
// tests on any x86-64 machine. Included by vec_avx512.h and vec_avx2_u8.h only.
#pragma once

namespace mbinfer {
namespace {

inline __m512 simde_to_float(__m512i x) {
  const __m256 lo = _mm256_cvtepi32_ps(_mm512_castsi512_si256(x)),
               hi = _mm256_cvtepi32_ps(_mm512_extracti64x4_epi64(x, 1));
  return _mm512_castsi512_ps(
      _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_castps_si256(lo)), _mm256_castps_si256(hi), 1));
}

inline __m512i simde_shifted(__m512i x, int bits) {
  return _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_srai_epi32(_mm512_castsi512_si256(x), bits)),
                            _mm256_srai_epi32(_mm512_extracti64x4_epi64(x, 1), bits), 1);
}

inline __m512i simde_to_int(__m512 x) {
  const __m512i bits = _mm512_castps_si512(x);
  auto rounded = [](__m256i half) { return _mm256_cvtps_epi32(_mm256_castsi256_ps(half)); };
  return _mm512_inserti64x4(_mm512_castsi256_si512(rounded(_mm512_castsi512_si256(bits))),
                            rounded(_mm512_extracti64x4_epi64(bits, 1)), 1);
}

inline __m128i simde_to_bytes(__m512i x) {
  auto bounded = [](__m256i half) { return _mm256_min_epu32(half, _mm256_set1_epi32(255)); };
  const __m256i mixed =
      _mm256_packus_epi32(bounded(_mm512_castsi512_si256(x)), bounded(_mm512_extracti64x4_epi64(x, 1)));
  const __m256i words = _mm256_permute4x64_epi64(mixed, 0xD8);
  return _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
}

inline __m512i simde_masked_row(uint64_t which, const uint8_t* p) {  // reads no byte of which there is no bit
  uint8_t bytes[64] = {};
  for (int i = 0; i < 64; i++)
    if (which >> i & 1) bytes[i] = p[i];
  return _mm512_loadu_si512(bytes);
}

inline void simde_put_masked_row(uint8_t* p, uint64_t which, __m512i x) {
  uint8_t bytes[64];
  _mm512_storeu_si512(bytes, x);
  for (int i = 0; i < 64; i++)
    if (which >> i & 1) p[i] = bytes[i];
}

inline __m128i simde_masked(int which, const uint8_t* p) {
  uint8_t bytes[16] = {};
  for (int i = 0; i < 16; i++)
    if (which >> i & 1) bytes[i] = p[i];
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes));
}

inline __m128i simde_masked_four(int which, const void* p) {
  int numbers[4] = {};
  for (int i = 0; i < 4; i++)
    if (which >> i & 1) __builtin_memcpy(numbers + i, static_cast<const char*>(p) + i * sizeof(int), sizeof(int));
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(numbers));
}

#define _mm512_cvtepi32_ps simde_to_float
#define _mm512_srai_epi32 simde_shifted
#define _mm512_cvtps_epi32 simde_to_int
#define _mm512_cvtusepi32_epi8 simde_to_bytes
#define _mm_maskz_loadu_epi8 simde_masked
#define _mm_maskz_loadu_epi32 simde_masked_four
#define _mm512_maskz_loadu_epi8 simde_masked_row
#define _mm512_mask_storeu_epi8 simde_put_masked_row

}  // namespace
}  // namespace mbinfer
