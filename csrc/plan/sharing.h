// Who does what: which parts of a stage a thread runs one after the other without waiting, and along which axis threads
// cut what they make. The one file of the planner that knows threads.
#pragma once

#include "plan/rows.h"

namespace mbinfer {

// Sets the passes of every stage of a plan that is laid out.
void share_out(const Graph& graph, const PlanOptions& options, Plan* plan);

// Whether threads filter and project the same rows of a block, `rows` of its output in a step.
bool shares_rows(const Graph& graph, const Stage& stage, int rows, int threads);

// What a pass cuts in a step: rows, pixels or panels of what its last part makes.
int extent(const Graph& graph, const Stage& stage, const Pass& pass, const Step& step);

// Into how many pieces it cuts so many grains of so many multiply-adds: one for each thread, or, of more than two,
// several where they are worth it, so that slow cores do not keep fast ones waiting. Which thread makes a piece changes
// no bit.
int piece_count(int grains, int64_t work, int threads);

}  // namespace mbinfer
