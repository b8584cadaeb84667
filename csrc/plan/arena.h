// Where each buffer lies in the arena: the smallest arena in which buffers alive at once do not meet.
#pragma once

#include <cstdint>
#include <vector>

#include "plan/work.h"

namespace mbinfer {

struct Block {
  int64_t bytes;
  int first, last;  // alive in these segments
  int64_t offset = 0;
};

// Block `below` may overlap block `above` when it starts at least `distance` bytes lower: a segment's output that
// slides over its input.
struct Slide {
  int below, above;
  int64_t distance;
};

// Sets the offsets (multiples of kArenaAlign) and returns the size of the arena. `effort`: pairs of blocks looked at
// for a better sequence.
int64_t place(std::vector<Block>* blocks, const std::vector<Slide>& slides, int64_t effort, Work* work);

// The most bytes alive at once; with slides counted as overlapping fully where they may overlap at all.
int64_t placement_bound(const std::vector<Block>& blocks, const std::vector<Slide>& slides);

}  // namespace mbinfer
