// Where each buffer lies in the arena: the smallest arena in which buffers alive at once do not meet.
#pragma once

#include <cstdint>
#include <vector>

#include "plan/plan.h"
#include "plan/work.h"

namespace mbinfer {

// Buffer `below` may overlap buffer `above` when it starts at least `distance` bytes lower: a segment's output that
// slides over its input.
struct Slide {
  int below, above;
  int64_t distance;
};

// Sets the offsets (multiples of kArenaAlign) and returns the size of the arena. `effort`: pairs of buffers looked at
// for a better sequence.
int64_t place(std::vector<Buffer>* buffers, const std::vector<Slide>& slides, int64_t effort, Work* work);

// The most bytes alive at once; with slides counted as overlapping fully where they may overlap at all.
int64_t placement_bound(const std::vector<Buffer>& buffers, const std::vector<Slide>& slides);

}  // namespace mbinfer
