// The cost model: a stage's time from its shape, strip, chunk and step. The constants are cycles, fitted to measurements
// by benchmarks/cost_model.py.
#pragma once

#include "plan/plan.h"

namespace mbinfer {

// What a stage's strips and steps add up to; the same for every chunk.
struct StepCounts {
  int64_t expanded_rows = 0, steps = 0, strips = 0;
};

StepCounts count_steps(const Graph& graph, const Stage& stage);

double stage_cycles(const Graph& graph, const Stage& stage, const StepCounts& counts);

}  // namespace mbinfer
