// The register tile of the matrix kernel on NEON, see vec.h. Included by isa.cpp only.
#pragma once

namespace mbinfer {
namespace {

// Inputs of a tap: of the first pixel of all, how far the next one's are behind it, and its weights, so many rows of 64
// bytes.
struct TapInputs {
  const void* in;
  ptrdiff_t stride;
  const void* weights;
  ptrdiff_t rows;
};

}  // namespace
}  // namespace mbinfer

#ifdef __ARM_FEATURE_DOTPROD
#include "kernels/tile_by_lane.h"
#endif

namespace mbinfer {
namespace {

using wide = f32x8;

template <class V>
struct Tiles;
template <>
struct Tiles<f32x8> {
#ifdef __aarch64__  // 32 registers of 4 lanes: 20 sums of 5x2, 4 of weights, 5 of inputs
  static constexpr int gemm_pixels[3] = {0, 8, 5}, gemm_vectors = 2;
  static int vectors_of(int left, bool pair, int, int) { return left >= 2 && pair ? 2 : 1; }
  static constexpr int depthwise_pixels[4] = {0, 8, 4, 4}, thin_vectors = 1, columns_ahead = 2;
  static constexpr bool weights_walk = false;
  static constexpr int prefetch_inputs[2] = {16, 48};
#else  // 16: 12 sums of 6x1, 2 of weights, an input
  static constexpr int gemm_pixels[2] = {0, 6}, gemm_vectors = 1;
  static int vectors_of(int, bool, int, int) { return 1; }
  static constexpr int depthwise_pixels[4] = {0, 4, 2, 2}, thin_vectors = 1, columns_ahead = 0;
  static constexpr bool weights_walk = false;
  static constexpr int prefetch_inputs[2] = {16, 48};
#endif
};

template <class W>
struct Dense {
  using V = f32x8;
#ifdef __aarch64__
  static constexpr int vectors = 8;
#else
  static constexpr int vectors = 3;
#endif
};

constexpr int kTurn = 1;  // any number of inputs: aarch64 takes four by lane and the rest one by one

template <class V, int kPixels, int kVectors, bool kWhole>
struct Tile {
  static constexpr int kParts = parts_of<V>(kVectors);
  V sums[kPixels][kVectors];

  // Not on the cores before those with dot products, of which many issue in order: a load of four registers keeps them
  // from multiplying, where GCC lays single ones between multiply-adds.
#ifdef __ARM_FEATURE_DOTPROD
  using Inputs = TapInputs;
  template <class W>
  static constexpr int kMostListed =
      sizeof(W) == sizeof(float) && (kVectors == 2 || kVectors == Dense<W>::vectors) ? 32 : 0;

  MBI_INLINE void listed(const float* start, ptrdiff_t more, const TapInputs* taps, const TapInputs* end,
                         ptrdiff_t pixel, ptrdiff_t ahead) {
    int32x4_t all[2 * kPixels * kVectors];
    if constexpr (kVectors > 2)
      sums_by_lane<kFloatsOfPairs, 4>(start, 2 * kPanel * sizeof(float), taps, end, pixel, ahead, all);
    else if (__builtin_expect(ahead != 0, 0))
      sums_by_lane<kFloatsAhead, kPixels>(start, more, taps, end, pixel, ahead, all);
    else
      sums_by_lane<kFloatsByLane, kPixels>(start, more, taps, end, pixel, 0, all);
    MBI_UNROLL for (int p = 0; p < kPixels; p++) {
      MBI_UNROLL for (int n = 0; n < kVectors; n++) {
        const int32x4_t* of_panel = all + 2 * (p * kVectors + n);
        sums[p][n] = {vreinterpretq_f32_s32(of_panel[0]), vreinterpretq_f32_s32(of_panel[1])};
      }
    }
  }
#else
  template <class W>
  static constexpr int kMostListed = 0;
#endif

#ifdef __aarch64__
  // Symptom: a scalar that meets whole vectors costs a load into all lanes for each input. Remedy: four inputs of a
  // pixel in one load, each multiplied in by lane, and a pointer for each pair of panels, so that loads need no other
  // arithmetic. Gain: MobileNetV2 0.35@96 7.39 -> 7.02 million instructions by the pointers. Not on armv7, which has no
  // fused multiply-add by lane.
  template <int kLane, class W>
  MBI_INLINE void by_lane(const float32x4_t (&x)[kPixels], const W* const (&rows)[kParts]) {
    V row[kVectors];
    MBI_UNROLL for (int n = 0; n < kVectors; n++) row[n] =
        V::load(rows[kParts == kVectors ? n : n / 2] + kLane * kRow + (kParts == kVectors ? 0 : n % 2 * kPanel));
    MBI_UNROLL for (int p = 0; p < kPixels; p++) {
      MBI_UNROLL for (int n = 0; n < kVectors; n++)
          sums[p][n] = {vfmaq_laneq_f32(sums[p][n].lo, row[n].lo, x[p], kLane),
                        vfmaq_laneq_f32(sums[p][n].hi, row[n].hi, x[p], kLane)};
    }
  }
#endif

  template <class W>
  MBI_INLINE void multiply(const float* in, ptrdiff_t (&pixels)[kPixels], const W* w, ptrdiff_t (&parts)[kParts],
                           int k) {
#ifdef __aarch64__
    const W* rows[kParts];
    MBI_UNROLL for (int i = 0; i < kParts; i++) rows[i] = weights_at<W>(w, parts[i]);
    for (; k >= 4; k -= 4, in += 4, w += 4 * kRow) {
      float32x4_t x[kPixels];
      MBI_UNROLL for (int p = 0; p < kPixels; p++) x[p] = vld1q_f32(at(in, pixels[p]));
      by_lane<0>(x, rows);
      by_lane<1>(x, rows);
      by_lane<2>(x, rows);
      by_lane<3>(x, rows);
      MBI_UNROLL for (int i = 0; i < kParts; i++) rows[i] += 4 * kRow;
    }
#endif
    for (; k > 0; k--, in++, w += kRow) {
      V row[kVectors];
      MBI_UNROLL for (int n = 0; n < kVectors; n++) row[n] = V::load(row_of<V, kVectors>(w, parts, n));
      MBI_UNROLL for (int p = 0; p < kPixels; p++) {
        const V x = V::splat(*at(in, pixels[p]));
        MBI_UNROLL for (int n = 0; n < kVectors; n++) sums[p][n] = fma(row[n], x, sums[p][n]);
      }
    }
  }

  MBI_INLINE void settle() {}
  MBI_INLINE V take(int p, int n) const { return sums[p][n]; }
};

}  // namespace
}  // namespace mbinfer
