// What planning may cost: work that is counted, not timed, so that a plan is the same on every machine. Every search
// has an allowance of its own, so that what one finds does not depend on those before it; where it runs out the search
// takes what it has, and the plan says so.
#pragma once

#include <cstdint>

#include "plan/tuning.h"

namespace mbinfer {

enum Shortcut : unsigned {  // where a plan was not searched to the end
  kOrderShortcut = 1,       // another order of the stages might need less
  kPlacementShortcut = 2,   // another placement of the buffers might
  kStripShortcut = 4,       // maps of many rows are cut into few strips
  kSegmentShortcut = 8,     // not every way to join stages was looked at
};

// What the searches of a plan took, and where they stopped short.
struct Work {
  int64_t spent = 0;
  unsigned shortcuts = 0;  // of Shortcut
};

}  // namespace mbinfer
