#include "plan/placing.h"

#include <algorithm>
#include <utility>

namespace mbinfer {
namespace {

// Tries placements of the plan's buffers, and holds the best one.
class Placing {
 public:
  Placing(std::vector<Slide> slides, Plan* plan, Work* work)
      : plan_(*plan), work_(work), slides_(std::move(slides)), whole_(plan->buffers.size()) {
    plan_.peak_bytes = plan_.lower_bound_bytes = INT64_MAX;
  }

  // Values slid over slide down themselves, one after the other, until no room is left: where that costs memory, they
  // move up in between. A short search of either, then a long one.
  Placed run() {
    bool moving = false;
    for (int64_t effort : {kPlacementWork / 8, kPlacementWork})
      for (bool moves : {false, true}) {
        if (plan_.peak_bytes <= plan_.lower_bound_bytes && plan_.peak_bytes < INT64_MAX) break;
        if (moves && slides_.empty()) continue;
        if (moves) cut_moved();
        if (attempt(effort)) moving = moves;
        if (moves) join_moved();
      }
    Placed found = {moving, plan_.lower_bound_bytes, std::move(best_)};
    set(found);
    return found;
  }

  void set(const Placed& found) {
    if (found.moves) cut_moved();
    plan_.lower_bound_bytes = found.lower_bound_bytes;
    plan_.peak_bytes = 0;
    for (size_t i = 0; i < plan_.buffers.size(); i++) {
      Buffer& buffer = plan_.buffers[i];
      buffer.offset = found.offsets[i];
      plan_.peak_bytes = std::max(plan_.peak_bytes, buffer.offset + round_up(buffer.bytes, kArenaAlign));
    }
  }

 private:
  // True: into fewer bytes than before.
  bool attempt(int64_t effort) {
    plan_.lower_bound_bytes = std::min(plan_.lower_bound_bytes, placement_bound(plan_.buffers, slides_));
    const int64_t peak = place(&plan_.buffers, slides_, effort, work_);
    if (peak >= plan_.peak_bytes) return false;
    plan_.peak_bytes = peak;
    best_.clear();
    best_.reserve(plan_.buffers.size());
    for (const Buffer& b : plan_.buffers) best_.push_back(b.offset);
    return true;
  }

  // Cuts each value that is slid over in two, since it may lie elsewhere in its last segment.
  void cut_moved() {
    for (Slide& s : slides_) {
      over_.push_back(s.above);
      Buffer& over = plan_.buffers[size_t(s.above)];
      const int segment = plan_.buffers[size_t(s.below)].first;
      if (over.first >= segment) continue;
      Buffer moved = over;
      moved.first = segment;
      over.last = segment - 1;
      s.above = int(plan_.buffers.size());
      plan_.buffers.push_back(moved);
    }
  }

  // ... and makes them whole again.
  void join_moved() {
    for (size_t i = 0; i < slides_.size(); i++) {
      const int moved = std::exchange(slides_[i].above, over_[i]);
      plan_.buffers[size_t(over_[i])].last = plan_.buffers[size_t(moved)].last;
    }
    over_.clear();
    plan_.buffers.erase(plan_.buffers.begin() + ptrdiff_t(whole_), plan_.buffers.end());
  }

  Plan& plan_;
  Work* work_;
  std::vector<Slide> slides_;
  std::vector<int> over_;     // by slide: the buffer that was cut
  const size_t whole_;        // buffers, of which none is cut
  PageVector<int64_t> best_;  // offsets
};

void place_apart(Plan* plan) {
  plan->peak_bytes = 0;
  for (Buffer& b : plan->buffers) {
    b.offset = plan->peak_bytes;
    plan->peak_bytes += b.bytes;
  }
  plan->lower_bound_bytes = plan->peak_bytes;
}

}  // namespace

void place(std::vector<Slide> slides, Placed* found, Plan* plan, Work* work) {
  if (plan->schedule == Schedule::kNaive) return place_apart(plan);
  if (!found->offsets.empty()) return Placing(std::move(slides), plan, work).set(*found);
  if (!too_many_to_search(plan->buffers)) {
    *found = Placing(std::move(slides), plan, work).run();
    return;
  }
  plan->lower_bound_bytes = placement_bound(plan->buffers, slides);
  plan->peak_bytes = place_by_birth(&plan->buffers, slides, work);
}

}  // namespace mbinfer
