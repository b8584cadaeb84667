// First fit in a sequence, and a search over sequences. For two buffers alive at once the distance from the lower to
// the upper one has a minimum (its size, or less where it slides), so a placed buffer forbids an interval of offsets to
// the next.
#include "plan/arena.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <queue>
#include <utility>

#include "common.h"
#include "plan/plan.h"

namespace mbinfer {
namespace {

std::vector<int> by_birth(const std::vector<Buffer>& buffers) {
  std::vector<int> order(buffers.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](int a, int b) {  // a stable sort would take memory
    const int first_a = buffers[size_t(a)].first, first_b = buffers[size_t(b)].first;
    return first_a != first_b ? first_a < first_b : a < b;
  });
  return order;
}

// The pairs of buffers that are alive at once. False where there are more than kPlacementPairs.
bool find_pairs(const std::vector<Buffer>& buffers, std::vector<std::pair<int, int>>* pairs) {
  std::vector<int> alive;
  for (int i : by_birth(buffers)) {
    const int now = buffers[size_t(i)].first;
    alive.erase(std::remove_if(alive.begin(), alive.end(), [&](int j) { return buffers[size_t(j)].last < now; }),
                alive.end());
    if (pairs->size() + alive.size() > kPlacementPairs) return false;
    for (int j : alive) pairs->emplace_back(i, j);
    alive.push_back(i);
  }
  return true;
}

// What keeps a buffer apart from another one that is alive with it: the least distance up to the other one when that
// lies above, and down to it. Less than a size where one slides over the other; it may be negative.
struct Apart {
  int64_t above, below;
};

Apart apart(const std::vector<Buffer>& buffers, const std::vector<Slide>& slides, int slide, int i, int other) {
  Apart d = {round_up(buffers[size_t(i)].bytes, kArenaAlign), round_up(buffers[size_t(other)].bytes, kArenaAlign)};
  if (slide < 0) return d;
  const Slide& s = slides[size_t(slide)];
  int64_t& least = i == s.below ? d.above : d.below;
  least = std::min(least, round_up(s.distance, kArenaAlign));
  return d;
}

class Placer {
 public:
  Placer(const std::vector<Buffer>& buffers, const std::vector<Slide>& slides,
         const std::vector<std::pair<int, int>>& pairs)
      : buffers_(buffers), slides_(slides), first_(buffers.size() + 1, 0), meets_(2 * pairs.size()) {
    for (const auto& p : pairs) first_[size_t(p.first) + 1]++, first_[size_t(p.second) + 1]++;
    std::partial_sum(first_.begin(), first_.end(), first_.begin());
    std::vector<int> next(first_.begin(), first_.end() - 1);
    for (const auto& p : pairs) {
      meets_[size_t(next[size_t(p.first)]++)] = {p.second, -1};
      meets_[size_t(next[size_t(p.second)]++)] = {p.first, -1};
    }
    for (size_t i = 0; i < buffers.size(); i++)
      std::sort(begin(int(i)), end(int(i)), [](const Meeting& a, const Meeting& b) { return a.other < b.other; });
    for (int k = 0; k < int(slides.size()); k++)
      for (int i : {slides[size_t(k)].below, slides[size_t(k)].above})
        for (Meeting* m = begin(i); m != end(i); ++m)
          if (m->other == slides[size_t(k)].below || m->other == slides[size_t(k)].above) m->slide = k;
  }

  // The size of the arena, or a part of it that is more than `most`.
  int64_t place(const std::vector<int>& sequence, int64_t most, std::vector<int64_t>* offsets) {
    offsets->assign(buffers_.size(), -1);
    int64_t top = 0;
    for (int i : sequence) {
      forbidden_.clear();
      for (const Meeting* m = begin(i); m != end(i); ++m) {
        const int64_t offset = (*offsets)[size_t(m->other)];
        if (offset < 0) continue;
        const Apart d = apart(buffers_, slides_, m->slide, i, m->other);
        forbidden_.emplace_back(offset - d.above, offset + d.below);
      }
      std::sort(forbidden_.begin(), forbidden_.end());
      int64_t at = 0;
      for (const auto& f : forbidden_)
        if (f.first < at && at < f.second) at = f.second;
      (*offsets)[size_t(i)] = at;
      top = std::max(top, at + round_up(buffers_[size_t(i)].bytes, kArenaAlign));
      if (top > most) break;
    }
    return top;
  }

  // The buffers alive together with buffer i, and that one.
  void add_meeting(int i, std::vector<int>* buffers) {
    buffers->push_back(i);
    for (const Meeting* m = begin(i); m != end(i); ++m) buffers->push_back(m->other);
  }

  int64_t effort() const { return kPlacementAttempt + int64_t(buffers_.size() + meets_.size()); }

