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
  // move up in between. A short search of either, then a long one; and as few move as take no more memory.
  Placed run() {
    Moves moving = Moves::kNone;
    for (int64_t effort : {kPlacementWork / 8, kPlacementWork})
      for (Moves moves : {Moves::kNone, Moves::kAll}) {
        if (plan_.peak_bytes <= plan_.lower_bound_bytes && plan_.peak_bytes < INT64_MAX) break;
        if (attempt(moves, effort, plan_.peak_bytes - 1)) moving = moves;
      }
    if (moving == Moves::kAll && attempt(Moves::kNeeded, kPlacementWork / 4, plan_.peak_bytes)) moving = Moves::kNeeded;
    Placed found = {moving, plan_.lower_bound_bytes, std::move(best_)};
    set(found);
    return found;
  }

  // Whether simple rules reach the bound, by whatever moves.
  bool reaches_bound() {
    const int64_t bound = placement_bound(plan_.buffers, slides_);
    for (Moves moves : {Moves::kNone, Moves::kAll})
      if (attempt(moves, 0, bound) && plan_.lower_bound_bytes == bound) return true;
    plan_.peak_bytes = plan_.lower_bound_bytes = INT64_MAX;
    return false;
  }

  void set(const Placed& found) {
    cut_moved(found.moves);
    plan_.lower_bound_bytes = found.lower_bound_bytes;
    plan_.peak_bytes = 0;
    for (size_t i = 0; i < plan_.buffers.size(); i++) {
      Buffer& buffer = plan_.buffers[i];
      buffer.offset = found.offsets[i];
      plan_.peak_bytes = std::max(plan_.peak_bytes, buffer.offset + round_up(buffer.bytes, kArenaAlign));
    }
  }

 private:
  // True: into `most` bytes, and these offsets are the best ones now.
  bool attempt(Moves moves, int64_t effort, int64_t most) {
    if (moves != Moves::kNone && slides_.empty()) return false;
    cut_moved(moves);
    plan_.lower_bound_bytes = std::min(plan_.lower_bound_bytes, placement_bound(plan_.buffers, slides_));
    const int64_t peak = place(&plan_.buffers, slides_, effort, work_);
    if (peak <= most) {
      plan_.peak_bytes = peak;
      best_.clear();
      best_.reserve(plan_.buffers.size());
      for (const Buffer& b : plan_.buffers) best_.push_back(b.offset);
    }
    join_moved();
    return peak <= most;
  }

  // Cuts values that are slid over in two, since they may lie elsewhere in their last segment; needed are those of
  // segments in which there is no room for all side by side.
  void cut_moved(Moves moves) {
    if (moves == Moves::kNone) return;
    const int64_t room = moves == Moves::kAll ? -1 : placement_bound(plan_.buffers, slides_);
    const std::vector<int64_t> alive = bytes_alive(plan_.buffers, {});
    for (Slide& s : slides_) {
      over_.push_back(s.above);
      Buffer& over = plan_.buffers[size_t(s.above)];
      const int segment = plan_.buffers[size_t(s.below)].first;
      if (over.first >= segment || alive[size_t(segment)] <= room) continue;
      Buffer moved = over;
      moved.first = segment;
      over.last = segment - 1;
      s.above = int(plan_.buffers.size());
      plan_.buffers.push_back(moved);
    }
  }

  // ... and makes them whole again.
  void join_moved() {
    for (size_t i = 0; i < over_.size(); i++) {
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

void place(std::vector<Slide> slides, bool weighed, Placed* found, Plan* plan, Work* work) {
  if (plan->schedule == Schedule::kNaive) return place_apart(plan);
  if (!found->offsets.empty()) return Placing(std::move(slides), plan, work).set(*found);
  if (!too_many_to_search(plan->buffers)) {
    Placing placing(std::move(slides), plan, work);
    if (!weighed || !placing.reaches_bound()) *found = placing.run();
    return;
  }
  plan->lower_bound_bytes = placement_bound(plan->buffers, slides);
  plan->peak_bytes = place_by_birth(&plan->buffers, slides, work);
}

}  // namespace mbinfer
