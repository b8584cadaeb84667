#include "plan/draft.h"

#include <algorithm>
#include <utility>

#include "plan/layout.h"

namespace mbinfer {

std::vector<Stage> StageOrder::stages(const Graph& graph) const {
  std::vector<Stage> made = make_stages(graph, fusion, rules, apart);
  put_in_order(order, &made);
  return made;
}

void put_in_order(const std::vector<int>& order, std::vector<Stage>* stages) {
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

bool same_choices(const Draft& a, const Draft& b) {
  auto same_split = [](const Split& x, const Split& y) {
    return x.rows == y.rows && x.chunk == y.chunk && x.step == y.step && x.keep == y.keep;
  };
  auto same_segment = [](const Segment& x, const Segment& y) { return x.first == y.first && x.last == y.last; };
  return a.schedule == b.schedule && a.order == b.order &&
         std::equal(a.splits.begin(), a.splits.end(), b.splits.begin(), b.splits.end(), same_split) &&
         std::equal(a.segments.begin(), a.segments.end(), b.segments.begin(), b.segments.end(), same_segment);
}

void apply(const Split& split, Stage* stage) {
  stage->rows = split.rows;
  stage->chunk = split.chunk;
  stage->step = split.step;
  stage->keep = split.keep;
}

namespace {

void lay_out_draft(const Graph& graph, const Draft& draft, Plan* plan, Work* work) {
  plan->schedule = draft.schedule;
  plan->segments = draft.segments;
  for (size_t s = 0; s < plan->stages.size(); s++) {
    apply(draft.splits[s], &plan->stages[s]);
    size_scratch(graph, &plan->stages[s]);
  }
  lay_out(graph, draft.order->rules.homes, plan, work);
}

}  // namespace

Plan finish(const Graph& graph, const Draft& draft, Work* work) {
  Plan plan;
  plan.stages = draft.order->stages(graph);
  lay_out_draft(graph, draft, &plan, work);
  return plan;
}

void weigh(const Graph& graph, Draft* draft, std::vector<Stage>* stages, Work* work) {
  Plan plan;
  plan.stages.swap(*stages);
  lay_out_draft(graph, *draft, &plan, work);
  plan.stages.swap(*stages);
  draft->peak_bytes = plan.peak_bytes;
  draft->cycles = plan.cycles;
  draft->extra_macs = plan.extra_macs;
}

}  // namespace mbinfer
