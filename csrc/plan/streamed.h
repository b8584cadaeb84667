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
class Streamer {
 public:
  // stages: those of `order`. most: bytes that no plan is looked for beyond.
  Streamer(const Graph& graph, std::shared_ptr<const StageOrder> order, std::vector<Stage> stages, bool recompute,
           int64_t most, Work* work);

  // A small plan, made without looking at cost, the smallest of those the cheapest found, and the cheapest plan of at
  // most `limit` bytes. Empty where none is found. `known`: bytes of a plan; none that takes more is looked for.
  const Draft& smallest(int64_t known);
  Draft least(int64_t known);
  Draft within(int64_t limit);

  // The smallest plan that is found of at most so many cycles, and of fewer than `bytes` bytes. Empty where none is.
  Draft smallest_of(double cycles, int64_t bytes);

 private:
  Draft attempt(int64_t counted, double cycles = INFINITY);

  const Graph& graph_;
  Work* work_;
  const std::shared_ptr<const StageOrder> order_;
  std::vector<Stage> stages_;
  const SegmentSearch search_;
  Draft smallest_;        // once it was asked for
  int64_t counted_ = -1;  // its bytes by the search's count
  int64_t known_ = 0;     // looked for among those of at most so many bytes
};

}  // namespace mbinfer
