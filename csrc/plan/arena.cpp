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
          const Clearance d = clearance(*buffers, slides, shared(p.buffer), i, p.buffer);
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
  return place_in_sequence(std::move(pairs), slides, placement_bound(*buffers, slides), effort, buffers, &work->spent);
}

}  // namespace mbinfer
