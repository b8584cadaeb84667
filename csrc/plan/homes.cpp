#include "plan/homes.h"

#include <algorithm>

namespace mbinfer {
// Each value is linked to the one that holds it, or to none; no circle comes of it, as slices link to values made
// before, and concatenations, which are no slices, to values made later.
class Placing {
 public:
  explicit Placing(const Graph& graph) : graph_(graph), links_(graph.values.size()), copied_(graph.nodes.size(), true) {
    for (int n = int(graph.nodes.size()); n-- > 0;)
      if (joins(graph.nodes[n])) join(n);
    for (int n = int(graph.nodes.size()); n-- > 0;)  // readers first
      if (slices(graph.nodes[n])) slice(n);
  }

  std::vector<Home> homes() const {
    std::vector<Home> homes;
    bool any = false;
    for (int v = 0; v < int(links_.size()); v++) {
      Home home = {v, 0};
      for (const Home* at = &links_[size_t(v)]; at->value >= 0; at = &links_[size_t(at->value)]) {
        home = {at->value, home.channel + at->channel};
        any = true;
      }
      homes.push_back(home);
    }
    if (!any) homes.clear();
    return homes;
  }

 private:
  const Value& value(int v) const { return graph_.values[size_t(v)]; }
  bool linked(int v) const { return links_[size_t(v)].value >= 0; }

  // Whether whoever makes the value may write whole panels at channel `at` of another one, with `end` of it behind.
  bool fits(int v, int at, int end) const {
    const bool panels = at % kPanel == 0 && (value(v).shape.channels % kPanel == 0 || !end);
    return panels && value(v).producer >= 0 && !linked(v);
  }

  void join(int n) {
    const Node& node = graph_.nodes[size_t(n)];
    int at = 0, left = value(node.output).shape.channels;
    bool all = !value(node.output).consumers.empty() || value(node.output).is_output;
    for (size_t i = 0; i < node.inputs.size(); i++) {
      const int v = node.inputs[i];
      left -= value(v).shape.channels;
      all = all && fits(v, at, left) &&
            std::find(node.inputs.begin(), node.inputs.begin() + i, v) == node.inputs.begin() + i;
      at += value(v).shape.channels;
    }
    if (!all) return;
    copied_[size_t(n)] = false;
    at = 0;
    for (int v : node.inputs) {
      links_[size_t(v)] = {node.output, at};
      at += value(v).shape.channels;
    }
  }

  // Whether a node takes no more than the channels that it reads, wherever they begin.
  bool reads_any(int n) const {
    const Node& node = graph_.nodes[size_t(n)];
    return node.mixes_channels() ? node.row_inputs() == 1 : !takes_activation(node.op) && copied_[size_t(n)];
  }

  void slice(int n) {
    const Node& node = graph_.nodes[size_t(n)];
    const int channels = value(node.output).shape.channels,
              left = value(node.inputs[0]).shape.channels - channels - node.first_channel;
    if (linked(node.output) || value(node.inputs[0]).producer < 0 || node.first_channel < 0 || left < 0) return;
    const Indices& readers = value(node.output).consumers;
    if (node.first_channel % kPanel || (channels % kPanel && left))
      if (!std::all_of(readers.begin(), readers.end(), [&](int reader) { return reads_any(reader); })) return;
    copied_[size_t(n)] = false;
    links_[size_t(node.output)] = {node.inputs[0], node.first_channel};
  }

  const Graph& graph_;
  std::vector<Home> links_;
  std::vector<bool> copied_;  // nodes, so far
};

Homes::Homes(const Graph& graph) : of_(Placing(graph).homes()) {}

bool Homes::overlap(const Graph& graph, int a, int b) const {
  const Home x = of(a), y = of(b);
  return x.value == y.value && x.channel < y.channel + graph.values[size_t(b)].shape.channels &&
         y.channel < x.channel + graph.values[size_t(a)].shape.channels;
}

std::vector<Homes> homes_to_try(const Graph& graph) {
  const bool any =
      std::any_of(graph.nodes.begin(), graph.nodes.end(), [](const Node& node) { return joins(node) || slices(node); });
  if (!any) return {Homes()};
  const Homes all(graph);
  return all.apart() ? std::vector<Homes>{all} : std::vector<Homes>{all, Homes()};
}

}  // namespace mbinfer
