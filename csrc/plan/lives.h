// Who makes and who reads each value: one table for order, layout, search and replay.
#pragma once

#include <climits>
#include <vector>

#include "plan/homes.h"
#include "plan/plan.h"

namespace mbinfer {

constexpr int kCaller = INT_MAX;   // reads the outputs, after every stage; so is what a state becomes
constexpr int kLastRun = INT_MAX;  // made the states, before every stage

// Of a value, and of all that lie in the same memory; stages by their index.
struct Life {
  Life() : readers(0), shared(false) {}
  int maker = -1;         // the first one; -1: the caller; kLastRun: there is a state in it
  int last_reader = -1;   // kCaller: it is an output; -1: nobody reads it
  uint32_t readers : 31;  // stages, each counted once
  uint32_t shared : 1;    // by several values
};

// The lives of values, and the bytes that they take.
class Lives {
 public:
  Lives(const Graph& graph, const Stages& stages, const Homes& homes);

  const Life& of(int value) const { return lives_[size_t(homes_.of(value).value)]; }
  int home(int value) const { return homes_.of(value).value; }
  // Bytes from the beginning of its room to a row of a value, and to the end of its first rows.
  int64_t begin(int value, int row) const { return homes_.of(value).begin(graph_.values[size_t(value)], row); }
  int64_t end(int value, int rows) const { return homes_.of(value).end(graph_.values[size_t(value)], rows); }
  const Value& room(int value) const { return graph_.values[size_t(home(value))]; }  // that it has with others
  int64_t bytes(int value) const { return round_up(room(value).bytes(), kArenaAlign); }

  // Whether nothing of the memory that a stage writes to is made before.
  bool begins(const Stage& stage, int index) const { return of(stage.output).maker == index; }
  // Of a segment, which is `count` stages of which the first has number `first`: whether its input is in the arena and
  // is read for the last time, so that its output may slide over it while it is made.
  bool frees_input(const Stage* segment, int first, int count) const;

  // Calls visit(v) for each value with memory of its own in which a state lies, or which is one.
  template <class Visit>
  void for_each_state_room(Visit&& visit) const {
    for (int v = 0; v < int(lives_.size()); v++)
      if (lives_[size_t(v)].maker == kLastRun) visit(v);
  }
  // What they take, throughout a run.
  int64_t state_room_bytes() const {
    int64_t all = 0;
    for_each_state_room([&](int v) { all += bytes(v); });
    return all;
  }

  // Bytes alive while each stage runs, what it reads and makes included; each value takes whole cache lines.
  PageVector<int64_t> live_bytes() const;

 private:
  // Whether a stage reads, beside value `in`, another one in the same room: another slice, at rows that what slides
  // over `in` does not know of.
  bool reads_beside(const Stage& stage, int in) const;

  const Graph& graph_;
  const Homes& homes_;
  const size_t stages_;
  PageVector<Life> lives_;
};

Homes homes_of(const Plan& plan);  // with which it was made

// Calls read(value) once for each value that a stage reads; where it gathers them, once for each of its inputs.
template <class Read>
void for_each_read(const Graph& graph, const Stage& stage, Read&& read) {
  const Node& first = graph.nodes[size_t(stage.parts[0].node)];
  if (gathers(first)) {
    for (int v : first.inputs) read(v);
    return;
  }
  if (stage.input >= 0) read(stage.input);
  if (stage.residual >= 0 && stage.residual != stage.input) read(stage.residual);
  if (stage.gate >= 0) read(stage.gate);
}

}  // namespace mbinfer
