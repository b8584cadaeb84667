// Which values lie inside others: the channels of a concatenation are written where its output holds them, those of a
// slice are read where its input does, and pictures that are stacked, or whose pixels are blocks of a row, are the same
// bytes as what is made of them. None of these is a kernel then, nor a stage.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "model/graph.h"

namespace mbinfer {

struct Home {         // where a value's pixels are
  int value = -1;     // the one that holds them; itself, where it has memory of its own
  int stride = 0;     // elements from one to the next; 0: as in a value with memory of its own
  int64_t first = 0;  // element of that one at which they begin

  int stride_of(const Value& of) const { return stride ? stride : of.stride(); }
  // Bytes from the beginning of that one to a row of the value, and to the end of its first `rows` rows.
  int64_t begin(const Value& of, int row) const {
    return (first + int64_t(row) * of.shape.width * stride_of(of)) * int64_t(size_of(of.type));
  }
  int64_t end(const Value& of, int rows) const {
    const int64_t last = int64_t(rows) * of.shape.width - 1;
    return (first + last * stride_of(of) + of.stride()) * int64_t(size_of(of.type));
  }
};

inline bool joins(const Node& node) { return info_of(node.op).area == Area::kJoined; }
inline bool joins_two(const Node& node) { return joins(node) && node.inputs.size() <= 2; }
inline bool joins_many(const Node& node) { return joins(node) && node.inputs.size() > 2; }
inline bool slices(const Node& node) { return info_of(node.op).area == Area::kSliced; }
inline bool stacks(const Node& node) { return info_of(node.op).area == Area::kStacked; }
// Whether a node reads any number of values: its stage, if it has one, is of that node alone.
inline bool gathers(const Node& node) { return joins_many(node) || stacks(node); }
// Whether a node makes each pixel some pixels next to one another, which are the same numbers in the same order.
inline bool spreads(const Node& node) { return info_of(node.op).area == Area::kBlocks && node.y.denominator == 1; }

// Whether a node takes pixels of its input that follow one another, as they are: rows of it, or columns of its only
// row.
inline bool crops(const Graph& graph, const Node& node) {
  if (info_of(node.op).area != Area::kScaled || node.activation != Activation::kNone) return false;
  const Value &read = graph.values[size_t(node.inputs[0])], &made = graph.values[size_t(node.output)];
  auto takes = [](const Window& w, int in, int out) {
    return w.kernel == 1 && w.numerator == w.denominator && w.term >= 0 && w.term % w.denominator == 0 &&
           w.term / w.denominator + out <= in;
  };
  const bool rows = made.shape.width == read.shape.width || (made.shape.height == 1 && read.shape.height == 1);
  return rows && read.type == made.type && takes(node.y, read.shape.height, made.shape.height) &&
         takes(node.x, read.shape.width, made.shape.width);
}
// The pixel of its input that is the first one it takes.
inline int64_t crop_begin(const Graph& graph, const Node& node) {
  const int width = graph.values[size_t(node.inputs[0])].shape.width;
  return int64_t(node.y.term / node.y.denominator) * width + node.x.term / node.x.denominator;
}

// Whether what a node makes is where it has to be once its inputs are made: home(v) is where value v is.
template <class HomeOf>
bool is_placed(const Graph& graph, const Node& node, HomeOf&& home) {
  const bool cropped = crops(graph, node);
  if (!joins(node) && !slices(node) && !stacks(node) && !spreads(node) && !cropped) return false;
  const Value& made = graph.values[size_t(node.output)];
  const Home out = home(node.output);
  const int stride = out.stride_of(made);
  int64_t at = out.first - (slices(node) ? node.first_channel : cropped ? crop_begin(graph, node) * stride : 0);
  for (int v : node.inputs) {
    const Value& read = graph.values[size_t(v)];
    const Home in = home(v);
    if (in.value != out.value || in.first != at) return false;
    if (spreads(node)) return in.stride_of(read) == read.shape.channels && stride == made.shape.channels;
    if (in.stride_of(read) != stride) return false;
    at += stacks(node) ? read.shape.pixels() * stride : read.shape.channels;
  }
  return true;
}

// By value. Without any that lie inside others it holds nothing.
class Homes {
 public:
  Homes() = default;
  // Everything is placed that can be, or only what gathers values.
  enum Which { kAll, kGathersOnly };
  Homes(const Graph& graph, Which which);
  explicit Homes(PageVector<Home> of) : of_(std::move(of)) {}

  Home of(int value) const { return of_.empty() ? Home{value, 0, 0} : of_[size_t(value)]; }
  bool apart() const { return of_.empty(); }

  bool placed(const Graph& graph, const Node& node) const {
    return !apart() && is_placed(graph, node, [&](int v) { return of(v); });
  }
  // Whether two values may have elements in common.
  bool overlap(const Graph& graph, int a, int b) const;

 private:
  PageVector<Home> of_;
};

// What plans are made with, of which the best is taken: all that can be placed, and, where that is something, as little
// as can be. A value inside of another one keeps all of that in memory, which a value that waits long had better not.
std::vector<Homes> homes_to_try(const Graph& graph);

}  // namespace mbinfer
