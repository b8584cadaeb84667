// The streamed schedule: segments of any length, row by row.
#pragma once

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
  // most `limit` bytes. Empty where none is found.
  const Draft& smallest();
  Draft least();
  Draft within(int64_t limit);

 private:
  Draft attempt(int64_t counted);

  const Graph& graph_;
  Work* work_;
  const std::shared_ptr<const StageOrder> order_;
  std::vector<Stage> stages_;
  const SegmentSearch search_;
  Draft smallest_;
  int64_t counted_ = -1;  // its bytes by the search's count
};

}  // namespace mbinfer
