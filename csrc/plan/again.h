// What may be made again instead of being held for those that read it, where memory is short.
#pragma once

#include <cstdint>
#include <vector>

#include "plan/plan.h"

namespace mbinfer {

// From how many bytes on that is done, in plans that are compared: the largest, or as many as half of those tried next;
// those that do no more again than may be done.
std::vector<int64_t> held_sizes(const Graph& graph, const PlanOptions& options);

}  // namespace mbinfer
