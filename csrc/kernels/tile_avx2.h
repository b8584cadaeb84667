// The register tile of the matrix kernel on AVX2, see vec.h. Included by isa.cpp only.
#pragma once

namespace mbinfer {
namespace {

using wide = f32x8;

template <class V>
struct Tiles;
template <>
struct Tiles<f32x8> {  // 16 registers: 12 sums of 6x2, 2 rows of weights and an input
  static constexpr int gemm_pixels[4] = {0, 12, 6, 4}, gemm_vectors = 3;
  // Tiles of few pixels want three vectors, as a dense layer wants many.
  static int vectors_of(int left, bool pair, int pixels, int tiles) {
    const bool few = pixels < gemm_pixels[2] * tiles;
    return left == 3 || (few && (left >= 5 || (left == 4 && !pair))) ? 3 : left >= 2 && pair ? 2 : 1;
  }
  static constexpr int depthwise_pixels[4] = {0, 8, 8, 4}, thin_vectors = 2, columns_ahead = 0;
  static constexpr bool weights_walk = true;
  static constexpr int prefetch_inputs[2] = {16, 48};
};
template <class W>
struct Dense {
  using V = f32x8;
  static constexpr int vectors = 12;
};

// Symptom: beside a busy hardware thread of the same core, which then starts three instructions a cycle for each in
// turn, the 23 instructions of an input of a 6x2 tile take eight cycles where its 12 multiplications take six; and GCC,
// left to unroll four inputs, loads far ahead and spills sums (0.65 of the speed). Remedy: four inputs in one turn of
// the loop, with every address and the order kept from the compiler by the functions below: 21 instructions an input.
// Gain: 6x2 tiles of 16 to 32 inputs 1.03 to 1.05 of the speed; networks within 1 % on an idle core, and beside a busy
// thread V1 0.91, MobileNetV2 1.4@224 0.93, 1.0@224 0.94 to 0.97, 0.35@96 0.98 of the time.
constexpr int kTurn = 4;

// A compiler barrier: keeps GCC from hoisting later loads, which would spill the sums.
inline void loads_stay() { asm volatile("" : : : "memory"); }

template <class V, int kPixels, int kVectors, bool kWhole>
struct Tile {
  static constexpr bool kFours = kWhole && kPixels > 1;  // one pixel waits for its weights, whatever the loop is
  static constexpr int kInputs = kFours ? kTurn : 1, kParts = parts_of<V>(kVectors);
  V sums[kPixels][kVectors];
  template <class W>
  static constexpr int kMostListed = 0;

  template <class W>
  MBI_INLINE void multiply(const float* in, ptrdiff_t (&pixels)[kPixels], const W* w, ptrdiff_t (&parts)[kParts],
                           int k) {
    do {
      turn(in, pixels, w, parts);
      k -= kInputs, in += kInputs, w += kInputs * kRow;
    } while (k > 0);
  }

  template <class W>
  MBI_INLINE void turn(const float* in, ptrdiff_t (&pixels)[kPixels], const W* w, ptrdiff_t (&parts)[kParts]) {
    if (kPixels > 1) {  // or GCC gives each pixel, and every input of it in a turn, a register of its own
      MBI_UNROLL for (int p = 1; p < kPixels; p++) pixels[p] = pace(pixels[p]);
      MBI_UNROLL for (int i = 1; i < kParts; i++) parts[i] = pace(parts[i]);
    }
    MBI_UNROLL for (int i = 0; i < kInputs; i++) {
      if (i) loads_stay();
      auto weights = [&](int n) { return V::load(row_of<V, kVectors>(w + i * kRow, parts, n)); };
      if constexpr (kPixels == 1) {  // each as it is used: twelve that are converted first would be spilled
        const V x = V::splat(*in);
        MBI_UNROLL for (int n = 0; n < kVectors; n++) sums[0][n] = fma(weights(n), x, sums[0][n]);
        continue;
      }
      V row[kVectors];
      MBI_UNROLL for (int n = 0; n < kVectors; n++) row[n] = weights(n);
      MBI_UNROLL for (int p = 0; p < kPixels; p++) {
        const V x = V::splat(*at(in + i, pixels[p]));
        MBI_UNROLL for (int n = 0; n < kVectors; n++) sums[p][n] =
            kFours ? fma_in_place(row[n], x, sums[p][n]) : fma(row[n], x, sums[p][n]);
      }
    }
  }

  MBI_INLINE void settle() {
    if (!kFours) return;
    MBI_UNROLL for (int p = 0; p < kPixels; p++) {
      MBI_UNROLL for (int n = 0; n < kVectors; n++) sums[p][n] = in_turn(sums[p][n]);
    }
  }

  MBI_INLINE V take(int p, int n) const { return kFours ? in_turn(sums[p][n]) : sums[p][n]; }
};

}  // namespace
}  // namespace mbinfer
