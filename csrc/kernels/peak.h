// What a core can do at most: the measure that profiles are held against.
#pragma once

#include "kernels/kernels.h"

namespace mbinfer {

// The most multiply-adds a second of one core by these kernels: the best rate seen within so many seconds.
double peak_rate(const KernelTable& kernels, double seconds);

}  // namespace mbinfer
