// Vectors of integers on AVX2, and the tile that multiplies bytes, see vec_u8.h. Included by isa.cpp only.
#pragma once

// Sums of a pair of panels lie in one register where bytes are multiplied in registers of that size.
#if defined(__AVX512VNNI__) || (defined(MBINFER_SIMDE) && !defined(MBINFER_BYTES))
#define MBI_SUMS_512
#endif

#if defined(MBINFER_SIMDE) && defined(MBI_SUMS_512)
#include "kernels/simde_avx512.h"
#endif

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
inline uint8_t* store_next(uint8_t* p, u8x16 a, ptrdiff_t stride) {
  store(p, a);
  return pace(p + stride);
}
inline void store_half(uint8_t* p, u8x16 a) { _mm_storel_epi64(reinterpret_cast<__m128i*>(p), a.v); }
inline void store_second_half(uint8_t* p, u8x16 a) { store_half(p, {_mm_unpackhi_epi64(a.v, a.v)}); }
inline u8x16 greater(u8x16 a, u8x16 b) { return {_mm_max_epu8(a.v, b.v)}; }
inline u8x16 less(u8x16 a, u8x16 b) { return {_mm_min_epu8(a.v, b.v)}; }
inline u8x16 pick(u8x16 from, u8x16 which) { return {_mm_shuffle_epi8(from.v, which.v)}; }
inline f32x8 number(f32x8 x, f32x8 lo) { return greater(x, lo); }

#ifdef MBI_SUMS_512

struct i32x16 {  // sums of a pair of panels
  __m512i v;
  static i32x16 load(const int32_t* p, const int32_t* q) {
    return {_mm512_inserti64x4(_mm512_castsi256_si512(i32x8::load(p).v), i32x8::load(q).v, 1)};
  }
  i32x8 first() const { return {_mm512_castsi512_si256(v)}; }
  i32x8 second() const { return {_mm512_extracti64x4_epi64(v, 1)}; }
};

struct ByteScale {
  __m512 v;
  bool small;  // what it makes is an int32
  ByteScale() = default;
  ByteScale(const float* p, const float* q)
      : v(_mm512_castsi512_ps(
            i32x16::load(reinterpret_cast<const int32_t*>(p), reinterpret_cast<const int32_t*>(q)).v)),
        small(_mm512_cmp_ps_mask(v, _mm512_set1_ps(1), _CMP_NLT_UQ) == 0) {}
  __m512 all(i32x16 x) const { return _mm512_mul_ps(_mm512_cvtepi32_ps(x.v), v); }
  f32x8 first(i32x16 x) const { return {_mm512_castps512_ps256(all(x))}; }
  f32x8 second(i32x16 x) const { return {_mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(all(x)), 1))}; }
};

#else

struct i32x16 {  // sums of a pair of panels
  __m256i a, b;
  static i32x16 load(const int32_t* p, const int32_t* q) { return {i32x8::load(p).v, i32x8::load(q).v}; }
  i32x8 first() const { return {a}; }
  i32x8 second() const { return {b}; }
};
inline i32x16 add(i32x16 x, int y, int z) {
  return {add(x.first(), i32x8::splat(y)).v, add(x.second(), i32x8::splat(z)).v};
}

struct ByteScale {
  f32x8 a, b;
  bool small;  // what it makes is an int32
  ByteScale(const float* p, const float* q)
      : a(f32x8::load(p)),
        b(f32x8::load(q)),
        small(_mm256_movemask_ps(_mm256_cmp_ps(greater(a, b).v, f32x8::splat(1).v, _CMP_NLT_UQ)) == 0) {}
  f32x8 first(i32x16 x) const { return mul(to_float(x.first()), a); }
  f32x8 second(i32x16 x) const { return mul(to_float(x.second()), b); }
};

#endif

// From sums to bytes: clamped to the activation's upper bound, so that they are integers; then every step saturates.
// Sums that are scaled by less than 1 are integers of 32 bits anyway: their upper bound waits until they are bytes.
struct ByteOutput {
  f32x8 hi;
  __m256i zero, lo, highest;
  ByteOutput(const ActivationArgs& a, const Type& type)
      : hi(f32x8::splat(a.hi)),
        zero(_mm256_set1_epi16(int16_t(type.zero_point))),
        lo(_mm256_set1_epi8(char(int(a.lo) + type.zero_point))),
        highest(_mm256_set1_epi8(char(int(a.hi) + type.zero_point))) {}

  MBI_INLINE u8x16 operator()(f32x8 a, f32x8 b) const {
    const __m256i sums = words(less(hi, a), less(hi, b));
    const __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
    return {_mm_max_epu8(_mm_shuffle_epi32(bytes, 0xD8), _mm256_castsi256_si128(lo))};
  }