 private:
  struct Meeting {  // with another buffer that is alive at once
    int other, slide;
  };
  Meeting* begin(int i) { return meets_.data() + first_[size_t(i)]; }
  Meeting* end(int i) { return meets_.data() + first_[size_t(i) + 1]; }

  const std::vector<Buffer>& buffers_;
  const std::vector<Slide>& slides_;
  std::vector<int> first_;  // by buffer: of its meetings
  std::vector<Meeting> meets_;
  std::vector<std::pair<int64_t, int64_t>> forbidden_;  // offsets
};

// First fit in the order of birth, against the buffers still alive: where there are so many, alone or at once, that
// what a search holds of them would fill megabytes.
int64_t place_by_birth(std::vector<Buffer>* buffers, const std::vector<Slide>& slides) {
  std::vector<int> slide_of(buffers->size(), -1), over(buffers->size(), -1);  // as the lower, the upper buffer
  for (int k = 0; k < int(slides.size()); k++)
    slide_of[size_t(slides[size_t(k)].below)] = over[size_t(slides[size_t(k)].above)] = k;
  struct Placed {
    int64_t offset, end;
    int buffer;
  };
  std::vector<Placed> alive;           // by offset
  using Ending = std::pair<int, int>;  // the last step of a buffer, and which one
  std::priority_queue<Ending, std::vector<Ending>, std::greater<Ending>> ends;
  auto behind = [&](int64_t offset) {
    return std::upper_bound(alive.begin(), alive.end(), offset,
                            [](int64_t at, const Placed& p) { return at < p.offset; });
  };
  size_t packed = 0;  // of those alive leave no gap up to `full`
  int64_t full = 0, top = 0;
  for (int i : by_birth(*buffers)) {
    Buffer& buffer = (*buffers)[size_t(i)];
    for (; !ends.empty() && ends.top().first < buffer.first; ends.pop()) {
      auto ended = behind((*buffers)[size_t(ends.top().second)].offset);
      do --ended;
      while (ended->buffer != ends.top().second);
      if (size_t(ended - alive.begin()) < packed) packed = 0, full = 0;
      alive.erase(ended);
    }
    auto shared = [&](int j) {
      if (slide_of[size_t(i)] >= 0 && slide_of[size_t(i)] == over[size_t(j)]) return slide_of[size_t(i)];
      return over[size_t(i)] >= 0 && over[size_t(i)] == slide_of[size_t(j)] ? over[size_t(i)] : -1;
    };
    const int64_t size = round_up(buffer.bytes, kArenaAlign);
    buffer.offset = 0;
    if (slide_of[size_t(i)] < 0 && over[size_t(i)] < 0) {  // the first gap that holds it
      for (; packed < alive.size() && alive[packed].offset <= full; packed++) full = std::max(full, alive[packed].end);
      if (size > 0) buffer.offset = full;
      for (size_t k = size > 0 ? packed : 0; k < alive.size() && buffer.offset + size > alive[k].offset; k++)
        buffer.offset = std::max(buffer.offset, alive[k].end);
    } else {
      for (int64_t before = -1; before != buffer.offset;) {  // again where a slide pushed it up
        before = buffer.offset;
        for (const Placed& p : alive) {
          const Apart d = apart(*buffers, slides, shared(p.buffer), i, p.buffer);
          if (p.offset - d.above < buffer.offset && buffer.offset < p.offset + d.below)
            buffer.offset = p.offset + d.below;
        }
      }
    }
    top = std::max(top, buffer.offset + size);
    const auto at = behind(buffer.offset);
    if (size_t(at - alive.begin()) < packed) packed = 0, full = 0;
    alive.insert(at, {buffer.offset, buffer.offset + size, i});
    ends.emplace(buffer.last, i);
  }
  return top;
}

// The best of the sequences that were tried.
class SequenceSearch {
 public:
  SequenceSearch(const std::vector<Buffer>& buffers, const std::vector<Slide>& slides, Placer* placer, int64_t bound)
      : buffers_(buffers), slides_(slides), placer_(*placer), bound_(bound), sequence_(buffers.size()) {}

  const std::vector<int64_t>& offsets() const { return best_; }
  int64_t least() const { return least_; }

  // What slides comes in the order in which it must lie, the latest lowest: after everything beside it, or before.
  void try_rules() {
    std::vector<bool> slid(buffers_.size(), false);
    for (const Slide& s : slides_) slid[s.below] = slid[s.above] = true;
    const std::vector<Buffer>& all = buffers_;
    try_sorted([&](int i) { return slid[i] ? all[i].first - (int64_t(1) << 40) : all[i].bytes; });
    try_sorted([&](int i) { return slid[i] ? all[i].first + (int64_t(1) << 40) : all[i].bytes; });
    try_sorted([&](int i) { return all[i].bytes; });
    try_sorted([&](int i) { return all[i].bytes * (all[i].last - all[i].first + 1); });
    try_sorted([&](int i) { return all[i].last - all[i].first; });
    try_sorted([&](int i) { return -all[i].first; });
  }
  static constexpr int kRules = 6;

