#include "plan/arena.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <queue>
#include <utility>

#include "common.h"
#include "plan/sequences.h"

namespace mbinfer {
namespace {

std::vector<int> by_birth(const PageVector<Buffer>& buffers) {
  std::vector<int> order(buffers.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](int a, int b) {  // a stable sort would take memory
    const int first_a = buffers[size_t(a)].first, first_b = buffers[size_t(b)].first;
    return first_a != first_b ? first_a < first_b : a < b;
  });
  return order;
}

// The pairs of buffers that are alive at once.
std::vector<std::pair<int, int>> find_pairs(const PageVector<Buffer>& buffers) {
  std::vector<std::pair<int, int>> pairs;
  std::vector<int> alive;
  for (int i : by_birth(buffers)) {
    const int now = buffers[size_t(i)].first;
    alive.erase(std::remove_if(alive.begin(), alive.end(), [&](int j) { return buffers[size_t(j)].last < now; }),
                alive.end());
    for (int j : alive) pairs.emplace_back(i, j);
    alive.push_back(i);
  }
  return pairs;
}

}  // namespace

bool too_many_to_search(const PageVector<Buffer>& buffers) {
  if (buffers.size() > size_t(kPlacementBlocks)) return true;
  int end = 0;
  for (const Buffer& b : buffers) end = std::max(end, b.last + 1);
  std::vector<std::pair<int, int>> changes(size_t(end) + 1);  // by segment: buffers that begin, and that ended before
  for (const Buffer& b : buffers) changes[size_t(b.first)].first++, changes[size_t(b.last) + 1].second++;
  size_t alive = 0, pairs = 0;
  for (const auto& [begin, ended] : changes) {
    alive -= size_t(ended);
    for (int i = 0; i < begin; i++) pairs += alive++;
  }
  return pairs > kPlacementPairs;
}

namespace {

// Buffers in the order of birth, each at the first offset that those still alive leave to it.
class ByBirth {
 public:
  ByBirth(PageVector<Buffer>* buffers, const std::vector<Slide>& slides)
      : buffers_(*buffers), slides_(slides), slide_of_(buffers->size(), -1), over_(buffers->size(), -1) {
    for (int k = 0; k < int(slides.size()); k++)
      slide_of_[size_t(slides[size_t(k)].below)] = over_[size_t(slides[size_t(k)].above)] = k;
  }

  // Places buffer i, which is born no sooner than those before it; its end.
  int64_t place(int i) {
    Buffer& buffer = buffers_[size_t(i)];
    end_before(buffer.first);
    const int64_t size = round_up(buffer.bytes, kArenaAlign);
    const bool slides = slide_of_[size_t(i)] >= 0 || over_[size_t(i)] >= 0;
    buffer.offset = slides ? beside_slides(i) : first_gap(size);
    const auto at = behind(buffer.offset);
    forget_packed(at);
    alive_.insert(at, {buffer.offset, buffer.offset + size, i});
    ends_.emplace(+buffer.last, i);
    return buffer.offset + size;
  }

 private:
  struct Placed {
    int64_t offset, end;
    int buffer;
  };
  using Ending = std::pair<int, int>;  // the last step of a buffer, and which one

  std::vector<Placed>::iterator behind(int64_t offset) {
    return std::upper_bound(alive_.begin(), alive_.end(), offset,
                            [](int64_t at, const Placed& p) { return at < p.offset; });
  }

  void forget_packed(std::vector<Placed>::iterator changed) {
    if (size_t(changed - alive_.begin()) < packed_) packed_ = 0, full_ = 0;
  }

  void end_before(int first) {
    for (; !ends_.empty() && ends_.top().first < first; ends_.pop()) {
      auto ended = behind(buffers_[size_t(ends_.top().second)].offset);
      do --ended;
      while (ended->buffer != ends_.top().second);
      forget_packed(ended);
      alive_.erase(ended);
    }
  }

  int64_t first_gap(int64_t size) {
    for (; packed_ < alive_.size() && alive_[packed_].offset <= full_; packed_++)
      full_ = std::max(full_, alive_[packed_].end);
    int64_t offset = size > 0 ? full_ : 0;
    for (size_t k = size > 0 ? packed_ : 0; k < alive_.size() && offset + size > alive_[k].offset; k++)
      offset = std::max(offset, alive_[k].end);
    return offset;
  }

