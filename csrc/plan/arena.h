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
int64_t place(PageVector<Buffer>* buffers, const std::vector<Slide>& slides, int64_t effort, Work* work);

// Whether buffers are so many, alone or at once, that what a search holds of them would fill megabytes.
bool too_many_to_search(const PageVector<Buffer>& buffers);

// First fit in the order of birth, against the buffers still alive.
int64_t place_by_birth(PageVector<Buffer>* buffers, const std::vector<Slide>& slides, Work* work);

// Bytes alive in each segment, 0 behind the last; with slides counted as overlapping fully where they may overlap at
// all.
std::vector<int64_t> bytes_alive(const PageVector<Buffer>& buffers, const std::vector<Slide>& slides);

// The most of these: no arena is smaller.
int64_t placement_bound(const PageVector<Buffer>& buffers, const std::vector<Slide>& slides);

}  // namespace mbinfer
