// Vectors of integers on AVX2, and the tile that multiplies bytes, see vec_u8.h. Included by isa.cpp only.
#pragma once

namespace mbinfer {
namespace {

struct i32x8 {
  __m256i v;
  static i32x8 load(const int32_t* p) { return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))}; }
  static i32x8 splat(int x) { return {_mm256_set1_epi32(x)}; }
  static i32x8 widen_u8(const uint8_t* p) {
    return {_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)))};
  }
};
inline void store(int32_t* p, i32x8 a) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a.v); }
inline i32x8 add(i32x8 a, i32x8 b) { return {_mm256_add_epi32(a.v, b.v)}; }
inline i32x8 sub(i32x8 a, i32x8 b) { return {_mm256_sub_epi32(a.v, b.v)}; }
inline f32x8 to_float(i32x8 a) { return {_mm256_cvtepi32_ps(a.v)}; }
inline i32x8 to_int(f32x8 a) { return {_mm256_cvtps_epi32(a.v)}; }  // rounded half to even; NaN is the least

struct u8x16 {
  __m128i v;
  static u8x16 load(const uint8_t* p) { return {_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))}; }
  static u8x16 load_half(const uint8_t* p) { return {_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))}; }
  static u8x16 splat(int x) { return {_mm_set1_epi8(char(x))}; }
};
inline void store(uint8_t* p, u8x16 a) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), a.v); }
inline void store_half(uint8_t* p, u8x16 a) { _mm_storel_epi64(reinterpret_cast<__m128i*>(p), a.v); }
inline void store_second_half(uint8_t* p, u8x16 a) { store_half(p, {_mm_unpackhi_epi64(a.v, a.v)}); }
inline u8x16 greater(u8x16 a, u8x16 b) { return {_mm_max_epu8(a.v, b.v)}; }
inline u8x16 less(u8x16 a, u8x16 b) { return {_mm_min_epu8(a.v, b.v)}; }

// From sums to bytes: clamped to the activation's upper bound, so that they are integers; then every step saturates.
struct ByteOutput {
  f32x8 hi;
  __m256i zero;
  u8x16 lo;
  ByteOutput(const ActivationArgs& a, const Type& type)
      : hi(f32x8::splat(a.hi)),
        zero(_mm256_set1_epi16(int16_t(type.zero_point))),
        lo(u8x16::splat(int(a.lo) + type.zero_point)) {}
  MBI_INLINE u8x16 operator()(f32x8 a, f32x8 b) const {
    // a, b of the lower halves, then a, b of the upper ones
    const __m256i words = _mm256_packs_epi32(to_int(less(hi, a)).v, to_int(less(hi, b)).v);
    const __m256i sums = _mm256_adds_epi16(words, zero);
    const __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
    return greater({_mm_shuffle_epi32(bytes, 0xD8)}, lo);
  }
};

}  // namespace
}  // namespace mbinfer

#if defined(__AVXVNNI__) || defined(__AVX512VNNI__) || defined(MBINFER_SIMDE)
#include "kernels/tile_vnni_u8.h"
#else

