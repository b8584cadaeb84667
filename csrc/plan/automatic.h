// The streamed schedule, and the automatic one, for which plans of stages one by one compete with it.
#pragma once

#include <cstdint>
#include <optional>

#include "plan/candidates.h"
#include "plan/fused.h"
#include "plan/stagewise.h"
#include "plan/streamed.h"

namespace mbinfer {

// Finds the cheapest plan of at most a limit's bytes, or else the least; none that is found takes less than that one.
class Automatic {
 public:
  // All that is referred to has to outlive it. options.schedule: one of the two. elsewhere: bytes of a plan of other
  // stages; where the least is asked for, none that is larger is of use. known: blocks whose ways are known, for now
  // alone, or null.
  Automatic(const Graph& graph, const PlanOptions& options, const StageRules& rules, const Fused& fused,
            const Stagewise* known, int64_t limit, int64_t elsewhere, Work* work);

  // Asked for once: what plans are made of is given back on the way.
  Candidate best();

 private:
  bool unlimited() const { return limit_ == INT64_MAX; }
  bool one_window() const { return int(blocks_->stages().size()) <= kWindow; }  // the blocks are searched as a whole
  bool is_near_fastest(const Draft& plan) const;
  bool is_enough(const Draft& fast) const;
  Offers one_by_one(const Candidate& fast);
  void offer_small_blocks(Offers* offers);
  Candidate smallest_of(const Candidate& fastest);
  Candidate smallest_of(const Candidate& fastest, const Candidate& one_by_one, Streamer* streamer);
  Streamer streamer();
  Candidate fastest_of(Streamer* streamer);
  Candidate no_more_than_least(Candidate plan, Offers* one_by_one, Streamer* streamer);

  const Graph& graph_;
  const PlanOptions& options_;
  const StageRules& rules_;
  const Fused& fused_;
  const int64_t limit_, elsewhere_;
  Work* work_;
  const bool automatic_;
  const int64_t most_;               // bytes that no plan is looked for beyond
  std::optional<Stagewise> blocks_;  // until they are searched
  int64_t blocks_bytes_ = 0;         // that any plan of them takes, where their smallest one was not offered yet
};

}  // namespace mbinfer
