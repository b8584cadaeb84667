// First fit in a sequence, and a local search over sequences. For two blocks alive at once the distance from the lower to
// the upper one has a minimum (its size, or less where it slides), so a placed block forbids an interval of offsets to the next.
#include "plan/arena.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "common.h"
#include "plan/plan.h"

namespace mbinfer {
namespace {

constexpr int kTries = 1500;

class Placer {
 public:
  Placer(const std::vector<Block>& blocks, const std::vector<Slide>& slides) : blocks_(blocks), count_(int(blocks.size())) {
    distance_.assign(size_t(count_) * count_, kFree);
    for (int i = 0; i < count_; i++)
      for (int j = 0; j < count_; j++)
        if (i != j && blocks[i].first <= blocks[j].last && blocks[j].first <= blocks[i].last)
          distance_[i * count_ + j] = round_up(blocks[i].bytes, kArenaAlign);
    for (const Slide& s : slides) {
      int64_t& d = distance_[s.below * count_ + s.above];
      d = std::min(d, round_up(s.distance, kArenaAlign));  // may be negative
    }
  }

  int64_t place(const std::vector<int>& sequence, std::vector<int64_t>* offsets) const {
    offsets->assign(count_, -1);
    int64_t top = 0;
    std::vector<std::pair<int64_t, int64_t>> forbidden;
    for (int i : sequence) {
      forbidden.clear();
      for (int j = 0; j < count_; j++) {
        if ((*offsets)[j] < 0 || distance_[i * count_ + j] == kFree) continue;
        forbidden.emplace_back((*offsets)[j] - distance_[i * count_ + j], (*offsets)[j] + distance_[j * count_ + i]);
      }
      std::sort(forbidden.begin(), forbidden.end());
      int64_t at = 0;
      for (const auto& f : forbidden)
        if (f.first < at && at < f.second) at = f.second;
      (*offsets)[i] = at;
      top = std::max(top, at + round_up(blocks_[i].bytes, kArenaAlign));
    }
    return top;
  }

 private:
  static constexpr int64_t kFree = INT64_MAX;  // never alive at once: they may meet anywhere
  const std::vector<Block>& blocks_;
  int count_;
  std::vector<int64_t> distance_;  // [i][j]: least offset(j) - offset(i) when i lies below j
};

}  // namespace

int64_t placement_bound(const std::vector<Block>& blocks, const std::vector<Slide>& slides) {
  int64_t most = 0;
  for (const Block& at : blocks) {
    int64_t live = 0;
    for (const Block& b : blocks)
      if (b.first <= at.first && at.first <= b.last) live += round_up(b.bytes, kArenaAlign);
    for (const Slide& s : slides) {
      const Block &below = blocks[s.below], &above = blocks[s.above];
      if (below.first <= at.first && at.first <= below.last && above.first <= at.first && at.first <= above.last)
        live -= std::max<int64_t>(0, std::min({below.bytes - s.distance, below.bytes, above.bytes}));
    }
    most = std::max(most, live);
  }
  return most;
}

int64_t place(std::vector<Block>* blocks, const std::vector<Slide>& slides) {
  const int count = int(blocks->size());
  if (!count) return 0;
  const Placer placer(*blocks, slides);
  const int64_t bound = placement_bound(*blocks, slides);
  std::vector<int> sequence(count), best_sequence;
  std::vector<int64_t> offsets, best;
  int64_t least = INT64_MAX;
  auto attempt = [&] {
    int64_t top = placer.place(sequence, &offsets);
    if (top <= least) {
      least = top;
      best = offsets;
      best_sequence = sequence;
      return true;
    }
    return false;
  };
  auto sorted_by = [&](auto key) {  // falling
    std::iota(sequence.begin(), sequence.end(), 0);
    std::stable_sort(sequence.begin(), sequence.end(), [&](int a, int b) { return key(a) > key(b); });
    attempt();
  };
  const std::vector<Block>& all = *blocks;
  // What slides comes in the order in which it must lie, the latest lowest: after everything beside it, or before.
  std::vector<bool> slid(count, false);
  for (const Slide& s : slides) slid[s.below] = slid[s.above] = true;
  sorted_by([&](int i) { return slid[i] ? all[i].first - (int64_t(1) << 40) : all[i].bytes; });
  sorted_by([&](int i) { return slid[i] ? all[i].first + (int64_t(1) << 40) : all[i].bytes; });
  sorted_by([&](int i) { return all[i].bytes; });
  sorted_by([&](int i) { return all[i].bytes * (all[i].last - all[i].first + 1); });
  sorted_by([&](int i) { return all[i].last - all[i].first; });
  sorted_by([&](int i) { return -all[i].first; });
  // Moves a block that is alive where the arena is fullest to another place in the best sequence; a fixed generator, so
  // that a plan is the same every time.
  uint64_t random = 0x9E3779B97F4A7C15u;
  auto next = [&](size_t n) {
    random ^= random << 13;
    random ^= random >> 7;
    random ^= random << 17;
    return size_t(random % uint64_t(n));
  };
  std::vector<int> critical;
  for (int tries = 0; tries < kTries && least > bound && count > 1; tries++) {
    critical.clear();
    for (int i = 0; i < count; i++) {
      if (best[i] + round_up((*blocks)[i].bytes, kArenaAlign) < least) continue;
      for (int j = 0; j < count; j++)
        if ((*blocks)[i].first <= (*blocks)[j].last && (*blocks)[j].first <= (*blocks)[i].last) critical.push_back(j);
    }
    // One block in a new place in the sequence, or, to leave a dead end, several; any block now and then.
    sequence = best_sequence;
    do {
      const int moved = next(4) ? critical[next(critical.size())] : int(next(size_t(count)));
      sequence.erase(std::find(sequence.begin(), sequence.end(), moved));
      sequence.insert(sequence.begin() + ptrdiff_t(next(size_t(count))), moved);
    } while (!next(3));
    attempt();
  }
  for (int i = 0; i < count; i++) (*blocks)[i].offset = best[i];
  return least;
}

}  // namespace mbinfer
