// Where the buffers of a plan lie: each in bytes of its own, or together in as few as are found.
#pragma once

#include <cstdint>
#include <vector>

#include "plan/arena.h"
#include "plan/plan.h"
#include "plan/work.h"

namespace mbinfer {

// Which inputs that are slid over have a second buffer, for the segment in which they are.
enum class Moves : uint8_t { kNone, kNeeded, kAll };

// What a search for places found, to be set again without one.
struct Placed {
  Moves moves = Moves::kNone;
  int64_t lower_bound_bytes = 0;
  PageVector<int64_t> offsets;  // of the buffers; none: it was no search
};

// Sets the offsets of the plan's buffers, the arena's size and its lower bound: apart in the naive schedule, otherwise
// together. slides: outputs over inputs, by buffer. An input that is moved before the segment in which it is slid over
// gets a second buffer for that segment, behind all others. *found: as it was found before for the same buffers, which
// is set again, or none, which is filled in. weighed: the plan may not be taken, and needs the sizes alone; where
// simple rules reach the bound, the search for as few moves as possible is left out, and *found stays as it is.
void place(std::vector<Slide> slides, bool weighed, Placed* found, Plan* plan, Work* work);

}  // namespace mbinfer
