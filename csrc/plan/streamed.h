// The streamed schedule: segments of any length, row by row.
#pragma once

#include <cmath>
#include <memory>
#include <vector>

#include "plan/draft.h"
#include "plan/search.h"
#include "plan/work.h"

namespace mbinfer {

// The search counts bytes without placing them; where the placement of a choice does not fit, it is run again for less.
// It looks for the fastest plan. Where that one does more multiply-adds again than it may, the search is made anew with
// a price on these, and so on with higher ones: the relaxation of Lagrange.
class Streamer {
 public:
  // stages: those of `order`. recompute: the most multiply-adds done again, as a share of the network's. most: bytes
  // that no plan is looked for beyond.
  Streamer(const Graph& graph, std::shared_ptr<const StageOrder> order, Stages stages, double recompute, int64_t most,
           Work* work);

  // A small plan, made without looking at cost nor at what is done again; the smallest of those that may be; and the
  // cheapest of at most `limit` bytes. Empty where none is found. `known`: bytes of a plan; none that takes more is
  // looked for. `elsewhere`: of a plan of other stages, which is better than any that is larger.
  const Draft& smallest(int64_t known);
  Draft least(int64_t known, int64_t elsewhere);
  Draft within(int64_t limit);

  // Whether there is a plan of at most so many bytes by the search's count, at any cost.
  bool fits(int64_t counted) const;

  // The smallest plan that is found of at most so many cycles, and of fewer than `bytes` bytes. Empty where none is.
  Draft smallest_of(double cycles, int64_t bytes);

 private:
  Draft attempt(int64_t counted, double cycles = INFINITY);
  Draft attempt_at(double price, int64_t counted, double cycles = INFINITY);
  // Not placed yet. *takes: its bytes by the search's count; *cycles, at most so many, become its own.
  Draft any(int64_t counted, double* cycles, int64_t work, int64_t* takes) const;
  Draft found(const SegmentSearch& search, int64_t counted, double cost, int64_t work) const;
  Draft least_of_few(int64_t known);
  bool allowed(const Draft& plan) const { return !plan.none() && plan.extra_macs <= most_again_; }

  const Graph& graph_;
  Work* work_;
  const std::shared_ptr<const StageOrder> order_;
  Stages stages_;
  const int64_t most_;
  const int64_t most_again_;  // multiply-adds
  const Lives lives_;
  const SegmentSearch search_;
  std::unique_ptr<const SegmentSearch> priced_;  // with a price on what is done again
  double price_ = 0;
  Draft smallest_;        // once it was asked for
  int64_t counted_ = -1;  // its bytes by the search's count
  int64_t known_ = 0;     // looked for among those of at most so many bytes
};

}  // namespace mbinfer
