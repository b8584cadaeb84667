// A plan while it is weighed against others: what was chosen, and what came of it. All else follows from that, and is
// made once, for the plan that is taken: drafts are of some tens of bytes a stage, plans of kilobytes.
#pragma once

#include <memory>
#include <vector>

#include "plan/plan.h"
#include "plan/work.h"

namespace mbinfer {

using StageList = std::shared_ptr<const std::vector<Stage>>;  // in the order in which they run

struct Split {  // what is chosen of a stage
  int rows = 0, chunk = 0, step = 0;
  bool keep = false;
};

struct Draft {
  Schedule schedule = Schedule::kFused;
  StageList stages;
  std::vector<Split> splits;      // by stage
  std::vector<Segment> segments;  // none: there is no such plan
  int64_t peak_bytes = 0;
  double cycles = 0;
};

void apply(const Split& split, Stage* stage);

Plan finish(const Graph& graph, const Draft& draft, Work* work);

// Sets the bytes and cycles of the plan that it would be.
void weigh(const Graph& graph, Draft* draft, Work* work);

}  // namespace mbinfer