  template <int kCount>
  MBI_INLINE void operator()(const i32x16 (&sums)[kCount], const ByteScale& scale, u8x16 (&bytes)[kCount]) const {
    if (__builtin_expect(scale.small, 1)) return make(sums, scale, bytes);
    // What an address is taken of has to be in memory: these are copies.
    const ByteOutput output = *this;
    const ByteScale scales = scale;
    i32x16 waiting[kCount];
    u8x16 made[kCount];
    MBI_UNROLL for (int i = 0; i < kCount; i++) waiting[i] = sums[i];
    output.make_large(waiting, kCount, scales, made);
    MBI_UNROLL for (int i = 0; i < kCount; i++) bytes[i] = made[i];
  }

 private:
  // In each half of 128 bits four of a, four of b.
  MBI_INLINE __m256i words(f32x8 a, f32x8 b) const {
    return _mm256_adds_epi16(_mm256_packs_epi32(to_int(a).v, to_int(b).v), zero);
  }

  __attribute__((noinline)) void make_large(const i32x16* sums, int count, const ByteScale& scale, u8x16* bytes) const {
    for (int i = 0; i < count; i++) bytes[i] = (*this)(scale.first(sums[i]), scale.second(sums[i]));
  }

#ifdef MBI_SUMS_512
  template <int kCount>
  MBI_INLINE void make(const i32x16 (&sums)[kCount], const ByteScale& scale, u8x16 (&bytes)[kCount]) const {
    auto words = [&](int i, int j) {
      auto steps = [&](int k) { return _mm512_cvtps_epi32(scale.all(sums[k < kCount ? k : kCount - 1])); };
      return _mm512_adds_epi16(_mm512_packs_epi32(steps(i), steps(j)), _mm512_broadcast_i64x4(zero));
    };
    const __m512i least = _mm512_broadcast_i64x4(lo), most = _mm512_broadcast_i64x4(highest);
    const __m512i in_order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    MBI_UNROLL for (int i = 0; i < kCount; i += 4) {
      // In each part of 128 bits four bytes of each of four sums.
      const __m512i first = words(i, i + 1), second = i + 2 < kCount ? words(i + 2, i + 3) : first;
      const __m512i mixed = _mm512_min_epu8(_mm512_max_epu8(_mm512_packus_epi16(first, second), least), most);
      const __m512i made = _mm512_permutexvar_epi32(in_order, mixed);
      bytes[i].v = _mm512_castsi512_si128(made);
      if (i + 1 < kCount) bytes[i + 1].v = _mm512_extracti32x4_epi32(made, 1);
      if (i + 2 < kCount) bytes[i + 2].v = _mm512_extracti32x4_epi32(made, 2);
      if (i + 3 < kCount) bytes[i + 3].v = _mm512_extracti32x4_epi32(made, 3);
    }
  }
#else
  template <int kCount>
  MBI_INLINE void make(const i32x16 (&sums)[kCount], const ByteScale& scale, u8x16 (&bytes)[kCount]) const {
    auto both = [&](int i) { return words(scale.first(sums[i]), scale.second(sums[i])); };
    MBI_UNROLL for (int i = 0; i < kCount; i += 2) {
      const __m256i first = both(i), second = i + 1 < kCount ? both(i + 1 < kCount ? i + 1 : i) : first;
      const __m256i mixed = _mm256_min_epu8(_mm256_max_epu8(_mm256_packus_epi16(first, second), lo), highest);
      const __m256i in_order = _mm256_permutevar8x32_epi32(mixed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
      bytes[i].v = _mm256_castsi256_si128(in_order);
      if (i + 1 < kCount) bytes[i + 1].v = _mm256_extracti128_si256(in_order, 1);
    }
  }
#endif
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
// weight; the second sum is the same for all output channels. Gain: 32 multiply-adds in a cycle of Zen 4, where a
// float32 core makes 16, bytes widened to 16 bits 16, and vpsignb in place of the xor 21.
struct ByteInputs {
  static constexpr bool kPrepared = true, kCorrected = true, kSigned = true, kAnyWeight = true;
  static constexpr int kQuadBytes = 4, kMostQuads = 1024;
  static constexpr ptrdiff_t kSigns = kQuadBytes * kMostQuads + 32, kRoom = 2 * kSigns;  // |x|; s lies kSigns behind it
};

inline void prepare(const uint8_t* in, int k, uint8_t* out) {
  const __m256i half = _mm256_set1_epi8(char(0x80)), zero = _mm256_setzero_si256();
  for (; k >= 32; k -= 32, in += 32, out += 32) {
    const __m256i x = _mm256_xor_si256(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(in)), half);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm256_abs_epi8(x));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + ByteInputs::kSigns), _mm256_cmpgt_epi8(zero, x));
  }
  auto some = [&](__m128i q, int bytes) {
    const __m128i x = _mm_xor_si128(q, _mm256_castsi256_si128(half));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm_abs_epi8(x));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + ByteInputs::kSigns), _mm_cmpgt_epi8(_mm_setzero_si128(), x));
    in += bytes, out += bytes;
  };
  if (k & 16) some(_mm_loadu_si128(reinterpret_cast<const __m128i*>(in)), 16);
  if (k & 8) some(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(in)), 8);
  if (k & 4) {
    int quad;
    __builtin_memcpy(&quad, in, sizeof quad);
    some(_mm_cvtsi32_si128(quad), 4);
  }
}

