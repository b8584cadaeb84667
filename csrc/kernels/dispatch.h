// Which kernels this CPU runs.
#pragma once

#include <string>
#include <vector>

#include "kernels/kernels.h"

namespace mbinfer {

std::vector<const KernelTable*> usable_kernels();  // the fastest first, the reference last

// The table named `isa`, or the fastest one for "". Error(kArgument) names those that this CPU runs.
const KernelTable& select_kernels(const std::string& isa);

}  // namespace mbinfer
