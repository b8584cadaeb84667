// Every kernel over one instruction set; compiled once for each, with that set's compiler flags. No C++ library here,
// and one exported symbol: an inline function of a library compiled with AVX could be linked into code for every CPU.
#include "kernels/kernels.h"

#if defined(__clang__)
#define MBI_UNROLL _Pragma("clang loop unroll(full)")
#else
#define MBI_UNROLL _Pragma("GCC unroll 32")
#endif

#define MBI_INLINE inline __attribute__((always_inline))

#include "kernels/panels.h"

#if defined(__AVX512F__) || (defined(MBINFER_SIMDE) && !defined(MBINFER_BYTES))
#include "kernels/vec_avx512.h"
//
#include "kernels/tile_avx512.h"
#include "kernels/vec_avx2_u8.h"
#elif defined(__AVX2__)
#include "kernels/vec_avx2.h"
//
#include "kernels/tile_avx2.h"
#include "kernels/vec_avx2_u8.h"
#elif defined(__ARM_NEON)
#include "kernels/vec_neon.h"
//
#include "kernels/tile_neon.h"
#include "kernels/vec_neon_u8.h"
#else
#error "isa.cpp is compiled for an instruction set that has a leaf, see kernels/vec.h"
#endif

#include "kernels/vectors.h"
//
#include "kernels/finish_u8.h"
//
#include "kernels/block_u8.h"
#include "kernels/gemm_u8.h"
//
#include "kernels/depthwise_u8.h"
#include "kernels/rows_u8.h"
#if defined(__aarch64__) || (defined(__AVX2__) && !defined(MBINFER_BYTES))
#include "kernels/lookup_u8.h"
#endif

// Some depthwise convolutions in another order, several products at a time.
#if defined(__ARM_FEATURE_DOTPROD)
#include "kernels/filter_sdot_u8.h"
#elif defined(__aarch64__)
#include "kernels/filter_smull_u8.h"
#elif defined(MBI_SUMS_512)
#include "kernels/filter_vnni_u8.h"
#elif defined(__AVX2__)
#include "kernels/filter_madd_u8.h"
#endif
#if defined(__aarch64__) || defined(__AVX2__)
#include "kernels/depthwise_3x3_u8.h"
#else
namespace mbinfer {
namespace {
constexpr auto depthwise_3x3_u8 = depthwise_u8;
}
}  // namespace mbinfer
#endif

namespace mbinfer {
namespace {

constexpr Kernels kBytes = {{ByteTiles::gemm_pixels, 2},
                            gemm_u8,
                            depthwise_3x3_u8,
                            pool_u8,
                            reduce_u8,
                            add_u8,
                            pair_u8,
                            resize_u8,
                            softmax_u8,
                            nullptr};

}  // namespace
}  // namespace mbinfer

#ifdef MBINFER_BYTES  // this unit has the kernels of bytes alone, for the table of another one, see dispatch.cpp

namespace mbinfer {

#if defined(MBINFER_SIMDE)
const Kernels kSimdevnniKernels = kBytes;
#elif defined(__AVX512VNNI__)
const Kernels kAvx512vnniKernels = kBytes;
#else
const Kernels kAvxvnniKernels = kBytes;
#endif

}  // namespace mbinfer

#else

#include "kernels/curves.h"
//
#include "kernels/convert_u8.h"
//
#include "kernels/convert.h"
#include "kernels/depthwise.h"
#include "kernels/gemm.h"
#include "kernels/norm.h"
#include "kernels/rows.h"

namespace mbinfer {
namespace {

constexpr int kTileVectors = Tiles<wide>::gemm_vectors > 1 ? 2 : 1,
              kTilePixels = Tiles<wide>::gemm_pixels[kTileVectors];

long multiply_adds(const float* values, float* sums, int rounds) {
  constexpr int kChains = kTilePixels * kTileVectors;
  static_assert(kChains * kLanes<wide> <= kPeakSums && 2 * kLanes<wide> <= kPeakValues, "room for all");
  const wide a = wide::load(values), b = wide::load(values + kLanes<wide>);
  wide chains[kChains];
  MBI_UNROLL for (int i = 0; i < kChains; i++) chains[i] = wide::load(sums + i * kLanes<wide>);
  for (int r = 0; r < rounds; r++) {
    MBI_UNROLL for (int i = 0; i < kChains; i++) chains[i] = fma(a, b, chains[i]);
  }
  MBI_UNROLL for (int i = 0; i < kChains; i++) store(sums + i * kLanes<wide>, chains[i]);
  return long(kLanes<wide>) * kChains * rounds;
}

constexpr KernelTable table(const char* isa) {
  return {isa,
          {{kTilePixels, kTileVectors * wide::kPanels},
           gemm,
           depthwise,
           pool,
           reduce,
           add,
           pair,
           resize,
           softmax_f32,
           norm_pixels<f32x8>},
          &kBytes,
          lookup_bytes,
          convert,
          multiply_adds};
}

}  // namespace

#if defined(MBINFER_SIMDE)
const KernelTable kSimdeKernels = table("simde");
#elif defined(__AVX512F__)
const KernelTable kAvx512Kernels = table("avx512");
#elif defined(__AVX2__)
const KernelTable kAvx2Kernels = table("avx2");
#elif defined(__ARM_FEATURE_DOTPROD)
const KernelTable kDotprodKernels = table("neon-dotprod");
#else
const KernelTable kNeonKernels = table("neon");
#endif

}  // namespace mbinfer

#endif
