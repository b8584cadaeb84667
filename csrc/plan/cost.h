// The cost model: a stage's time is a sum of terms (tiles started, multiplications, bytes read again ...), each with a
// constant of the machine and the type (cost_model.h) that benchmarks/cost_model.py fits to measured times.
#pragma once

#include "plan/cost_model.h"
#include "plan/plan.h"

namespace mbinfer {

// What a stage's strips and steps add up to; the same for every chunk.
struct StepCounts {
  int64_t expanded_rows = 0, steps = 0, strips = 0;
};

StepCounts count_steps(const Graph& graph, const Stage& stage);

int64_t extra_macs(const Graph& graph, const Stage& stage, const StepCounts& counts);  // done again

struct CostTerms {
  double of[kCostTerms] = {};
};

CostTerms cost_terms(const Graph& graph, const CostModel& model, const Stage& stage, const StepCounts& counts);

double stage_cycles(const Graph& graph, const CostModel& model, const Stage& stage, const StepCounts& counts);

// Cycles to write or read a whole value once that the second-level cache does not hold; 0 for a smaller one.
double whole_value_cycles(const CostModel& model, const Value& value);

// Cache lines of such values that a stage of `segment` reads and writes, and their cycles: the segment's input and
// output; between its stages rows stay in the cache. from_arena: the stage's input is there, not with the caller.
double segment_end_lines(const Graph& graph, const CostModel& model, const Plan& plan, const Segment& segment,
                         int stage, bool from_arena);
double segment_end_cycles(const Graph& graph, const CostModel& model, const Plan& plan, const Segment& segment,
                          int stage, bool from_arena);

}  // namespace mbinfer
