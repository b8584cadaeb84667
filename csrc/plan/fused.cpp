#include "plan/fused.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "plan/tuning.h"

namespace mbinfer {

Stagewise blocks_within(const Graph& graph, Schedule schedule, Fusion fusion, const StageRules& rules, int64_t most,
                        Work* work, const Stagewise* known) {
  std::vector<bool> apart(graph.nodes.size(), false);
  for (int tries = 0;; tries++) {
    Stagewise blocks(graph, schedule, {fusion, rules, apart, {}}, false, work, known);
    bool again = false;
    for (int s = 0; s < int(blocks.stages().size()) && blocks.counted() > most && tries < kMostTries; s++) {
      const Stage& stage = blocks.stages()[size_t(s)];
      if (!stage.bottleneck() || blocks.counted(s) <= most) continue;
      for (const Part& part : stage.parts) apart[size_t(part.node)] = again = true;
    }
    if (!again) return blocks;
  }
}

void offer_small(Stagewise* blocks, Offers* offers) {
  const Candidate plan = blocks->fastest(blocks->counted(), true);
  offers->offer_small(plan);
  if (plan->peak_bytes > blocks->counted()) offers->offer_small(blocks->smallest());
}

Fused::Fused(Stagewise* blocks, int64_t limit, const Candidate& layerwise, int threads) : limit_(limit) {
  Offers offers{0, {}, {}};
  offer_small(blocks, &offers);
  least_ = offers.least;
  if (layerwise->peak_bytes < least_->peak_bytes) {  // never worse
    Draft plan = *layerwise;
    plan.schedule = Schedule::kFused;
    least_ = candidate(std::move(plan));
  }
  // Without a limit it may take, for speed, a thirty-second more than with the least scratch.
  const int64_t lean = std::min(layerwise->peak_bytes, blocks->least_scratch()->peak_bytes / 32 * 33);
  const int64_t most = std::max(least_->peak_bytes, lean);
  unlimited_ = blocks->fastest(most, false);
  if (better(*least_, *unlimited_, most)) unlimited_ = least_;
  if (unlimited_->peak_bytes < least_->peak_bytes) least_ = unlimited_;
  if (unlimited_->cycles > kSlowBlocks[threads > 1] * layerwise->cycles) faster_ = layerwise;
  if (limit != INT64_MAX) {
    limited_ = blocks->fastest(limit, false);
    if (limited_->peak_bytes < least_->peak_bytes) limited_ = least_;
  }
}

Candidate Fused::within_limit() const {
  if (limit_ == INT64_MAX) return unlimited_;
  Offers offers{limit_, {}, {}};
  for (const Candidate& plan : {least_, unlimited_, limited_}) offers.offer(plan);
  return offers.best;
}

Draft chunked_draft(const Graph& graph, const StageRules& rules, int chunks, Work* work) {
  Stagewise blocks(graph, Schedule::kFused, {Fusion::kBlocks, rules, {}, {}}, false, work);
  const std::shared_ptr<const StageOrder> order = blocks.order();
  return whole_draft(graph, Schedule::kFused, order, blocks.take_stages(), chunks, work);
}

}  // namespace mbinfer
