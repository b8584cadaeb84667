// From stages and segments to a finished plan: placements, buffers and the arena, multiply-adds and cost.
#pragma once

#include "plan/lives.h"
#include "plan/plan.h"
#include "plan/work.h"

namespace mbinfer {

// Fills in everything that follows from the stages (ordered, with strip, chunk and step), the segments and the
// schedule. lives: of these stages.
void lay_out(const Graph& graph, const Homes& homes, const Lives& lives, Plan* plan, Work* work);

// Only what a draft is weighed by: bytes, cycles and multiply-adds.
void lay_out_draft(const Graph& graph, const Lives& lives, Plan* plan, Work* work);

}  // namespace mbinfer
