// The kernels that a test runs: all of this CPU's, or those that MBINFER_ONLY_ISA names beside the reference's, where
// the others were tested on another CPU.
#pragma once

#include <cstdlib>
#include <string>
#include <vector>

#include "kernels/dispatch.h"
#include "kernels/kernels.h"

inline std::vector<const mbinfer::KernelTable*> tables_to_check() {
  const char* only = std::getenv("MBINFER_ONLY_ISA");
  std::vector<const mbinfer::KernelTable*> found;
  for (const mbinfer::KernelTable* table : mbinfer::usable_kernels())
    if (!only || table == &mbinfer::kReferenceKernels || only == std::string(table->isa)) found.push_back(table);
  return found;
}
