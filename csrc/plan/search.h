// The search of the streamed schedule: where to cut the network into segments, and the strips, chunks and rings inside
// each.
#pragma once

#include <memory>
#include <vector>

#include "plan/choices.h"
#include "plan/draft.h"
#include "plan/lives.h"
#include "plan/plan.h"
#include "plan/work.h"

namespace mbinfer {

// Over the ways to run `stages`, in the order in which they stand, by the search's own count of bytes, which places
// nothing. A long network is searched a window of stages after the other.
class SegmentSearch {
 public:
  // recompute: strips may expand rows again. most: bytes that no answer exceeds. Stages and lives have to outlive it.
  SegmentSearch(const Graph& graph, const Stages& stages, const Lives& lives, const CostModel& costs, bool recompute,
                int64_t most, Work* work);
  ~SegmentSearch();

  // All set what is chosen of each stage, where segments end too, and *bytes what that takes. None, and -1: nothing
  // fits. At any cost; of at most `limit` bytes.
  void smallest(int64_t limit, PageVector<Split>* splits, int64_t* bytes) const;
  // Of at most so many cycles, in at most so much work; and any such plan, mostly found sooner, INFINITY: at any cost.
  // *cycles becomes what that plan takes, where it is known.
  void cheapest(int64_t limit, double cycles, int64_t work, PageVector<Split>* splits) const;
  void any(int64_t limit, double* cycles, int64_t work, PageVector<Split>* splits, int64_t* bytes) const;

 private:
  class Impl;
  std::unique_ptr<Impl> window(int index) const;
  template <class Run>
  void run_windows(PageVector<Split>* splits, Run&& run) const;

  const Graph& graph_;
  const Stages& stages_;
  const Lives& lives_;
  PageVector<int64_t> waiting_;  // by stage: bytes of values made before it and read by it or later
  Work* work_;
  ChoiceRules rules_;
  int windows_;
  std::unique_ptr<Impl> only_;  // of a network that fits one window
};

}  // namespace mbinfer
