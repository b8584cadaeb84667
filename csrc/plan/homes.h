// Which values lie inside others: the channels of a concatenation are written where its output holds them, those of a
// slice are read where its input does. Neither is a kernel then, nor a stage.
#pragma once

#include <vector>

#include "model/graph.h"

namespace mbinfer {

struct Home {       // where a value's pixels are
  int value = -1;   // the one that holds them; itself, where it has memory of its own
  int channel = 0;  // of that value's, where its own begin
};

inline bool joins(const Node& node) { return info_of(node.op).area == Area::kJoined; }
inline bool slices(const Node& node) { return info_of(node.op).area == Area::kSliced; }

// Whether what a node makes is where it has to be once its inputs are made: home(v) is where value v is.
template <class HomeOf>
bool is_placed(const Graph& graph, const Node& node, HomeOf&& home) {
  if (!joins(node) && !slices(node)) return false;
  const Home out = home(node.output);
  int at = slices(node) ? -node.first_channel : 0;
  for (int v : node.inputs) {
    const Home in = home(v);
    if (in.value != out.value || in.channel != out.channel + at) return false;
    at += graph.values[size_t(v)].shape.channels;
  }
  return true;
}

// By value. Without any that lie inside others it holds nothing.
class Homes {
 public:
  Homes() = default;
  // Every concatenation and slice is placed that can be.
  explicit Homes(const Graph& graph);

  Home of(int value) const { return of_.empty() ? Home{value, 0} : of_[size_t(value)]; }
  bool apart() const { return of_.empty(); }

  bool placed(const Graph& graph, const Node& node) const {
    return !apart() && is_placed(graph, node, [&](int v) { return of(v); });
  }
  // Whether two values have channels in common.
  bool overlap(const Graph& graph, int a, int b) const;

 private:
  friend class Placing;
  std::vector<Home> of_;
};

// What plans are made with, of which the best is taken: all that can be placed, and, where that is something, nothing.
// A value inside of another one keeps all of that in memory, which a value that waits long had better not.
std::vector<Homes> homes_to_try(const Graph& graph);

}  // namespace mbinfer