  int64_t beside_slides(int i) {
    const int64_t size = round_up(buffers_[size_t(i)].bytes, kArenaAlign);
    int64_t offset = 0;
    for (int64_t before = -1; before != offset;) {  // again where a slide pushed it up
      before = offset;
      for (const Placed& p : alive_) {
        if (p.offset - size >= offset) break;  // no distance is more than a size
        if (offset >= p.end) continue;
        const int slide = shared(i, p.buffer);
        const Clearance d =
            slide < 0 ? Clearance{size, p.end - p.offset} : clearance(buffers_, slides_, slide, i, p.buffer);
        if (p.offset - d.above < offset && offset < p.offset + d.below) offset = p.offset + d.below;
      }
    }
    return offset;
  }

  // The slide of two buffers, or -1.
  int shared(int i, int j) const {
    if (slide_of_[size_t(i)] >= 0 && slide_of_[size_t(i)] == over_[size_t(j)]) return slide_of_[size_t(i)];
    return over_[size_t(i)] >= 0 && over_[size_t(i)] == slide_of_[size_t(j)] ? over_[size_t(i)] : -1;
  }

  PageVector<Buffer>& buffers_;
  const std::vector<Slide>& slides_;
  std::vector<int> slide_of_, over_;  // of each buffer: the slide of which it is the lower, the upper one
  std::vector<Placed> alive_;         // by offset
  std::priority_queue<Ending, std::vector<Ending>, std::greater<Ending>> ends_;
  size_t packed_ = 0;  // of those alive leave no gap up to `full_`
  int64_t full_ = 0;
};

}  // namespace

int64_t place_by_birth(PageVector<Buffer>* buffers, const std::vector<Slide>& slides, Work* work) {
  work->spent += int64_t(buffers->size()) * int64_t(buffers->size());
  work->shortcuts |= kPlacementShortcut;
  const bool in_order = std::is_sorted(buffers->begin(), buffers->end(),
                                       [](const Buffer& a, const Buffer& b) { return a.first < b.first; });
  const std::vector<int> order = in_order ? std::vector<int>() : by_birth(*buffers);
  ByBirth placer(buffers, slides);
  int64_t top = 0;
  for (int n = 0; n < int(buffers->size()); n++) top = std::max(top, placer.place(in_order ? n : order[size_t(n)]));
  return top;
}

std::vector<int64_t> bytes_alive(const PageVector<Buffer>& buffers, const std::vector<Slide>& slides) {
  int end = 0;
  for (const Buffer& b : buffers) end = std::max(end, b.last + 1);
  std::vector<int64_t> alive(size_t(end) + 1, 0);  // first how many more there are than in the segment before
  auto add = [&](int first, int last, int64_t bytes) {
    if (first > last) return;
    alive[size_t(first)] += bytes;
    alive[size_t(last) + 1] -= bytes;
  };
  for (const Buffer& b : buffers) add(b.first, b.last, round_up(b.bytes, kArenaAlign));
  for (const Slide& s : slides) {
    const Buffer &below = buffers[size_t(s.below)], &above = buffers[size_t(s.above)];
    add(std::max(below.first, above.first), std::min(below.last, above.last),
        -std::max<int64_t>(0, std::min<int64_t>({below.bytes - s.distance, below.bytes, above.bytes})));
  }
  std::partial_sum(alive.begin(), alive.end(), alive.begin());
  return alive;
}

int64_t placement_bound(const PageVector<Buffer>& buffers, const std::vector<Slide>& slides) {
  const std::vector<int64_t> alive = bytes_alive(buffers, slides);
  return *std::max_element(alive.begin(), alive.end());
}

int64_t place(PageVector<Buffer>* buffers, const std::vector<Slide>& slides, int64_t effort, Work* work) {
  if (buffers->empty()) return 0;
  if (too_many_to_search(*buffers)) return place_by_birth(buffers, slides, work);
  return place_in_sequence(find_pairs(*buffers), slides, placement_bound(*buffers, slides), effort, buffers,
                           &work->spent);
}

}  // namespace mbinfer
