// The kernels that a test runs: all of this CPU's, or those that MBINFER_ONLY_ISA names beside the reference's, where
// the others were tested on another CPU.
#pragma once

#include <cstdlib>
#include <string>
#include <vector>

#include "kernels/dispatch.h"
#include "kernels/kernels.h"

// bytes: whether any kernel is of bytes. Else tables that differ by those alone are one.
inline std::vector<const mbinfer::KernelTable*> tables_to_check(bool bytes) {
  const char* only = std::getenv("MBINFER_ONLY_ISA");
  std::vector<const mbinfer::KernelTable*> found;
  for (const mbinfer::KernelTable* table : mbinfer::usable_kernels()) {
    const bool wanted = !only || table == &mbinfer::kReferenceKernels || only == std::string(table->isa);
    const bool known = !bytes && !found.empty() && found.back()->f32.gemm == table->f32.gemm;
    if (wanted && !known) found.push_back(table);
  }
  return found;
}
