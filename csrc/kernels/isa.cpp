// Every kernel over one instruction set; compiled once for each, with that set's compiler flags. No C++ library here,
// and one exported symbol: an inline function of a library compiled with AVX could be linked into code for every CPU.
#include "kernels/kernels.h"

#if defined(__clang__)
#define MBI_UNROLL _Pragma("clang loop unroll(full)")
#else
#define MBI_UNROLL _Pragma("GCC unroll 32")
#endif

#define MBI_INLINE inline __attribute__((always_inline))

#if defined(__AVX2__)
#include "kernels/vec_avx2.h"
#elif defined(__ARM_NEON)
#include "kernels/vec_neon.h"
#else
#error "isa.cpp is compiled for an instruction set with a vec_<isa>.h"
#endif

namespace mbinfer {
namespace {

// The floats that lie so many bytes after p.
inline const float* at(const void* p, ptrdiff_t bytes) {
  return reinterpret_cast<const float*>(static_cast<const char*>(p) + bytes);
}
inline float* at(void* p, ptrdiff_t bytes) { return reinterpret_cast<float*>(static_cast<char*>(p) + bytes); }

inline f32x8 clamp(f32x8 x, float lo, float hi) { return less(splat(hi), greater(splat(lo), x)); }

inline f32x8 activate(f32x8 x, const ActivationArgs& a) {
  if (a.hard_swish) return mul(x, mul(clamp(add(x, splat(3.0f)), 0.0f, 6.0f), splat(1.0f / 6.0f)));
  return clamp(x, a.lo, a.hi);
}

// The same for a tile, its bounds loaded once.
template <int kPixels, int kPanels>
MBI_INLINE void activate_all(f32x8 (&x)[kPixels][kPanels], const ActivationArgs& a) {
  const f32x8 lo = splat(a.lo), hi = splat(a.hi);
  if (a.hard_swish) {
    MBI_UNROLL for (int p = 0; p < kPixels; p++) {
      MBI_UNROLL for (int n = 0; n < kPanels; n++) x[p][n] = activate(x[p][n], a);
    }
  } else {
    MBI_UNROLL for (int p = 0; p < kPixels; p++) {
      MBI_UNROLL for (int n = 0; n < kPanels; n++) x[p][n] = less(hi, greater(lo, x[p][n]));
    }
  }
}

}  // namespace
}  // namespace mbinfer

#include "kernels/convert.h"
#include "kernels/depthwise.h"
#include "kernels/gemm.h"
#include "kernels/rows.h"

namespace mbinfer {
namespace {

constexpr int kTilePixels = kGemmPixels[kGemmPanels > 1 ? 2 : 1], kTilePanels = kGemmPanels > 1 ? 2 : 1;

long multiply_adds(const float* values, float* sums, int rounds) {
  constexpr int kChains = kTilePixels * kTilePanels;
  static_assert(kChains * 8 <= kPeakSums, "room for the sums");
  const f32x8 a = load(values), b = load(values + 8);
  f32x8 chains[kChains];
  MBI_UNROLL for (int i = 0; i < kChains; i++) chains[i] = load(sums + i * 8);
  for (int r = 0; r < rounds; r++) {
    MBI_UNROLL for (int i = 0; i < kChains; i++) chains[i] = fma(a, b, chains[i]);
  }
  MBI_UNROLL for (int i = 0; i < kChains; i++) store(sums + i * 8, chains[i]);
  return 8L * kChains * rounds;
}

}  // namespace

#if defined(__AVX2__)
const KernelTable kAvx2Kernels = {
    "avx2", {{kTilePixels, kTilePanels}, gemm, depthwise, pool, reduce, add, softmax_f32}, convert, multiply_adds};
#else
const KernelTable kNeonKernels = {
    "neon", {{kTilePixels, kTilePanels}, gemm, depthwise, pool, reduce, add, softmax_f32}, convert, multiply_adds};
#endif

}  // namespace mbinfer
