// Sets of stages that have run, which the search for an order goes through level by level: see order.cpp.
#pragma once

#include <algorithm>
#include <cstdint>

#include "pages.h"

namespace mbinfer {

using Done = const uint64_t*;  // a bit for each stage: whether it has run

inline bool has(Done done, int s) { return done[size_t(s) / 64] >> (s % 64) & 1; }
inline void put_in(uint64_t* done, int s) { done[size_t(s) / 64] |= uint64_t(1) << (s % 64); }

struct OrderSet {
  int done = 0;                          // where its bits begin in those of its level
  int ready_first = 0, ready_count = 0;  // of its level's list: stages that may run next
  int parent = -1, stage = -1;           // a link, and the stage run last
  int64_t live = 0, peak = 0;
  double waiting = 0;  // bytes alive, summed over the stages that have run
  uint64_t hash = 0;   // hash_of() its stages, in any order
};

// Sets of as many stages each, and what they are made of in one list: a list for each set, of which there are
// thousands, would leave a heap full of holes.
struct OrderLevel {
  explicit OrderLevel(size_t words) : words(words) {}

  size_t words;
  PageVector<OrderSet> sets;
  PageVector<uint64_t> done;
  PageVector<int> ready;

  Done done_of(const OrderSet& set) const { return done.data() + set.done; }
  const int* ready_of(const OrderSet& set) const { return ready.data() + set.ready_first; }
  void clear() {
    sets.clear();
    done.clear();
    ready.clear();
  }
};

inline uint64_t hash_of(int s) {  // SplitMix64 (Steele et al. 2014)
  uint64_t x = (uint64_t(s) + 1) * 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

// Where each set of a level is in its list: an open hash table of indices.
class SetTable {
 public:
  void clear() { table_.assign(16, -1); }

  // The set of `done` and stage s, if the level has it.
  OrderSet* find(uint64_t hash, Done done, int s, OrderLevel* level) const {
    const size_t word = size_t(s) / 64;
    for (size_t i = hash & (table_.size() - 1); table_[i] >= 0; i = (i + 1) & (table_.size() - 1)) {
      OrderSet& set = level->sets[size_t(table_[i])];
      const Done others = level->done_of(set);
      if (set.hash == hash && others[word] == (done[word] | uint64_t(1) << (s % 64)) &&
          std::equal(done, done + word, others) && std::equal(done + word + 1, done + level->words, others + word + 1))
        return &set;
    }
    return nullptr;
  }

  void enter(const PageVector<OrderSet>& sets) {  // its last one
    if (2 * sets.size() > table_.size()) {
      table_.assign(4 * table_.size(), -1);
      for (size_t i = 0; i + 1 < sets.size(); i++) put(sets[i].hash, int(i));
    }
    put(sets.back().hash, int(sets.size()) - 1);
  }

 private:
  void put(uint64_t hash, int index) {
    size_t i = hash & (table_.size() - 1);
    while (table_[i] >= 0) i = (i + 1) & (table_.size() - 1);
    table_[i] = index;
  }

  PageVector<int> table_;
};

}  // namespace mbinfer
