// For two buffers alive at once the distance from the lower to the upper one has a minimum (its size, or less where it
// slides), so a placed buffer forbids an interval of offsets to the next.
#include "plan/sequences.h"

#include <algorithm>
#include <numeric>

#include "common.h"
#include "plan/tuning.h"

namespace mbinfer {
namespace {

class Placer {
 public:
  Placer(const PageVector<Buffer>& buffers, const std::vector<Slide>& slides,
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
    sizes_.reserve(buffers.size());
    for (const Buffer& buffer : buffers) sizes_.push_back(round_up(buffer.bytes, kArenaAlign));
  }

  // The size of the arena, or a part of it that is more than `most`. The first `placed` buffers of the sequence have
  // their offsets, and all others -1.
  int64_t place(const std::vector<int>& sequence, size_t placed, int64_t most, std::vector<int64_t>* offsets) {
    int64_t top = 0;
    for (size_t k = 0; k < placed; k++) top = std::max(top, (*offsets)[size_t(sequence[k])] + size(sequence[k]));
    for (size_t k = placed; k < sequence.size() && top <= most; k++) {
      const int64_t at = (*offsets)[size_t(sequence[k])] = first_fit(sequence[k], *offsets);
      top = std::max(top, at + size(sequence[k]));
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
  int64_t size(int i) const { return sizes_[size_t(i)]; }

  // The least offset that no buffer placed forbids: up past one that does until none does, in whatever order.
  int64_t first_fit(int i, const std::vector<int64_t>& offsets) {
    forbidden_.clear();
    for (const Meeting* m = begin(i); m != end(i); ++m) {
      const int64_t offset = offsets[size_t(m->other)];
      if (offset < 0) continue;
      Clearance d = {size(i), size(m->other)};
      if (m->slide >= 0) d = clearance(buffers_, slides_, m->slide, i, m->other);
      forbidden_.emplace_back(offset - d.above, offset + d.below);
    }
    int64_t at = 0;
    for (int64_t before = -1; before != at;) {
      before = at;
      for (const auto& f : forbidden_)
        if (f.first < at && at < f.second) at = f.second;
    }
    return at;
  }

  Meeting* begin(int i) { return meets_.data() + first_[size_t(i)]; }
  Meeting* end(int i) { return meets_.data() + first_[size_t(i) + 1]; }

  const PageVector<Buffer>& buffers_;
  const std::vector<Slide>& slides_;
  std::vector<int64_t> sizes_;  // by buffer: whole lines
  std::vector<int> first_;      // by buffer: of its meetings
  std::vector<Meeting> meets_;
  std::vector<std::pair<int64_t, int64_t>> forbidden_;  // offsets
};

// The best of the sequences that were tried.
class SequenceSearch {
 public:
  SequenceSearch(const PageVector<Buffer>& buffers, const std::vector<Slide>& slides, Placer* placer, int64_t bound)
      : buffers_(buffers), slides_(slides), placer_(*placer), bound_(bound), sequence_(buffers.size()) {}

  const std::vector<int64_t>& offsets() const { return best_; }
  int64_t least() const { return least_; }

  // What slides comes in the order in which it must lie, the latest lowest: after everything beside it, or before.
  void try_rules() {
    std::vector<bool> slid(buffers_.size(), false);
    for (const Slide& s : slides_) slid[s.below] = slid[s.above] = true;
    const PageVector<Buffer>& all = buffers_;
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
    do attempt(0);
    while (least_ > bound_ && std::next_permutation(sequence_.begin(), sequence_.end()));
  }

  // Moves a buffer that is alive where the arena is fullest to another place in the best sequence; a fixed generator,
  // so that a plan is the same every time. Returns the effort that was spent.
  int64_t improve(int64_t effort, int64_t spent) {
    const int count = int(buffers_.size());
    std::vector<int> critical;
    for (bool better = true; spent < effort && least_ > bound_; spent += placer_.effort()) {
      if (better) critical.clear();
      for (int i = 0; i < count && better; i++)
        if (best_[i] + round_up(buffers_[i].bytes, kArenaAlign) >= least_) placer_.add_meeting(i, &critical);
      // One buffer in a new place in the sequence, or, to leave a dead end, several; any buffer now and then.
      sequence_ = best_sequence_;
      size_t alike = sequence_.size();
      do {
        const int moved = next(4) ? critical[next(critical.size())] : int(next(size_t(count)));
        const auto from = std::find(sequence_.begin(), sequence_.end(), moved);
        const auto to = sequence_.begin() + ptrdiff_t(next(size_t(count)));
        if (from < to)
          std::rotate(from, from + 1, to + 1);
        else
          std::rotate(to, from, from + 1);
        alike = std::min(alike, size_t(std::min(from, to) - sequence_.begin()));
      } while (!next(3));
      better = attempt(alike);
    }
    return spent;
  }

 private:
  // Whether the sequence is as good as the best one, with which it begins: so many buffers lie where they lay.
  bool attempt(size_t alike) {
    offsets_.assign(buffers_.size(), -1);
    for (size_t k = 0; k < alike; k++) offsets_[size_t(sequence_[k])] = best_[size_t(sequence_[k])];
    const int64_t top = placer_.place(sequence_, alike, least_, &offsets_);
    if (top > least_) return false;
    least_ = top;
    best_ = offsets_;
    best_sequence_ = sequence_;
    return true;
  }

  template <class Key>
  void try_sorted(Key key) {  // falling
    if (least_ <= bound_) return;
    std::iota(sequence_.begin(), sequence_.end(), 0);
    std::stable_sort(sequence_.begin(), sequence_.end(), [&](int a, int b) { return key(a) > key(b); });
    attempt(0);
  }

  size_t next(size_t n) {  // xorshift
    random_ ^= random_ << 13;
    random_ ^= random_ >> 7;
    random_ ^= random_ << 17;
    return size_t(random_ % uint64_t(n));
  }

  const PageVector<Buffer>& buffers_;
  const std::vector<Slide>& slides_;
  Placer& placer_;
  const int64_t bound_;
  std::vector<int> sequence_, best_sequence_;
  std::vector<int64_t> offsets_, best_;
  int64_t least_ = INT64_MAX;
  uint64_t random_ = 0x9E3779B97F4A7C15u;
};

}  // namespace

Clearance clearance(const PageVector<Buffer>& buffers, const std::vector<Slide>& slides, int slide, int i, int other) {
  Clearance d = {round_up(buffers[size_t(i)].bytes, kArenaAlign), round_up(buffers[size_t(other)].bytes, kArenaAlign)};
  if (slide < 0) return d;
  const Slide& s = slides[size_t(slide)];
  int64_t& least = i == s.below ? d.above : d.below;
  least = std::min(least, round_up(s.distance, kArenaAlign));
  return d;
}

int64_t place_in_sequence(std::vector<std::pair<int, int>> pairs, const std::vector<Slide>& slides, int64_t bound,
                          int64_t effort, PageVector<Buffer>* buffers, int64_t* spent) {
  Placer placer(*buffers, slides, pairs);
  pairs = {};
  SequenceSearch search(*buffers, slides, &placer, bound);
  search.try_rules();
  int64_t taken = SequenceSearch::kRules * placer.effort();
  if (int(buffers->size()) <= kPlacementAll)
    search.try_all();
  else
    taken = search.improve(effort, taken);
  *spent += taken;
  for (size_t i = 0; i < buffers->size(); i++) (*buffers)[i].offset = search.offsets()[i];
  return search.least();
}

}  // namespace mbinfer
