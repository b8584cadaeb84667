// First fit in a sequence, and a search over sequences. For two blocks alive at once the distance from the lower to
// the upper one has a minimum (its size, or less where it slides), so a placed block forbids an interval of offsets to
// the next.
#include "plan/arena.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "common.h"
#include "plan/plan.h"

namespace mbinfer {
namespace {

constexpr int kFew = 7;               // blocks, of which every sequence is tried
constexpr int64_t kEffort = 1 << 19;  // of the local search, in pairs of blocks looked at
constexpr int64_t kAttempt = 32;      // what an attempt takes beside them

class Placer {
 public:
  Placer(const std::vector<Block>& blocks, const std::vector<Slide>& slides) : blocks_(blocks), meets_(blocks.size()) {
    for (size_t i = 0; i < blocks.size(); i++)
      for (size_t j = 0; j < blocks.size(); j++)
        if (i != j && blocks[i].first <= blocks[j].last && blocks[j].first <= blocks[i].last)
          meets_[i].push_back({int(j), round_up(blocks[i].bytes, kArenaAlign), round_up(blocks[j].bytes, kArenaAlign)});
    for (const Slide& s : slides)
      for (int i : {s.below, s.above})
        for (Meeting& m : meets_[size_t(i)]) {
          if (m.other != s.below && m.other != s.above) continue;
          int64_t& d = i == s.below ? m.above : m.below;
          d = std::min(d, round_up(s.distance, kArenaAlign));  // may be negative
        }
  }

  // The size of the arena, or a part of it that is more than `most`.
  int64_t place(const std::vector<int>& sequence, int64_t most, std::vector<int64_t>* offsets) {
    offsets->assign(blocks_.size(), -1);
    int64_t top = 0;
    for (int i : sequence) {
      forbidden_.clear();
      for (const Meeting& m : meets_[size_t(i)])
        if ((*offsets)[size_t(m.other)] >= 0)
          forbidden_.emplace_back((*offsets)[size_t(m.other)] - m.above, (*offsets)[size_t(m.other)] + m.below);
      std::sort(forbidden_.begin(), forbidden_.end());
      int64_t at = 0;
      for (const auto& f : forbidden_)
        if (f.first < at && at < f.second) at = f.second;
      (*offsets)[size_t(i)] = at;
      top = std::max(top, at + round_up(blocks_[size_t(i)].bytes, kArenaAlign));
      if (top > most) break;
    }
    return top;
  }

  // The blocks alive together with block i, and that one.
  void add_meeting(int i, std::vector<int>* blocks) const {
    blocks->push_back(i);
    for (const Meeting& m : meets_[size_t(i)]) blocks->push_back(m.other);
  }

  int64_t effort() const {
    int64_t pairs = kAttempt;
    for (const auto& meets : meets_) pairs += int64_t(meets.size()) + 1;
    return pairs;
  }

 private:
  struct Meeting {  // of two blocks that are alive at once
    int other;
    int64_t above, below;  // least distance up to the other one when that lies above, and down to it
  };
  const std::vector<Block>& blocks_;
  std::vector<std::vector<Meeting>> meets_;
  std::vector<std::pair<int64_t, int64_t>> forbidden_;  // offsets
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
  Placer placer(*blocks, slides);
  const int64_t bound = placement_bound(*blocks, slides);
  std::vector<int> sequence(count), best_sequence;
  std::vector<int64_t> offsets, best;
  int64_t least = INT64_MAX;
  auto attempt = [&] {
    const int64_t top = placer.place(sequence, least, &offsets);
    if (top > least) return;
    least = top;
    best = offsets;
    best_sequence = sequence;
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
  if (count <= kFew) {
    std::iota(sequence.begin(), sequence.end(), 0);
    do attempt();
    while (least > bound && std::next_permutation(sequence.begin(), sequence.end()));
  }
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
  for (int64_t effort = 0; effort < kEffort && least > bound && count > kFew; effort += placer.effort()) {
    critical.clear();
    for (int i = 0; i < count; i++)
      if (best[i] + round_up(all[i].bytes, kArenaAlign) >= least) placer.add_meeting(i, &critical);
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
