// What a search of segments holds: paths, thousands of them, in memory that is given back at once.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory_resource>
#include <vector>

#include "common.h"
#include "pages.h"
#include "plan/tuning.h"

namespace mbinfer {

// Memory in few blocks, given back together: thousands of small pieces would leave a heap in which nothing has room.
class Blocks : public std::pmr::memory_resource {
 private:
  struct Block {
    Pages pages;
    size_t used;
  };

  // In one of the latest blocks that has room: what does not fit into the last one leaves its end to smaller pieces.
  void* do_allocate(size_t bytes, size_t alignment) override {
    for (auto block = blocks_.rbegin(); block != blocks_.rend() && block - blocks_.rbegin() < kLatest; ++block)
      if (round_up(block->used, alignment) + bytes <= block->pages.size()) return take(&*block, bytes, alignment);
    blocks_.push_back({Pages(round_up(bytes, kSearchBlock)), 0});
    return take(&blocks_.back(), bytes, alignment);
  }
  static void* take(Block* block, size_t bytes, size_t alignment) {
    char* at = block->pages.data() + round_up(block->used, alignment);
    block->used = size_t(at + bytes - block->pages.data());
    return at;
  }
  void do_deallocate(void*, size_t, size_t) override {}
  bool do_is_equal(const std::pmr::memory_resource& other) const noexcept override { return this == &other; }

  static constexpr ptrdiff_t kLatest = 4;
  std::vector<Block> blocks_;
};

// A way to run stages first .. of a segment, as a link to the way without its last stage.
struct Path {
  double cycles;
  int32_t lines;            // of kArenaAlign bytes: rings and kept rows
  uint16_t option, before;  // of the last stage; index of the path without it, or kNoPath

  int64_t bytes() const { return lines * kArenaAlign; }
};

static_assert(sizeof(Path) == 16, "thousands of them");

// A few paths, by index, with room for one more than is kept: thousands of these on the heap would make it grow.
class PathSet {
 public:
  uint16_t* begin() { return paths_.data(); }
  uint16_t* end() { return begin() + size_; }
  const uint16_t* begin() const { return paths_.data(); }
  const uint16_t* end() const { return begin() + size_; }
  uint16_t operator[](size_t i) const { return paths_[i]; }
  size_t size() const { return size_; }
  bool empty() const { return !size_; }
  void clear() { size_ = 0; }
  void push_back(int path) { paths_[size_++] = uint16_t(path); }
  uint16_t* erase(uint16_t* first, uint16_t* last) {
    std::copy(last, end(), first);
    size_ = uint16_t(size_ - (last - first));
    return first;
  }
  void insert(uint16_t* at, uint16_t path) {
    std::copy_backward(at, end(), end() + 1);
    *at = path;
    size_++;
  }

 private:
  std::array<uint16_t, kPathsKept[0] + 1> paths_;
  uint16_t size_ = 0;
};

using PathSets = std::array<PathSet, std::size(kHeights) + 1>;  // by strip height
constexpr int kNoPath = UINT16_MAX;
static_assert(kMostPaths < kNoPath, "they have indices");

class Paths {  // in blocks, so that more never copies those that are there
 public:
  explicit Paths(std::pmr::memory_resource* memory) : memory_(memory) {}
  const Path& operator[](int i) const { return blocks_[size_t(i) / kBlock][size_t(i) % kBlock]; }
  int size() const { return size_; }
  void clear() { size_ = 0; }
  void push_back(const Path& path) {
    Path*& block = blocks_[size_t(size_) / kBlock];
    if (!block) block = static_cast<Path*>(memory_->allocate(kBlock * sizeof(Path), alignof(Path)));
    block[size_t(size_) % kBlock] = path;
    size_++;
  }

  // Into a Pareto set in rising bytes and falling cycles, unless a path of it is as good. *from: how many of its paths
  // take less, as far as that is known; set for paths that take no less than this one. kept: of a set, at most.
  void insert(const Path& path, size_t kept, PathSet* set, size_t* from) {
    size_t at = *from;
    while (at < set->size() && (*this)[(*set)[at]].lines < path.lines) at++;
    *from = at;
    const bool equal = at < set->size() && (*this)[(*set)[at]].lines == path.lines;
    if ((equal && (*this)[(*set)[at]].cycles <= path.cycles) ||
        (at > 0 && (*this)[(*set)[at - 1]].cycles <= path.cycles))
      return;
    size_t beaten = at;
    while (beaten < set->size() && (*this)[(*set)[beaten]].cycles >= path.cycles) beaten++;
    set->erase(set->begin() + ptrdiff_t(at), set->begin() + ptrdiff_t(beaten));
    set->insert(set->begin() + ptrdiff_t(at), uint16_t(size()));
    push_back(path);
    if (set->size() <= kept) return;
    set->erase(set->begin() + kept / 2, set->begin() + kept / 2 + 1);
    *from = std::min(at, kept / 2);
  }

 private:
  static constexpr size_t kBlock = 512;
  std::pmr::memory_resource* memory_;                 // takes everything back at once
  std::array<Path*, kNoPath / kBlock + 1> blocks_{};  // null: not needed yet
  int size_ = 0;
};

// The paths to a stage, and what most ways to go on are turned away by: the fewest lines and cycles of each strip
// height. Of a set bytes rise, and so do those of what is made of it; cycles fall.
struct Front {
  const PathSet* set;
  size_t height;
  int32_t lines;
  double cycles;
};

class Fronts {
 public:
  Fronts(const Paths& paths, const PathSets& sets) {
    for (size_t h = 0; h < sets.size(); h++) {
      const PathSet& set = sets[h];
      if (set.empty()) continue;
      of_[count_] = {&set, h, paths[set[0]].lines, paths[set[set.size() - 1]].cycles};
      paths_ += int64_t(set.size());
      cycles_ = std::min(cycles_, of_[count_++].cycles);
    }
  }
  const Front* begin() const { return of_; }
  const Front* end() const { return of_ + count_; }
  int64_t paths() const { return paths_; }
  double cycles() const { return cycles_; }  // the fewest of all

 private:
  Front of_[std::tuple_size<PathSets>::value];
  int count_ = 0;
  int64_t paths_ = 0;
  double cycles_ = INFINITY;
};

}  // namespace mbinfer
