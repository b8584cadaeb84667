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

inline f32x8 clamp(f32x8 x, float lo, float hi) { return less(splat(hi), greater(splat(lo), x)); }

inline f32x8 activate(f32x8 x, const ActivationArgs& a) {
  if (a.hard_swish) return mul(mul(x, clamp(add(x, splat(3.0f)), 0.0f, 6.0f)), splat(1.0f / 6.0f));
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

#include "kernels/depthwise.h"
#include "kernels/gemm.h"

namespace mbinfer {
namespace {

void pool(const PoolArgs* a) {
  for (int panel = 0; panel < a->panels; panel++) {
    for (int x = a->x0; x < a->x1; x++) {
      const int first = x * a->stride - a->pad_left;
      const int begin = first < 0 ? 0 : first,
                end = first + a->kernel_w < a->in_width ? first + a->kernel_w : a->in_width;
      int seen = 0;
      f32x8 result = splat(0.0f);
      for (int ky = 0; ky < a->kernel_h; ky++) {
        if (!a->rows[ky]) continue;
        for (int ix = begin; ix < end; ix++, seen++) {
          f32x8 v = load(a->rows[ky] + ix * a->in_stride + panel * 8);
          result = !seen ? v : a->average ? add(result, v) : greater(v, result);
        }
      }
      if (a->average) result = mul(result, splat(1.0f / float(a->divisor ? a->divisor : seen)));
      store(a->out + (x - a->x0) * a->out_stride + panel * 8, activate(result, a->activation));
    }
  }
}

void reduce(const ReduceArgs* a) {
  for (int panel = 0; panel < a->panels; panel++) {
    f32x8 sum = a->first ? splat(0.0f) : load(a->sums + panel * 8);
    const float* in = a->in + panel * 8;
    for (int p = 0; p < a->pixels; p++, in += a->in_stride) sum = add(sum, load(in));
    store(a->sums + panel * 8, a->last ? activate(mul(sum, splat(a->factor)), a->activation) : sum);
  }
}

void add(const AddArgs* a) {
  for (int p = 0; p < a->pixels; p++)
    for (int c = 0; c < a->panels * 8; c += 8)
      store(a->out + p * a->out_stride + c,
            activate(add(load(a->a + p * a->a_stride + c), load(a->b + p * a->b_stride + c)), a->activation));
}

// A period's means and factors stay in registers.
template <int kVectors>
MBI_INLINE int normalise_periods(const NormaliseArgs& a) {
  f32x8 mean[kVectors], scale[kVectors];
  MBI_UNROLL for (int v = 0; v < kVectors; v++) mean[v] = load(a.mean + v * 8), scale[v] = load(a.scale + v * 8);
  int i = 0;
  for (; i + kVectors * 8 <= a.count; i += kVectors * 8) {
    MBI_UNROLL for (int v = 0; v < kVectors; v++)
        store(a.out + i + v * 8, mul(sub(widen_u8(a.in + i + v * 8), mean[v]), scale[v]));
  }
  return i;
}

void normalise(const NormaliseArgs* a) {
  int i = a->period == 24 ? normalise_periods<3>(*a) : a->period == 8 ? normalise_periods<1>(*a) : 0, j = 0;
  for (; i + 8 <= a->count; i += 8, j = j + 8 == a->period ? 0 : j + 8)
    store(a->out + i, mul(sub(widen_u8(a->in + i), load(a->mean + j)), load(a->scale + j)));
  for (; i < a->count; i++, j++) a->out[i] = (float(a->in[i]) - a->mean[j]) * a->scale[j];
}

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
const KernelTable kAvx2Kernels = {"avx2", kTilePixels, kTilePanels, gemm,      depthwise,
                                  pool,   reduce,      add,         normalise, multiply_adds};
#else
const KernelTable kNeonKernels = {"neon", kTilePixels, kTilePanels, gemm,      depthwise,
                                  pool,   reduce,      add,         normalise, multiply_adds};
#endif

}  // namespace mbinfer
