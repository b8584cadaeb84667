#include "kernels/dispatch.h"

#include "common.h"

#if defined(MBINFER_AVX2) || defined(MBINFER_AVX512)
#include "kernels/cpu_x86.h"
#elif defined(__arm__) || defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace mbinfer {

std::vector<const KernelTable*> usable_kernels() {
  std::vector<const KernelTable*> tables;
#if defined(MBINFER_AVX2) || defined(MBINFER_AVX512)
  const X86Features cpu = x86_features();
  const bool avx2 = cpu.avx2 && cpu.fma;
#endif
#if defined(MBINFER_AVX512)
  if (avx2 && cpu.avx512) tables.push_back(&kAvx512Kernels);
#endif
#if defined(MBINFER_AVX2)
  if (avx2) tables.push_back(&kAvx2Kernels);
#endif
#if defined(MBINFER_SIMDE)
  if (avx2) tables.push_back(&kSimdeKernels);
#endif
#if defined(MBINFER_DOTPROD)
  if (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) tables.push_back(&kDotprodKernels);
#endif
#if defined(MBINFER_NEON) && defined(__aarch64__)
  tables.push_back(&kNeonKernels);
#elif defined(MBINFER_NEON) && defined(__arm__)
  const unsigned long wanted = HWCAP_NEON | HWCAP_VFPv4;  // a fused multiply-add: Cortex-A5, A7, A15 and later
  if ((getauxval(AT_HWCAP) & wanted) == wanted) tables.push_back(&kNeonKernels);
#endif
  tables.push_back(&kReferenceKernels);
  return tables;
}

const KernelTable& select_kernels(const std::string& isa) {
  std::string names;
  for (const KernelTable* table : usable_kernels()) {
    if (isa.empty() || isa == table->isa) return *table;
    names += (names.empty() ? "" : ", ") + std::string(table->isa);
  }
  throw Error(ErrorKind::kArgument, "MBINFER_ISA: this CPU and build do not run '" + isa + "'; they run " + names);
}

const Kernels& KernelTable::of(DType type) const {
  if (type != DType::kFloat32 && type != DType::kUint8)
    throw Error(ErrorKind::kUnsupported, "values have to be float32 or uint8");
  return type == DType::kUint8 ? *u8 : f32;
}

}  // namespace mbinfer