// What is to be added to all sums of inputs that were prepared. Reads up to 32 bytes at a time, of which some may not
// have been written.
struct ByteCorrection {
  __m256i sums = _mm256_setzero_si256();
  MBI_INLINE void add(const uint8_t* in, int quads) {
    alignas(32) static constexpr int kKept[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
    auto load = [](const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); };
    auto negative = [&] { return _mm256_and_si256(load(in), load(in + ByteInputs::kSigns)); };
    auto add_all = [&](__m256i some) { sums = _mm256_add_epi32(sums, _mm256_sad_epu8(some, _mm256_setzero_si256())); };
    for (; quads >= 8; quads -= 8, in += 32) add_all(negative());
    if (quads) add_all(_mm256_and_si256(negative(), load(kKept + 8 - quads)));
  }
  int total() const {
    const __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
    return _mm_cvtsi128_si32(sum) + _mm_extract_epi32(sum, 2);
  }
};

template <int kPixels, bool kFull>
struct ByteTile {
  static constexpr bool kWhole = false;
  i32x16 sums[kPixels];
  MBI_INLINE void start() {}
  MBI_INLINE void settle() {}

  MBI_INLINE void multiply(const uint8_t* in, const ptrdiff_t (&pixels)[kPixels], const int8_t* weights, int quads) {
    for (; quads > 0; quads--, in += ByteInputs::kQuadBytes, weights += 64) {
      const __m256i first = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(weights)),
                    second = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(weights + 32));
      MBI_UNROLL for (int p = 0; p < kPixels; p++) {
        const __m256i size = all_lanes(in + pixels[p]), sign = all_lanes(in + pixels[p] + ByteInputs::kSigns);
        sums[p].a = _mm256_add_epi32(sums[p].a, products(size, sign, first));
        sums[p].b = _mm256_add_epi32(sums[p].b, products(size, sign, second));
      }
    }
  }

  static MBI_INLINE __m256i products(__m256i size, __m256i sign, __m256i w) {
    return _mm256_madd_epi16(_mm256_maddubs_epi16(size, _mm256_xor_si256(w, sign)), _mm256_set1_epi16(1));
  }
  static MBI_INLINE __m256i products(const uint8_t* in, __m256i w) {
    return products(all_lanes(in), all_lanes(in + ByteInputs::kSigns), w);
  }
  static MBI_INLINE __m256i all_lanes(const uint8_t* p) {
    int quad;
    __builtin_memcpy(&quad, p, sizeof quad);
    return _mm256_set1_epi32(quad);
  }
};

// A tile of one panel: two pixels' sums lie side by side.
template <int kPixels>
struct LoneByteTile {
  static constexpr bool kWhole = false;
  static constexpr int kSums = (kPixels + 1) / 2;
  i32x16 sums[kSums];
  MBI_INLINE void start() {}
  MBI_INLINE void settle() {}

  MBI_INLINE void multiply(const uint8_t* in, const ptrdiff_t (&pixels)[kPixels], const int8_t* weights, int quads) {
    using Pair = ByteTile<1, false>;
    for (; quads > 0; quads--, in += ByteInputs::kQuadBytes, weights += 64) {
      const __m256i w = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(weights));
      MBI_UNROLL for (int p = 0; p < kPixels; p++) {
        __m256i& sum = p % 2 ? sums[p / 2].b : sums[p / 2].a;
        sum = _mm256_add_epi32(sum, Pair::products(in + pixels[p], w));
      }
    }
  }
};

struct ByteTiles : PairByPair {
  static constexpr int gemm_pixels = 4, lone_pixels = 4, waiting_tiles = 8, depthwise_pixels[4] = {8, 8, 8, 4};
};

}  // namespace
}  // namespace mbinfer

#endif

