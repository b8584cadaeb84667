// What planning may cost: work that is counted, not timed, so that a plan is the same on every machine. Every search
// has an allowance of its own, so that what one finds does not depend on those before it; where it runs out the search
// takes what it has, and the plan says so.
#pragma once

#include <cstdint>

#include "plan/cost_model.h"
#include "plan/tuning.h"

namespace mbinfer {

enum Shortcut : unsigned {  // where a plan was not searched to the end
  kOrderShortcut = 1,       // another order of the stages might need less
  kPlacementShortcut = 2,   // another placement of the buffers might
  kStripShortcut = 4,       // maps of many rows are cut into few strips
  kSegmentShortcut = 8,     // not every way to join stages was looked at
};

// What a plan's searches go by, what they took, and where they stopped short.
struct Work {
  explicit Work(const CostModel& costs) : costs(costs) {}

  const CostModel costs;
  int64_t spent = 0;
  unsigned shortcuts = 0;  // of Shortcut
};

}  // namespace mbinfer
