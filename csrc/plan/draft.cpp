#include "plan/draft.h"

#include <algorithm>
#include <utility>

#include "plan/layout.h"
#include "plan/scratch.h"

namespace mbinfer {

Stages StageOrder::stages(const Graph& graph) const {
  Stages made = make_stages(graph, fusion, rules, apart);
  put_in_order(order, &made);
  return made;
}

void put_in_order(const PageVector<int>& order, Stages* stages) {
  std::vector<bool> placed(order.size(), false);
  for (size_t first = 0; first < order.size(); first++) {  // each cycle of the permutation
    if (placed[first]) continue;
    Stage held = std::move((*stages)[first]);
    size_t at = first;
    for (size_t from = size_t(order[at]); from != first; at = from, from = size_t(order[at])) {
      (*stages)[at] = std::move((*stages)[from]);
      placed[at] = true;
    }
    (*stages)[at] = std::move(held);
    placed[at] = true;
  }
}

void apply(const Split& split, Stage* stage) {
  stage->rows = int(split.rows);
  stage->chunk = split.chunk();
  stage->step = int(split.step);
  stage->keep = split.keep;
}

namespace {

// Stages and segments as the draft says.
void set(const Graph& graph, const Draft& draft, Plan* plan) {
  plan->schedule = draft.schedule;
  const auto ends = [](const Split& split) { return bool(split.ends); };
  plan->segments.reserve(size_t(std::count_if(draft.splits.begin(), draft.splits.end(), ends)));
  for (int s = 0, first = 0; s < int(plan->stages.size()); s++) {
    const Split& split = draft.splits[size_t(s)];
    apply(split, &plan->stages[size_t(s)]);
    size_scratch(graph, &plan->stages[size_t(s)]);
    if (split.ends) plan->segments.push_back({std::exchange(first, s + 1), s + 1});
  }
}

}  // namespace

Plan finish(const Graph& graph, const Draft& draft, Work* work) {
  Plan plan;
  plan.stages = draft.order->stages(graph);
  const Lives lives(graph, plan.stages, draft.order->rules.homes);
  set(graph, draft, &plan);
  lay_out(graph, draft.order->rules.homes, lives, draft.placed, &plan, work);
  return plan;
}

void weigh(const Graph& graph, const Lives& lives, Draft* draft, Stages* stages, Work* work) {
  Plan plan;
  plan.stages.swap(*stages);
  set(graph, *draft, &plan);
  draft->placed = lay_out_draft(graph, lives, &plan, work);
  plan.stages.swap(*stages);
  draft->peak_bytes = plan.peak_bytes;
  draft->cycles = plan.cycles;
  draft->extra_macs = plan.extra_macs;
}

}  // namespace mbinfer
