// The cost model: a stage's time from its shape, strip, chunk and step. The constants are cycles, fitted to measurements
// by benchmarks/cost_model.py.
#pragma once

#include "plan/plan.h"

namespace mbinfer {

struct Cost {
  double cycles = 0;
  int64_t macs = 0;  // executed: with recomputation
};

Cost stage_cost(const Graph& graph, const Stage& stage);

}  // namespace mbinfer
