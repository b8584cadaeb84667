#include "plan/search.h"

#include <algorithm>
#include <cmath>

#include "plan/search_window.h"
#include "plan/stagewise.h"

namespace mbinfer {

SegmentSearch::SegmentSearch(const Graph& graph, const Stages& stages, const Lives& lives, const CostModel& costs,
                             bool recompute, int64_t most, Work* work)
    : graph_(graph), stages_(stages), lives_(lives), work_(work) {
  const int count = int(stages.size());
  windows_ = ceil_div(count, kWindow);
  const int strips = strips_allowed(graph, stages);
  rules_ = {costs, recompute, most, strips, (windows_ == 1 ? UINT16_MAX : kWindowOptions) / kWindow};
  waiting_ = lives_.live_bytes();
  for (int s = 0; s < count; s++)
    if (lives_.begins(stages[size_t(s)], s)) waiting_[size_t(s)] -= lives_.bytes(stages[size_t(s)].output);
  if (windows_ > 1) work->shortcuts |= kSegmentShortcut;
  for (const Stage& s : stages)
    if (graph.values[s.output].shape.height > strips) work->shortcuts |= kStripShortcut;
  if (windows_ == 1) only_ = window(0);
}

SegmentSearch::~SegmentSearch() = default;

std::unique_ptr<SegmentSearch::Impl> SegmentSearch::window(int index) const {
  const int first = index * kWindow, last = std::min(int(stages_.size()), first + kWindow);
  return std::unique_ptr<Impl>(
      new Impl(graph_, stages_, first, last, lives_, waiting_, rules_, kSearchWork / windows_));
}

template <class Run>
void SegmentSearch::run_windows(PageVector<Split>* splits, Run&& run) const {
  splits->assign(stages_.size(), {});
  for (int i = 0; i < windows_; i++) {
    const std::unique_ptr<Impl> made = only_ ? nullptr : window(i);
    Impl& impl = only_ ? *only_ : *made;
    const bool found = run(&impl);
    work_->spent += impl.spent();
    if (!impl.complete()) work_->shortcuts |= kSegmentShortcut;
    if (!found) return splits->clear();
  }
}

void SegmentSearch::smallest(int64_t limit, PageVector<Split>* splits, int64_t* bytes) const {
  *bytes = 0;
  run_windows(splits, [&](Impl* window) {
    int64_t largest;
    const bool found = window->smallest(limit, splits, &largest);
    *bytes = std::max(*bytes, largest);
    return found;
  });
  if (splits->empty()) *bytes = -1;
}

void SegmentSearch::any(int64_t limit, double* cycles, int64_t work, PageVector<Split>* splits, int64_t* bytes) const {
  double whole = INFINITY;  // of several windows together nothing is known
  if (windows_ > 1) cycles = &whole;
  *bytes = 0;
  run_windows(splits, [&](Impl* window) {
    int64_t largest = 0;
    const bool found = window->any(limit, cycles, work, splits, &largest);
    *bytes = std::max(*bytes, largest);
    return found;
  });
  if (splits->empty()) *bytes = -1;
}

void SegmentSearch::cheapest(int64_t limit, double cycles, int64_t work, PageVector<Split>* splits) const {
  if (windows_ > 1) cycles = INFINITY;  // of all together, not of one
  run_windows(splits, [&](Impl* window) { return window->cheapest(limit, cycles, work, splits); });
}

}  // namespace mbinfer