namespace mbinfer {
namespace {

#ifdef MBI_SUMS_512

// Four rows of a pair of panels: of each channel four bytes side by side, which one instruction multiplies and adds up.
struct ByteColumns {
  using Weight = __m512i;
  using Lanes = __mmask16;  // bytes of a row that may be read
  static constexpr int kPanels = 2, kRows = 4;
  static Lanes lanes(bool first, bool second) { return Lanes((first ? 0x00FF : 0) | (second ? 0xFF00 : 0)); }

  static MBI_INLINE __m512i transposed(__m128i a, __m128i b, __m128i c, __m128i d) {
    const __m256i ab = _mm256_inserti128_si256(_mm256_castsi128_si256(a), b, 1),
                  cd = _mm256_inserti128_si256(_mm256_castsi128_si256(c), d, 1);
    const __m512i rows = _mm512_inserti64x4(_mm512_castsi256_si512(ab), cd, 1);
    const __m512i channels = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);  // by four
    const __m512i bytes = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    return _mm512_shuffle_epi8(_mm512_permutexvar_epi32(channels, rows), bytes);
  }
  static MBI_INLINE __m512i column(const uint8_t* const (&rows)[kRows], Lanes which) {
    auto row = [&](int r) { return _mm_maskz_loadu_epi8(which, rows[r]); };
    return transposed(row(0), row(1), row(2), row(3));
  }
  static MBI_INLINE __m512i weight(const int8_t* const (&rows)[kRows]) {
    auto row = [&](int r) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows[r])); };
    return transposed(row(0), row(1), row(2), row(3));
  }
  static __m512i outside(int zero_point) { return _mm512_set1_epi8(char(zero_point)); }
  static MBI_INLINE i32x16 multiply(__m512i column, __m512i weight, i32x16 sum) {
    return {_mm512_dpbusd_epi32(sum.v, column, weight)};
  }
};

#else

// Two rows of a panel in 16 bits, of each channel two numbers side by side, which one instruction multiplies and adds
// up.
struct ByteColumns {
  using Weight = __m256i;
  struct Lanes {};
  static constexpr int kPanels = 1, kRows = 2;
  static MBI_INLINE __m128i side_by_side(const void* a, const void* b) {
    return _mm_unpacklo_epi8(_mm_loadl_epi64(static_cast<const __m128i*>(a)),
                             _mm_loadl_epi64(static_cast<const __m128i*>(b)));
  }
  static MBI_INLINE __m256i column(const uint8_t* const (&rows)[kRows], Lanes) {
    return _mm256_cvtepu8_epi16(side_by_side(rows[0], rows[1]));
  }
  static MBI_INLINE __m256i weight(const int8_t* const (&rows)[kRows]) {
    return _mm256_cvtepi8_epi16(side_by_side(rows[0], rows[1]));
  }
  static __m256i outside(int zero_point) { return _mm256_set1_epi16(int16_t(zero_point)); }
  static MBI_INLINE i32x8 multiply(__m256i column, __m256i weight, i32x8 sum) {
    return {_mm256_add_epi32(sum.v, _mm256_madd_epi16(column, weight))};
  }
};

#endif

#ifndef MBINFER_BYTES

constexpr int kLookUp = 32;

// Of sixteenths [kFirst, kFirst + kCount) of a table of 256, the numbers at `low`, the low halves of 32 bytes; the high
// halves' bits, each the highest one of a byte of `bits`, choose one.
template <int kFirst, int kCount>
MBI_INLINE __m256i look_up(const uint8_t* table, __m256i low, const __m256i (&bits)[4]) {
  if constexpr (kCount == 1) {
    const __m128i row = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table + 16 * kFirst));
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(row), low);
  } else {
    constexpr int kHalf = kCount / 2, kBit = kCount == 2 ? 0 : kCount == 4 ? 1 : kCount == 8 ? 2 : 3;
    return _mm256_blendv_epi8(look_up<kFirst, kHalf>(table, low, bits),
                              look_up<kFirst + kHalf, kHalf>(table, low, bits), bits[kBit]);
  }
}

MBI_INLINE void look_up(const uint8_t* table, const uint8_t* in, uint8_t* out, ptrdiff_t times) {
  for (; times > 0; times--, in += kLookUp, out += kLookUp) {
    const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(in));
    const __m256i bits[4] = {_mm256_slli_epi16(x, 3), _mm256_slli_epi16(x, 2), _mm256_slli_epi16(x, 1), x};
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out),
                        look_up<0, 16>(table, _mm256_and_si256(x, _mm256_set1_epi8(15)), bits));
  }
}

#endif

}  // namespace
}  // namespace mbinfer
