#include "plan/streamed.h"

#include <utility>

#include "plan/rows.h"

namespace mbinfer {
namespace {

bool smaller(const Draft& plan, const Draft& than) {
  return !plan.segments.empty() && (than.segments.empty() || plan.peak_bytes < than.peak_bytes);
}

// A stage that sees nothing but padding lets those before it idle, and the search counts their rings.
bool sees_padding_only(const Graph& graph, const Stage& stage) {
  return strip_rows(graph, stage, 0, graph.values[stage.output].shape.height).end <= 0;
}

}  // namespace

Streamer::Streamer(const Graph& graph, std::shared_ptr<const StageOrder> order, std::vector<Stage> stages,
                   bool recompute, int64_t most, Work* work)
    : graph_(graph),
      work_(work),
      order_(std::move(order)),
      stages_(std::move(stages)),
      search_(graph, stages_, recompute, most, work) {
  smallest_.schedule = Schedule::kStreamed;
  smallest_.order = order_;
  smallest_.segments = search_.smallest(&smallest_.splits, &counted_);
}

const Draft& Streamer::smallest() {
  if (!smallest_.segments.empty() && !smallest_.peak_bytes) weigh(graph_, &smallest_, &stages_, work_);
  return smallest_;
}

Draft Streamer::least() {
  Draft best;
  if (smallest_.segments.empty()) return best;
  for (double more : {1.0, 1.01, 1.03, 1.06}) {
    Draft plan = attempt(int64_t(double(counted_) * more));
    if (smaller(plan, best)) best = std::move(plan);
    if (!best.segments.empty() && best.peak_bytes <= counted_) break;
  }
  if (smaller(smallest(), best)) best = smallest();
  bool overcounted = best.peak_bytes > counted_;
  for (const Stage& s : stages_) overcounted = overcounted || sees_padding_only(graph_, s);
  if (!overcounted) return best;
  Draft plan = attempt(INT64_MAX);  // any plan may be smaller
  return smaller(plan, best) ? plan : best;
}

Draft Streamer::within(int64_t limit) {
  for (int64_t counted = limit, tries = 0; tries < kMostTries && counted_ >= 0 && counted >= counted_; tries++) {
    Draft plan = attempt(counted);
    if (plan.segments.empty() || plan.peak_bytes <= limit) return plan;
    counted -= plan.peak_bytes - limit;
  }
  return {};
}

Draft Streamer::attempt(int64_t counted) {
  Draft plan;
  plan.schedule = Schedule::kStreamed;
  plan.order = order_;
  plan.segments = search_.cheapest(counted, &plan.splits);
  if (!plan.segments.empty()) weigh(graph_, &plan, &stages_, work_);
  return plan;
}

}  // namespace mbinfer
