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
struct ByteCorrection {  // none
  void add(const uint8_t*, int) {}
  int total() const { return 0; }
};

inline int quad_at(const uint8_t* p) {
  int quad;
  __builtin_memcpy(&quad, p, sizeof quad);
  return quad;
}

#ifdef MBI_SUMS_512

// Adds four products to each sum. Symptom: where others are added to what a tile makes, GCC moves each sum to another
// register and back for every instruction, and spills some of 28. Remedy: the sum is one operand, read and written.
// Gain: bottleneck blocks of 14 x 14 with a residual 0.71 of the time on Ice Lake.
MBI_INLINE __m512i add_products(__m512i sum, __m512i inputs, __m512i weights) {
#ifdef MBINFER_SIMDE
  return _mm512_dpbusd_epi32(sum, inputs, weights);
#else
  asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(inputs), "v"(weights));
  return sum;
#endif
}

// add_quad(sums), so many times. An instruction waits for the one before it that adds to the same sum: few registers
// have several sums each.
template <int kCount, class AddQuad>
MBI_INLINE void add_quads(i32x16 (&sums)[kCount], int quads, AddQuad&& add_quad) {
  constexpr int kChains = kCount == 1 ? 4 : kCount <= 3 ? 2 : 1;
  if (kChains > 1 && quads >= kChains) {
    i32x16 more[kChains > 1 ? kChains - 1 : 1][kCount];
    MBI_UNROLL for (int i = 0; i + 1 < kChains; i++) {
      MBI_UNROLL for (int n = 0; n < kCount; n++) more[i][n].v = _mm512_setzero_si512();
    }
    for (; quads >= kChains; quads -= kChains) {
      add_quad(sums);
      MBI_UNROLL for (int i = 0; i + 1 < kChains; i++) add_quad(more[i]);
    }
    MBI_UNROLL for (int i = 0; i + 1 < kChains; i++) {
      MBI_UNROLL for (int n = 0; n < kCount; n++) sums[n].v = _mm512_add_epi32(sums[n].v, more[i][n].v);
    }
  }
  for (; quads > 0; quads--) add_quad(sums);
}

template <int kPixels, bool kFull>
struct ByteTile {
  static constexpr bool kWhole = false;
  i32x16 sums[kPixels];
  MBI_INLINE void start() {}
  MBI_INLINE void settle() {}

  MBI_INLINE void multiply(const uint8_t* in, const ptrdiff_t (&pixels)[kPixels], const int8_t* weights, int quads) {
    Distances<kPixels> distances(pixels);
    add_quads(sums, quads, [&](i32x16(&to)[kPixels]) __attribute__((always_inline)) {
      distances.keep();
      const __m512i both = _mm512_loadu_si512(weights);
      MBI_UNROLL for (int p = 0; p < kPixels; p++) to[p].v =
          add_products(to[p].v, _mm512_set1_epi32(quad_at(in + distances[p])), both);
      in += 4, weights += 64;
    });
  }
};

// A tile of several pairs that follow one another. Symptom: a core of Ice Lake loads fewer than one input a cycle for
// all lanes, and multiplies two vectors meanwhile: tiles of one pair run at 0.4 of its peak, of three and four at 0.94.
// Remedy: these, wherever panels are many. Gain: MobileNetV1 0.70 of the time, MobileNetV2 1.0@224 layerwise 0.86.
template <int kPixels, int kPairs>
struct WideByteTile {
  i32x16 sums[kPairs][kPixels];
  ptrdiff_t pairs[kPairs];  // how far each one's weights are from the first one's

  MBI_INLINE explicit WideByteTile(ptrdiff_t pair_bytes) {
    MBI_UNROLL for (int n = 0; n < kPairs; n++) pairs[n] = n * pair_bytes;
  }

  MBI_INLINE void multiply(const uint8_t* in, const ptrdiff_t (&pixels)[kPixels], const int8_t* weights, int quads) {
    Distances<kPixels> distances(pixels);
    Distances<kPairs> parts(pairs);
    for (; quads > 0; quads--, in += 4, weights += 64) {
      distances.keep();
      parts.keep();
      __m512i row[kPairs];
      MBI_UNROLL for (int n = 0; n < kPairs; n++) row[n] = _mm512_loadu_si512(weights + parts[n]);
      MBI_UNROLL for (int p = 0; p < kPixels; p++) {
        const __m512i x = _mm512_set1_epi32(quad_at(in + distances[p]));
        MBI_UNROLL for (int n = 0; n < kPairs; n++) sums[n][p].v = add_products(sums[n][p].v, x, row[n]);
      }
    }
  }
};

// A tile of one panel: two pixels' sums lie side by side.
template <int kPixels>
struct LoneByteTile {
  static constexpr bool kWhole = false;
  static constexpr int kCount = (kPixels + 1) / 2;
  i32x16 sums[kCount];
  MBI_INLINE void start() {}
  MBI_INLINE void settle() {}

  MBI_INLINE void multiply(const uint8_t* in, const ptrdiff_t (&pixels)[kPixels], const int8_t* weights, int quads) {
    add_quads(sums, quads, [&](i32x16(&to)[kCount]) __attribute__((always_inline)) {
      const __m512i twice = _mm512_broadcast_i64x4(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(weights)));
      MBI_UNROLL for (int i = 0; i < kCount; i++) {
        __m512i x = _mm512_set1_epi32(quad_at(in + pixels[2 * i]));
        if (2 * i + 1 < kPixels)
          x = _mm512_mask_set1_epi32(x, 0xFF00, quad_at(in + pixels[2 * i + (2 * i + 1 < kPixels)]));
        to[i].v = add_products(to[i].v, x, twice);
      }
      in += 4, weights += 64;
    });
  }
};

struct ByteTiles {  // of one pair where a node has no more
  static constexpr int gemm_pixels = 7, lone_pixels = 8, waiting_tiles = 1, depthwise_pixels[4] = {8, 8, 8, 4};
  static constexpr int wide_pixels = 7, wide_pairs = 4;
  static int pairs_of(int left) { return Tiles<f32x16>::vectors_of(left, true, 0, 0); }
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

struct ByteTiles : PairByPair {  // 16 registers: 12 sums, 2 of weights, an input
  static constexpr int gemm_pixels = 6, lone_pixels = 0, waiting_tiles = 1, depthwise_pixels[4] = {8, 8, 8, 4};
};

#endif

}  // namespace
}  // namespace mbinfer
