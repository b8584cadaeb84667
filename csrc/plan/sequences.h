// First fit in a sequence of buffers, and a search over sequences.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "plan/arena.h"

namespace mbinfer {

// What keeps a buffer apart from another one that is alive with it: the least distance up to the other one when that
// lies above, and down to it. Less than a size where one slides over the other; it may be negative.
struct Clearance {
  int64_t above, below;
};

// slide: the one of `slides` that is about both, or -1.
Clearance clearance(const PageVector<Buffer>& buffers, const std::vector<Slide>& slides, int slide, int i, int other);

// pairs: of buffers that are alive at once. Sets the offsets and returns the size of the arena; bound: no sequence
// gives less. Adds the effort that it takes, mostly no more than `effort`, to *spent.
int64_t place_in_sequence(std::vector<std::pair<int, int>> pairs, const std::vector<Slide>& slides, int64_t bound,
                          int64_t effort, PageVector<Buffer>* buffers, int64_t* spent);

}  // namespace mbinfer
