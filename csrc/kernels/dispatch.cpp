#include "kernels/dispatch.h"

#include "common.h"

#if defined(MBINFER_AVX2) || defined(MBINFER_AVX512)
#include "kernels/cpu_x86.h"
#elif defined(__arm__) || defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace mbinfer {

namespace {

// The kernels of bytes of one unit in the table of another.
[[maybe_unused]] KernelTable with_bytes(const KernelTable& table, const char* isa, const Kernels& bytes) {
  KernelTable with = table;
  with.isa = isa;
  with.u8 = &bytes;
  return with;
}

}  // namespace

std::vector<const KernelTable*> usable_kernels() {
  std::vector<const KernelTable*> tables;
#if defined(MBINFER_AVX2) || defined(MBINFER_AVX512)
  const X86Features cpu = x86_features();
  const bool avx2 = cpu.avx2 && cpu.fma && cpu.f16c;
#endif
#if defined(MBINFER_AVX512) && defined(MBINFER_AVX512VNNI)
  static const KernelTable avx512vnni = with_bytes(kAvx512Kernels, "avx512vnni", kAvx512vnniKernels);
  if (avx2 && cpu.avx512vnni) tables.push_back(&avx512vnni);
#endif
#if defined(MBINFER_AVX512)
  if (avx2 && cpu.avx512) tables.push_back(&kAvx512Kernels);
#endif
#if defined(MBINFER_AVX2) && defined(MBINFER_AVXVNNI)
  static const KernelTable avxvnni = with_bytes(kAvx2Kernels, "avxvnni", kAvxvnniKernels);
  if (avx2 && cpu.avxvnni) tables.push_back(&avxvnni);
#endif
#if defined(MBINFER_AVX2)
  if (avx2) tables.push_back(&kAvx2Kernels);
#endif
#if defined(MBINFER_SIMDE)
  static const KernelTable simdevnni = with_bytes(kSimdeKernels, "simdevnni", kSimdevnniKernels);
  if (avx2) tables.insert(tables.end(), {&kSimdeKernels, &simdevnni});
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
