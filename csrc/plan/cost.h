// The cost model: a stage's time is a sum of terms (tiles started, multiplications, bytes read again ...), each with a
// constant that benchmarks/cost_model.py fits to measured times.
#pragma once

#include "plan/plan.h"

namespace mbinfer {

// What a stage's strips and steps add up to; the same for every chunk.
struct StepCounts {
  int64_t expanded_rows = 0, steps = 0, strips = 0;
};

StepCounts count_steps(const Graph& graph, const Stage& stage);

enum CostTerm {
  kTiles,       // register tiles of the matrix kernel started
  kTileInputs,  // their multiplications: tiles times input channels
  kVectors,     // output vectors of depthwise convolutions and pools
  kVectorTaps,  // their multiplications
  kCalls,       // kernel calls
  kSteps,       // parts run in a step: views of its rows, threads that meet
  kElements,    // vectors copied, added or normalised
  kFarWeights,  // lines of weights read from beyond the second-level cache
  kFarRows,     // lines of whole values written and read beyond it, by a segment
  kCostTerms
};

struct CostTerms {
  double of[kCostTerms] = {};
};

CostTerms cost_terms(const Graph& graph, const Stage& stage, const StepCounts& counts);

double stage_cycles(const Graph& graph, const Stage& stage, const StepCounts& counts);

// Cycles to write or read a whole value once that the second-level cache does not hold; 0 for a smaller one.
double whole_value_cycles(const Value& value);

// Cache lines of such values that a stage of `segment` reads and writes, and their cycles: the segment's input and
// output; between its stages rows stay in the cache.
double segment_end_lines(const Graph& graph, const Plan& plan, const Segment& segment, int stage);
double segment_end_cycles(const Graph& graph, const Plan& plan, const Segment& segment, int stage);

}  // namespace mbinfer
