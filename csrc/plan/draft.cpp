#include "plan/draft.h"

#include "plan/layout.h"
#include "plan/stages.h"

namespace mbinfer {

void apply(const Split& split, Stage* stage) {
  stage->rows = split.rows;
  stage->chunk = split.chunk;
  stage->step = split.step;
  stage->keep = split.keep;
}

Plan finish(const Graph& graph, const Draft& draft, Work* work) {
  Plan plan;
  plan.schedule = draft.schedule;
  plan.stages = *draft.stages;
  plan.segments = draft.segments;
  for (size_t s = 0; s < plan.stages.size(); s++) {
    apply(draft.splits[s], &plan.stages[s]);
    size_scratch(graph, &plan.stages[s]);
  }
  lay_out(graph, &plan, work);
  return plan;
}

void weigh(const Graph& graph, Draft* draft, Work* work) {
  const Plan plan = finish(graph, *draft, work);
  draft->peak_bytes = plan.peak_bytes;
  draft->cycles = plan.cycles;
}

}  // namespace mbinfer
