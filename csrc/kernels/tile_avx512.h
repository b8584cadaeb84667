// The register tile of the matrix kernel on AVX-512, see vec.h. Included by isa.cpp only.
#pragma once

namespace mbinfer {
namespace {

using wide = f32x16;

template <class V>
struct Tiles;
template <>
struct Tiles<f32x16> {  // 32 registers: 28 sums of 7x4, 4 rows of weights, of which one waits in memory, and an input
  static constexpr int gemm_pixels[5] = {0, 9, 9, 9, 7}, gemm_vectors = 4;
  // Three or four, where that can be. Symptom: a core of Ice Lake loads fewer than one input a cycle for all lanes, and
  // multiplies two vectors meanwhile: tiles of 14x2 run at 0.70 of its peak, of 9x3 and 7x4 at 0.93. Cores that
  // multiply one vector a cycle do not care.
  static int vectors_of(int left, bool, int, int) { return left < 4 ? left : left % 3 == 0 || left == 5 ? 3 : 4; }
  static constexpr int depthwise_pixels[4] = {0, 8, 8, 8}, thin_vectors = 1, columns_ahead = 0;
  static constexpr bool weights_walk = false;
  static constexpr int prefetch_inputs[2] = {8, 24};
};
template <>
struct Tiles<f32x8> {  // one panel before or after the pairs
  static constexpr int gemm_pixels[2] = {0, 9}, gemm_vectors = 1;
  static int vectors_of(int, bool, int, int) { return 1; }
  static constexpr int depthwise_pixels[4] = {0, 8, 8, 8}, thin_vectors = 1, columns_ahead = 0;
  static constexpr bool weights_walk = false;
  static constexpr int prefetch_inputs[2] = {8, 24};
};

template <class W>
struct Dense {
  using V = f32x16;
  static constexpr int vectors = 6;
};
template <>
struct Dense<Half> {  // conversions to 512 bits take 1.33 cycles on Zen 4, those to 256 bits half of one
  using V = f32x8;
  static constexpr int vectors = 12;
};

constexpr int kTurn = 1;  // a tile's loop is bound by its multiplications as it is

// How far the pixels of a tile are from its first one. Symptom: nine distances do not fit in the general registers;
// GCC loads them again for each input, or keeps them in vector registers. Remedy: those of odd pixels alone; an address
// scales them by 2, 4 or 8.
template <int kPixels>
struct Distances {
  static constexpr int kOdd = kPixels / 2;
  ptrdiff_t odd[kOdd + 1];

  MBI_INLINE explicit Distances(const ptrdiff_t (&pixels)[kPixels]) {
    MBI_UNROLL for (int i = 0; i < kOdd; i++) odd[i] = pixels[2 * i + 1];
  }
  MBI_INLINE void keep() {  // in their registers
    if constexpr (kOdd > 0) {
      MBI_UNROLL for (int i = 0; i < kOdd; i++) odd[i] = pace(odd[i]);
    }
  }
  MBI_INLINE ptrdiff_t operator[](int p) const {
    int scale = 1;
    for (; p && p % 2 == 0; p /= 2) scale *= 2;
    return p ? odd[p / 2] * scale : 0;
  }
};

template <class V, int kPixels, int kVectors, bool kWhole>
struct Tile {
  static constexpr int kParts = parts_of<V>(kVectors);
  V sums[kPixels][kVectors];
  template <class W>
  static constexpr int kMostListed = 0;

  template <class W>
  MBI_INLINE void multiply(const float* in, ptrdiff_t (&pixels)[kPixels], const W* w, ptrdiff_t (&parts)[kParts],
                           int k) {
    Distances<kPixels> distances(pixels);
    do {
      distances.keep();
      V row[kVectors];
      MBI_UNROLL for (int n = 0; n < kVectors; n++) row[n] = V::load(row_of<V, kVectors>(w, parts, n));
      MBI_UNROLL for (int p = 0; p < kPixels; p++) {
        const V x = V::splat(*at(in, distances[p]));
        MBI_UNROLL for (int n = 0; n < kVectors; n++) sums[p][n] = fma(row[n], x, sums[p][n]);
      }
      in++, w += kRow;
    } while (--k > 0);
  }

  MBI_INLINE void settle() {
    MBI_UNROLL for (int p = 0; p < kPixels; p++) {
      MBI_UNROLL for (int n = 0; n < kVectors; n++) sums[p][n] = in_turn(sums[p][n]);
    }
  }

  MBI_INLINE V take(int p, int n) const { return in_turn(sums[p][n]); }
};

}  // namespace
}  // namespace mbinfer
