// The tile that multiplies bytes where the CPU adds four products to a sum in one instruction (VNNI), see vec_u8.h.
// Included by vec_avx2_u8.h only.
#pragma once

#if defined(MBINFER_SIMDE) && defined(MBINFER_BYTES)
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#endif

namespace mbinfer {
namespace {

struct ByteInputs {  // unsigned inputs meet signed weights, in 32 bits
  static constexpr bool kPrepared = false, kCorrected = false, kSigned = false, kAnyWeight = true;
  static constexpr int kQuadBytes = 4, kMostQuads = 0, kRoom = 0;
};

inline void prepare(const uint8_t*, int, uint8_t*) {}
inline int correction(const uint8_t*, int) { return 0; }

inline int quad_at(const uint8_t* p) {
  int quad;
  __builtin_memcpy(&quad, p, sizeof quad);
  return quad;
}

#ifdef MBI_SUMS_512

template <int kPixels, bool kFull>
struct ByteTile {
  static constexpr bool kWhole = false;
  // An instruction waits for the one before it that adds to the same sum: few pixels have several sums each.
  static constexpr int kChains = kPixels == 1 ? 4 : kPixels <= 3 ? 2 : 1;
  i32x16 sums[kPixels];
  MBI_INLINE void start() {}
  MBI_INLINE void settle() {}

  MBI_INLINE void multiply(const uint8_t* in, const ptrdiff_t (&pixels)[kPixels], const int8_t* weights, int quads) {
    if (kChains > 1 && quads >= kChains) {
      __m512i more[kChains - 1 ? kChains - 1 : 1][kPixels];
      MBI_UNROLL for (int i = 0; i + 1 < kChains; i++) {
        MBI_UNROLL for (int p = 0; p < kPixels; p++) more[i][p] = _mm512_setzero_si512();
      }
      for (; quads >= kChains; quads -= kChains, in += 4 * kChains, weights += 64 * kChains) {
        MBI_UNROLL for (int i = 0; i < kChains; i++) {
          const __m512i both = _mm512_loadu_si512(weights + 64 * i);
          MBI_UNROLL for (int p = 0; p < kPixels; p++) {
            __m512i& sum = i ? more[i - 1][p] : sums[p].v;
            sum = _mm512_dpbusd_epi32(sum, _mm512_set1_epi32(quad_at(in + pixels[p] + 4 * i)), both);
          }
        }
      }
      MBI_UNROLL for (int i = 0; i + 1 < kChains; i++) {
        MBI_UNROLL for (int p = 0; p < kPixels; p++) sums[p].v = _mm512_add_epi32(sums[p].v, more[i][p]);
      }
    }
    for (; quads > 0; quads--, in += 4, weights += 64) {
      const __m512i both = _mm512_loadu_si512(weights);
      MBI_UNROLL for (int p = 0; p < kPixels; p++) sums[p].v =
          _mm512_dpbusd_epi32(sums[p].v, _mm512_set1_epi32(quad_at(in + pixels[p])), both);
    }
  }
};

struct ByteTiles {
  static constexpr int gemm_pixels = 8, depthwise_pixels[4] = {0, 8, 8, 4};
};

#else

inline __m256i add_products(__m256i sum, __m256i inputs, __m256i weights) {
#ifdef __AVXVNNI__
  return _mm256_dpbusd_avx_epi32(sum, inputs, weights);
#else
  return _mm256_dpbusd_epi32(sum, inputs, weights);
#endif
}

template <int kPixels, bool kFull>
struct ByteTile {
  static constexpr bool kWhole = false;
  i32x16 sums[kPixels];
  MBI_INLINE void start() {}
  MBI_INLINE void settle() {}

  MBI_INLINE void multiply(const uint8_t* in, const ptrdiff_t (&pixels)[kPixels], const int8_t* weights, int quads) {
    for (; quads > 0; quads--, in += 4, weights += 64) {
      const __m256i first = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(weights)),
                    second = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(weights + 32));
      MBI_UNROLL for (int p = 0; p < kPixels; p++) {
        const __m256i x = _mm256_set1_epi32(quad_at(in + pixels[p]));
        sums[p].a = add_products(sums[p].a, x, first);
        sums[p].b = add_products(sums[p].b, x, second);
      }
    }
  }
};

struct ByteTiles {  // 16 registers: 12 sums, 2 of weights, an input
  static constexpr int gemm_pixels = 6, depthwise_pixels[4] = {0, 8, 8, 4};
};

#endif

}  // namespace
}  // namespace mbinfer
