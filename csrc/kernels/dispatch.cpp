#include "kernels/dispatch.h"

#include <algorithm>
#include <chrono>

#include "common.h"

#if defined(MBINFER_AVX2)
#include "kernels/cpu_x86.h"
#elif defined(__arm__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace mbinfer {

std::vector<const KernelTable*> usable_kernels() {
  std::vector<const KernelTable*> tables;
#if defined(MBINFER_AVX2)
  const X86Features cpu = x86_features();
  if (cpu.avx2 && cpu.fma) tables.push_back(&kAvx2Kernels);
#elif defined(MBINFER_NEON) && defined(__aarch64__)
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

double peak_rate(const KernelTable& kernels, double seconds) {
  using Clock = std::chrono::steady_clock;
  const float values[16] = {};
  float sums[kPeakSums] = {};
  double best = 0;
  int rounds = 100;
  for (const Clock::time_point start = Clock::now();
       std::chrono::duration<double>(Clock::now() - start).count() < seconds;) {
    const Clock::time_point begin = Clock::now();
    const double count = double(kernels.multiply_adds(values, sums, rounds));
    const double took = std::chrono::duration<double>(Clock::now() - begin).count();
    best = std::max(best, count / std::max(took, 1e-9));
    if (took < 1e-4) rounds *= 2;  // long enough for the clock, short enough to fall between two interruptions
  }
  return best;
}

}  // namespace mbinfer
