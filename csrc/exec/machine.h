// The machine that the kernels run on, as far as the way of the weights goes. Plans do not ask: they are the same on
// every machine of an instruction set.
#pragma once

#include <cstdint>
#include <string>

namespace mbinfer {

struct Machine {
  int64_t first_cache, second_cache;  // bytes of data that a core's own caches hold
};

// This one, asked once: the C library, else the kernel's files; else what most cores have.
const Machine& machine();

// By the kernel's files in a folder: index0/size is the first-level data cache, index2/size the second-level one.
Machine machine_by_files(const std::string& folder);

}  // namespace mbinfer
