// The register tile of the matrix kernel on AVX-512, see vec.h. Included by isa.cpp only.
#pragma once

namespace mbinfer {
namespace {

using wide = f32x16;

template <class V>
struct Tiles;
template <>
struct Tiles<f32x16> {  // 32 registers: 28 sums of 14x2 or 7x4, rows of weights and an input
  static constexpr int gemm_pixels[5] = {0, 14, 14, 9, 7}, gemm_vectors = 4;
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
  static constexpr int gemm_pixels[2] = {0, 14}, gemm_vectors = 1;
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

// a * *x + sum. Symptom: the conversions of float16 weights need a port of the multiply-adds, and where inputs are
// broadcast by instructions of their own, Zen 4 gives the ports out unevenly: 28 multiply-adds take 29.3 cycles, 14
// take 16.7. Remedy: each multiply-add broadcasts its input itself, which GCC does only for an input that it uses
// once: 28.0 and 14.0 cycles. Gain: 49 pixels x 160 inputs x 960 outputs 0.91 of the time, MobileNetV2 and V1 0.93 to
// 0.97.
inline f32x16 fma_broadcast(f32x16 a, const float* x, f32x16 sum) {
#ifdef MBINFER_SIMDE
  return fma(a, f32x16::splat(*x), sum);
#else
  asm("vfmadd231ps %2%{1to16%}, %1, %0" : "+v"(sum.v) : "v"(a.v), "m"(*x));
  return sum;
#endif
}
inline f32x8 fma_broadcast(f32x8 a, const float* x, f32x8 sum) { return fma(a, f32x8::splat(*x), sum); }

// How far the pixels of a tile are from its first one. Symptom: fourteen distances do not fit in the general registers;
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
    constexpr bool kWidened = sizeof(W) < sizeof(float);
    Distances<kPixels> distances(pixels);
    do {
      distances.keep();
      V row[kVectors];
      MBI_UNROLL for (int n = 0; n < kVectors; n++) row[n] = V::load(row_of<V, kVectors>(w, parts, n));
      MBI_UNROLL for (int p = 0; p < kPixels; p++) {
        const float* x = at(in, distances[p]);
        MBI_UNROLL for (int n = 0; n < kVectors; n++) sums[p][n] =
            kWidened ? fma_broadcast(row[n], x, sums[p][n]) : fma(row[n], V::splat(*x), sums[p][n]);
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