  void try_all() {
    std::iota(sequence_.begin(), sequence_.end(), 0);
    do attempt();
    while (least_ > bound_ && std::next_permutation(sequence_.begin(), sequence_.end()));
  }

  // Moves a buffer that is alive where the arena is fullest to another place in the best sequence; a fixed generator,
  // so that a plan is the same every time. Returns the effort that was spent.
  int64_t improve(int64_t effort, int64_t spent) {
    const int count = int(buffers_.size());
    std::vector<int> critical;
    for (; spent < effort && least_ > bound_; spent += placer_.effort()) {
      critical.clear();
      for (int i = 0; i < count; i++)
        if (best_[i] + round_up(buffers_[i].bytes, kArenaAlign) >= least_) placer_.add_meeting(i, &critical);
      // One buffer in a new place in the sequence, or, to leave a dead end, several; any buffer now and then.
      sequence_ = best_sequence_;
      do {
        const int moved = next(4) ? critical[next(critical.size())] : int(next(size_t(count)));
        sequence_.erase(std::find(sequence_.begin(), sequence_.end(), moved));
        sequence_.insert(sequence_.begin() + ptrdiff_t(next(size_t(count))), moved);
      } while (!next(3));
      attempt();
    }
    return spent;
  }

 private:
  void attempt() {
    const int64_t top = placer_.place(sequence_, least_, &offsets_);
    if (top > least_) return;
    least_ = top;
    best_ = offsets_;
    best_sequence_ = sequence_;
  }

  template <class Key>
  void try_sorted(Key key) {  // falling
    std::iota(sequence_.begin(), sequence_.end(), 0);
    std::stable_sort(sequence_.begin(), sequence_.end(), [&](int a, int b) { return key(a) > key(b); });
    attempt();
  }

  size_t next(size_t n) {  // xorshift
    random_ ^= random_ << 13;
    random_ ^= random_ >> 7;
    random_ ^= random_ << 17;
    return size_t(random_ % uint64_t(n));
  }

  const std::vector<Buffer>& buffers_;
  const std::vector<Slide>& slides_;
  Placer& placer_;
  const int64_t bound_;
  std::vector<int> sequence_, best_sequence_;
  std::vector<int64_t> offsets_, best_;
  int64_t least_ = INT64_MAX;
  uint64_t random_ = 0x9E3779B97F4A7C15u;
};

}  // namespace

int64_t placement_bound(const std::vector<Buffer>& buffers, const std::vector<Slide>& slides) {
  int end = 0;
  for (const Buffer& b : buffers) end = std::max(end, b.last + 1);
  std::vector<int64_t> change(size_t(end) + 1, 0);  // of the bytes alive, by segment
  auto add = [&](int first, int last, int64_t bytes) {
    if (first > last) return;
    change[size_t(first)] += bytes;
    change[size_t(last) + 1] -= bytes;
  };
  for (const Buffer& b : buffers) add(b.first, b.last, round_up(b.bytes, kArenaAlign));
  for (const Slide& s : slides) {
    const Buffer &below = buffers[size_t(s.below)], &above = buffers[size_t(s.above)];
    add(std::max(below.first, above.first), std::min(below.last, above.last),
        -std::max<int64_t>(0, std::min({below.bytes - s.distance, below.bytes, above.bytes})));
  }
  int64_t live = 0, most = 0;
  for (int64_t c : change) most = std::max(most, live += c);
  return most;
}

int64_t place(std::vector<Buffer>* buffers, const std::vector<Slide>& slides, int64_t effort, Work* work) {
  const int count = int(buffers->size());
  if (!count) return 0;
  std::vector<std::pair<int, int>> pairs;
  if (count > kPlacementBlocks || !find_pairs(*buffers, &pairs)) {
    work->spent += int64_t(count) * count;
    work->shortcuts |= kPlacementShortcut;
    return place_by_birth(buffers, slides);
  }
  Placer placer(*buffers, slides, pairs);
  pairs = {};
  SequenceSearch search(*buffers, slides, &placer, placement_bound(*buffers, slides));
  search.try_rules();
  int64_t spent = SequenceSearch::kRules * placer.effort();
  if (count <= kPlacementAll)
    search.try_all();
  else
    spent = search.improve(effort, spent);
  work->spent += spent;
  for (int i = 0; i < count; i++) (*buffers)[i].offset = search.offsets()[i];
  return search.least();
}

}  // namespace mbinfer
