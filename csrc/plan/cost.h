// The cost model: a stage's time is a sum of terms (tiles started, multiplications, bytes read again ...), each with a
// constant of the machine and the type (cost_model.h) that benchmarks/cost_model.py fits to measured times.
#pragma once

#include "plan/cost_model.h"
#include "plan/plan.h"

namespace mbinfer {

// What a stage's strips and steps add up to; the same for every chunk.
struct StepCounts {
  int64_t expanded_rows = 0, steps = 0, strips = 0;
  double uneven = 1;  // of the rows that threads share out: those of the one that makes most, of an even share
};

StepCounts count_steps(const Graph& graph, const Stage& stage);

struct CostTerms {
  double of[kCostTerms] = {};
};

// What a stage costs, by how it is run. What holds for every way is looked up once: thousands of ways are weighed.
class StageCost {
 public:
  StageCost(const Graph& graph, const CostModel& model, const Stage& stage);  // the model has to outlive it

  // chunk: channels; 0 where nothing is split.
  CostTerms terms(const StepCounts& counts, int chunk) const;
  double cycles(const StepCounts& counts, int chunk) const;

 private:
  struct PartCost {
    enum Kind { kByPixel, kMatrix, kFilter } kind = kByPixel;
    bool pointwise = false, expands = false, projects = false, pools = false, looks_up = false;
    bool once = false;             // it comes after a pool of the whole map
    bool column = false;           // of the one column of a map: a call for all rows, not for each of them
    int panels = 0, inputs = 0;    // of all channels, where they are not split
    double height = 0, width = 0;  // of what it makes
    double gathered = 0;           // elements copied for a row
    double vectors = 0, taps = 0;  // of a filter
    double elements = 0;           // added or converted

    double rows(const StepCounts& counts) const { return expands ? double(counts.expanded_rows) : height; }
  };
  static PartCost part_cost(const Graph& graph, const Stage& stage, int part);
  void add_matrix(const PartCost& part, const StepCounts& counts, int chunk, int chunks, CostTerms* t) const;

  const CostModel& model_;
  const Costs& costs_;
  const int channels_, count_, threads_;
  PartCost parts_[kMaxParts];
  int64_t weights_ = 0, stepped_weights_ = 0;  // bytes; stepped: of the parts that every step runs
  int64_t expanded_height_ = 0, expanded_row_macs_ = 0;
};

// Cycles to write or read a whole value once that the second-level cache does not hold; 0 for a smaller one.
double whole_value_cycles(const CostModel& model, const Value& value);

// Cache lines of such values that a stage of `segment` reads and writes, and their cycles: the segment's input and
// output; between its stages rows stay in the cache. from_arena: the stage's input is there, not with the caller.
double segment_end_lines(const Graph& graph, const CostModel& model, const Plan& plan, const Segment& segment,
                         int stage, bool from_arena);
double segment_end_cycles(const Graph& graph, const CostModel& model, const Plan& plan, const Segment& segment,
                          int stage, bool from_arena);

}  // namespace mbinfer
