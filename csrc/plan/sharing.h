// Who does what: which parts of a stage a thread runs one after the other without waiting, and along which axis threads
// cut what they make. The one file of the planner that knows threads.
#pragma once

#include "plan/rows.h"

namespace mbinfer {

// Sets the passes of every stage of a plan that is laid out.
void share_out(const Graph& graph, const PlanOptions& options, Plan* plan);

// What a pass cuts in a step: rows, pixels or panels of what its last part makes.
int extent(const Graph& graph, const Stage& stage, const Pass& pass, const Step& step);

}  // namespace mbinfer
