// Memory around a segment of a search: what dies in it, and how far its output may lie over its input.
#pragma once

#include <cstdint>
#include <vector>

#include "plan/choices.h"
#include "plan/lives.h"
#include "plan/plan.h"

namespace mbinfer {

// Of a window of stages, the first of which has number `first` in `lives`, and the ways to run each. Stages and options
// are told by their numbers; `options`: of the stages of a segment. All that is given has to outlive it.
class Slides {
 public:
  Slides(const Graph& graph, const Stage* stages, int first, const Lives& lives, const Choices& choices)
      : graph_(graph), stages_(stages), first_(first), lives_(lives), choices_(choices) {}

  // Bytes that the output of stage b takes beside what is there before.
  int64_t made_bytes(int b) const {
    return lives_.begins(stages_[b], first_ + b) ? lives_.bytes(stages_[b].output) : 0;
  }

  bool in_arena(int value) const { return life(value).maker >= 0; }

  // Whether stage s + 1 may take the rows of stage s from a ring.
  bool linked(int s) const;

  // Bytes in which the output of segment [a, b] may at most lie over its input, which must die there; and those of all
  // segments from stage a on that end before stage `end`, by their last stage.
  int64_t most_overlap(int a, int b) const;
  void most_overlaps(int a, int end, int64_t* bytes) const;

  // Bytes in which that of the segment from stage a on does. Adds what it takes to *spent.
  int64_t overlap(int a, const std::vector<int>& options, int64_t* spent) const;

  // Bytes that the segment from stage a on takes beside what waits around it: rings, kept rows, scratch, its output.
  int64_t bytes(int a, const std::vector<int>& options, int64_t* spent) const;

 private:
  const Value& value(int v) const { return graph_.values[v]; }
  const Life& life(int v) const { return lives_.of(v); }
  int64_t distance(int a, const std::vector<int>& chosen, int64_t* spent) const;

  const Graph& graph_;
  const Stage* stages_;
  const int first_;
  const Lives& lives_;
  const Choices& choices_;
};

}  // namespace mbinfer