namespace mbinfer {
namespace {

// Symptom: vpmaddubsw adds two products of an unsigned and a signed byte in 16 bits, and saturates: 255 * (127 + 127)
// is twice what they hold. Remedy: with x = input - 128 and s = 0, or all ones where x is negative, x * w is |x| * (w ^
// s) + (x < 0 ? |x| : 0). |x| is at most 128 and w ^ s at least -128, so that two of the first products fit, for every
// weight; the second sum is the same for all output channels. |x| and s lie four and four in the prepared inputs. Gain:
// 32 multiply-adds in a cycle of Zen 4, where a float32 core makes 16, bytes widened to 16 bits 16, and vpsignb in
// place of the xor 21.
struct ByteInputs {
  static constexpr bool kPrepared = true, kSigned = true, kAnyWeight = true;
  static constexpr int kQuadBytes = 8;  // of four inputs, prepared
};

// Writes `k` inputs, a multiple of 4, as the tile takes them, and up to 32 bytes more. Returns what is to be added to
// all of their sums.
inline int prepare(const uint8_t* in, int k, uint8_t* out) {
  const __m256i half = _mm256_set1_epi8(char(0x80)), zero = _mm256_setzero_si256();
  __m256i sum = zero;
  auto take = [&](__m256i q) {
    const __m256i x = _mm256_xor_si256(q, half), sign = _mm256_cmpgt_epi8(zero, x), size = _mm256_abs_epi8(x);
    sum = _mm256_add_epi32(sum, _mm256_sad_epu8(_mm256_and_si256(size, sign), zero));
    const __m256i first = _mm256_unpacklo_epi32(size, sign), second = _mm256_unpackhi_epi32(size, sign);
    auto put = [&](int i, __m128i quads) { _mm_storeu_si128(reinterpret_cast<__m128i*>(out + 16 * i), quads); };
    put(0, _mm256_castsi256_si128(first));
    put(1, _mm256_castsi256_si128(second));
    put(2, _mm256_extracti128_si256(first, 1));
    put(3, _mm256_extracti128_si256(second, 1));
  };
  for (; k >= 32; k -= 32, in += 32, out += 64) take(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(in)));
  for (int some; k > 0; k -= some, in += some, out += 2 * some) {
    const __m128i none = _mm256_castsi256_si128(half);  // inputs that count for nothing
    int quad;
    __m128i q = none;
    some = k < 16 ? k : 16;
    if (some == 16) q = _mm_loadu_si128(reinterpret_cast<const __m128i*>(in));
    if (some == 8 || some == 12) q = _mm_unpacklo_epi64(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(in)), none);
    if (some == 4 || some == 12) __builtin_memcpy(&quad, in + some - 4, sizeof quad);
    if (some == 4) q = _mm_insert_epi32(q, quad, 0);
    if (some == 12) q = _mm_insert_epi32(q, quad, 2);
    const __m128i x = _mm_xor_si128(q, none), sign = _mm_cmpgt_epi8(_mm_setzero_si128(), x), size = _mm_abs_epi8(x);
    sum = _mm256_add_epi32(sum, _mm256_zextsi128_si256(_mm_sad_epu8(_mm_and_si128(size, sign), _mm_setzero_si128())));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm_unpacklo_epi32(size, sign));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + 16), _mm_unpackhi_epi32(size, sign));
  }
  const __m128i all = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
  return _mm_cvtsi128_si32(all) + _mm_extract_epi32(all, 2);
}

template <int kPixels, bool kFull>
struct ByteTile {
  i32x8 sums[kPixels][2];
  MBI_INLINE void start() {}
  MBI_INLINE void settle() {}

  MBI_INLINE void multiply(const uint8_t* in, const ptrdiff_t (&pixels)[kPixels], const int8_t* weights, int quads) {
    const __m256i ones = _mm256_set1_epi16(1);
    for (; quads > 0; quads--, in += ByteInputs::kQuadBytes, weights += 64) {
      const __m256i first = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(weights)),
                    second = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(weights + 32));
      MBI_UNROLL for (int p = 0; p < kPixels; p++) {
        const __m256i size = all_lanes(in + pixels[p]), sign = all_lanes(in + pixels[p] + 4);
        auto products = [&](__m256i w) {
          return _mm256_madd_epi16(_mm256_maddubs_epi16(size, _mm256_xor_si256(w, sign)), ones);
        };
        sums[p][0].v = _mm256_add_epi32(sums[p][0].v, products(first));
        sums[p][1].v = _mm256_add_epi32(sums[p][1].v, products(second));
      }
    }
  }

  static MBI_INLINE __m256i all_lanes(const uint8_t* p) {
    int quad;
    __builtin_memcpy(&quad, p, sizeof quad);
    return _mm256_set1_epi32(quad);
  }
};

struct ByteTiles {
  static constexpr int gemm_pixels = 4, depthwise_pixels[4] = {0, 8, 8, 4};
};

}  // namespace
}  // namespace mbinfer

#endif

namespace mbinfer {
namespace {

// Columns and weights of a depthwise convolution, as floats: sums of up to 514 products are exact in them.
struct ByteColumns {
  using Sum = f32x8;
  static constexpr int kMostTaps = 514;
  static f32x8 column(const uint8_t* p) { return f32x8::widen_u8(p); }
  static f32x8 outside(int zero_point) { return f32x8::splat(float(zero_point)); }
  static f32x8 weight(const int8_t* p) {
    return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))))};
  }
  static f32x8 start(i32x8) { return f32x8::splat(0.0f); }
  static f32x8 multiply(f32x8 column, f32x8 weight, f32x8 sum) { return fma(column, weight, sum); }
  static i32x8 end(f32x8 sum, i32x8 bias) { return add(to_int(sum), bias); }
};

}  // namespace
}  // namespace mbinfer
