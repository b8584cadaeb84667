// From stages and segments to a finished plan: placements, buffers and the arena, multiply-adds and cost.
#pragma once

#include "plan/lives.h"
#include "plan/placing.h"
#include "plan/plan.h"
#include "plan/work.h"

namespace mbinfer {

// Fills in everything that follows from the stages (ordered, with strip, chunk and step), the segments and the
// schedule. lives: of these stages. found: of a draft of the same, where that was weighed.
void lay_out(const Graph& graph, const Homes& homes, const Lives& lives, Placed found, Plan* plan, Work* work);

// Only what a draft is weighed by: bytes, cycles and multiply-adds; and the places that were found on the way.
Placed lay_out_draft(const Graph& graph, const Lives& lives, Plan* plan, Work* work);

// Patches take what is free behind them while they are there, in an arena of at most so many bytes.
void widen_patches(const Graph& graph, int64_t most, Plan* plan);

}  // namespace mbinfer
