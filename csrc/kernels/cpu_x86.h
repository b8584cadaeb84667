// What an x86-64 CPU and its operating system run, asked of the CPU itself. (__builtin_cpu_supports asks a table of the
// compiler's runtime, which zig's leaves empty: every answer is no.) Included by dispatch.cpp only.
#pragma once

#include <cpuid.h>
#include <immintrin.h>

namespace mbinfer {

struct X86Features {
  bool avx2 = false, fma = false, f16c = false;
  bool avx512 = false;  // F, DQ, BW and VL
  bool avx512vnni = false, avxvnni = false;
};

__attribute__((target("xsave"))) inline unsigned enabled_state() { return unsigned(_xgetbv(0)); }

inline X86Features x86_features() {
  constexpr unsigned kYmm = 0x06, kZmm = 0xE6;  // bits of XCR0: registers that the system saves
  constexpr unsigned kAvx512 = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;  // EBX of leaf 7: F, DQ, BW, VL
  X86Features has;
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE) || (enabled_state() & kYmm) != kYmm) return has;
  has.fma = c & bit_FMA;
  has.f16c = c & bit_F16C;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return has;
  has.avx2 = b & bit_AVX2;
  has.avx512 = (b & kAvx512) == kAvx512 && (enabled_state() & kZmm) == kZmm;
  has.avx512vnni = has.avx512 && (c & 1u << 11);
  if (a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d)) has.avxvnni = a & 1u << 4;
  return has;
}

}  // namespace mbinfer
