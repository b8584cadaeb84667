// Where the buffers of a plan lie: each in bytes of its own, or together in as few as are found.
#pragma once

#include <vector>

#include "plan/arena.h"
#include "plan/plan.h"
#include "plan/work.h"

namespace mbinfer {

// Sets the offsets of the plan's buffers, the arena's size and its lower bound: apart in the naive schedule, otherwise
// together. slides: outputs over inputs, by buffer. An input that is moved before the segment in which it is slid over
// gets a second buffer for that segment, behind all others.
void place(std::vector<Slide> slides, Plan* plan, Work* work);

}  // namespace mbinfer
