#include "plan/homes.h"

#include <algorithm>

namespace mbinfer {
namespace {

// Each value is linked to the one that holds it, or to none; no circle comes of it, as slices link to values made
// before, and all else, which is no slice, to values made later.
class Placing {
 public:
  Placing(const Graph& graph, Homes::Which which)
      : graph_(graph), links_(graph.values.size()), copied_(graph.nodes.size(), true) {
    for (const State& state : graph.states) becomes_.push_back(state.next);
    backwards(stacks, &Placing::stack);
    for (const State& state : graph.states) crop(state);
    backwards(joins_many, &Placing::join);
    if (which == Homes::kGathersOnly) return;
    backwards(joins_two, &Placing::join);
    backwards(slices, &Placing::slice);  // readers first
    strides_.resize(links_.size());
    each_holder_first([&](int v) {
      strides_[size_t(v)] = linked(v) ? strides_[size_t(links_[size_t(v)].value)] : value(v).stride();
    });
    backwards(spreads, &Placing::spread);
  }

  PageVector<Home> homes() const {
    PageVector<Home> homes;
    if (std::all_of(links_.begin(), links_.end(), [](const Link& link) { return link.value < 0; })) return homes;
    homes.resize(links_.size());
    each_holder_first([&](int v) {
      const Link& link = links_[size_t(v)];
      homes[size_t(v)] = linked(v) ? homes[size_t(link.value)] : Home{v, value(v).stride(), 0};
      homes[size_t(v)].first += link.pixel * homes[size_t(v)].stride + link.channel;
      if (link.spread) homes[size_t(v)].stride = value(v).stride();
    });
    return homes;
  }

 private:
  struct Link {
    int value = -1;
    int64_t pixel = 0;  // of that value, at which this one begins
    int channel = 0;
    bool spread = false;  // that one's pixels are parts of this one's
  };

  void backwards(bool (*wanted)(const Node&), void (Placing::*place)(int)) {
    for (int n = int(graph_.nodes.size()); n-- > 0;)
      if (wanted(graph_.nodes[size_t(n)])) (this->*place)(n);
  }

  // Calls visit(v) for every value, after the one that holds it.
  template <class Visit>
  void each_holder_first(Visit&& visit) const {
    std::vector<bool> visited(links_.size(), false);
    std::vector<int> path;
    for (int v = 0; v < int(links_.size()); v++) {
      for (int at = v; at >= 0 && !visited[size_t(at)]; at = links_[size_t(at)].value) path.push_back(at);
      for (; !path.empty(); path.pop_back()) {
        visited[size_t(path.back())] = true;
        visit(path.back());
      }
    }
  }

  const Value& value(int v) const { return graph_.values[size_t(v)]; }
  bool linked(int v) const { return links_[size_t(v)].value >= 0; }

  // Whether whoever makes the value may write whole panels at channel `at` of another one, with `end` of it behind.
  bool fits(int v, int at, int end) const {
    const bool panels = at % kPanel == 0 && (value(v).shape.channels % kPanel == 0 || !end);
    return panels && !value(v).held_by_caller() && !linked(v);
  }

  // Links all inputs of a node to its output, or none. link_of(v, link): where in it value v is to lie; false where it
  // cannot, as where it lies elsewhere already.
  template <class LinkOf>
  bool link_all(int n, LinkOf&& link_of) {
    const Indices& inputs = graph_.nodes[size_t(n)].inputs;
    size_t linked = 0;
    for (Link link; linked < inputs.size() && link_of(inputs[linked], &link); linked++)
      links_[size_t(inputs[linked])] = link;
    if (linked == inputs.size()) return true;
    for (; linked > 0; linked--) links_[size_t(inputs[linked - 1])] = Link();
    return false;
  }

  // Where each of them lies nowhere else, nor twice.
  void stack(int n) {
    const int made = graph_.nodes[size_t(n)].output;
    int64_t at = 0;
    const bool all = link_all(n, [&](int v, Link* link) {
      if (linked(v) || value(v).held_by_caller()) return false;
      *link = {made, at, 0, false};
      at += value(v).shape.pixels();
      return true;
    });
    if (all) copied_[size_t(n)] = false;
  }

  // Rows of what a state is stacked in, which it becomes: they are where it lies, some pixels further on. No other
  // state may lie there, so that one can be moved without regard to another.
  void crop(const State& state) {
    const Value& next = value(state.next);
    const Node& node = graph_.nodes[size_t(next.producer)];
    const int room = links_[size_t(state.value)].value;
    if (!crops(graph_, node) || room < 0 || node.inputs[0] != room || linked(room) || linked(state.next)) return;
    for (const State& other : graph_.states)
      if (other.value != state.value && links_[size_t(other.value)].value == room) return;
    copied_[size_t(next.producer)] = false;
    links_[size_t(state.next)] = {room, crop_begin(graph_, node), 0, false};
  }

  bool becomes(int v) const { return std::find(becomes_.begin(), becomes_.end(), v) != becomes_.end(); }

  void join(int n) {
    const int made = graph_.nodes[size_t(n)].output;
    if (value(made).consumers.empty() && !value(made).is_output) return;
    int at = 0, left = value(made).shape.channels;
    const bool all = link_all(n, [&](int v, Link* link) {
      left -= value(v).shape.channels;
      if (!fits(v, at, left)) return false;
      *link = {made, 0, at, false};
      at += value(v).shape.channels;
      return true;
    });
    if (all) copied_[size_t(n)] = false;
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
    if (linked(node.output) || value(node.inputs[0]).held_by_caller() || node.first_channel < 0 || left < 0) return;
    if (becomes(node.output)) return;
    const Indices& readers = value(node.output).consumers;
    if (node.first_channel % kPanel || (channels % kPanel && left))
      if (!std::all_of(readers.begin(), readers.end(), [&](int reader) { return reads_any(reader); })) return;
    copied_[size_t(n)] = false;
    links_[size_t(node.output)] = {node.inputs[0], 0, node.first_channel, false};
  }

  // Pixels without a gap, on both sides.
  void spread(int n) {
    const Node& node = graph_.nodes[size_t(n)];
    const int v = node.inputs[0], made = node.output;
    if (linked(v) || value(v).held_by_caller() || value(made).shape.channels % kPanel) return;
    if (strides_[size_t(made)] != value(made).stride()) return;
    copied_[size_t(n)] = false;
    links_[size_t(v)] = {made, 0, 0, true};
  }

  const Graph& graph_;
  PageVector<Link> links_;
  std::vector<bool> copied_;  // nodes, so far
  std::vector<int> becomes_;  // values that states become
  std::vector<int> strides_;  // by value: elements from one of its pixels to the next
};

}  // namespace

Homes::Homes(const Graph& graph, Which which) : of_(Placing(graph, which).homes()) {}

bool Homes::overlap(const Graph& graph, int a, int b) const {
  const Value &of_a = graph.values[size_t(a)], &of_b = graph.values[size_t(b)];
  const Home x = of(a), y = of(b);
  const int64_t stride = x.stride_of(of_a), ahead = y.first - x.first;
  const int64_t last_a = of_a.shape.pixels() - 1, last_b = of_b.shape.pixels() - 1;
  if (x.value != y.value) return false;
  if (y.stride_of(of_b) != stride)  // all of their bytes, the gaps between pixels too
    return ahead < last_a * stride + of_a.shape.channels && -ahead < last_b * y.stride_of(of_b) + of_b.shape.channels;
  // Pixel i of a and pixel j of b meet where (i - j) * stride is near `ahead`.
  const int64_t below = (ahead < 0 ? ahead - stride + 1 : ahead) / stride;
  for (int64_t apart : {below, below + 1})
    if (apart >= -last_b && apart <= last_a && apart * stride - ahead < of_b.shape.channels &&
        ahead - apart * stride < of_a.shape.channels)
      return true;
  return false;
}

std::vector<Homes> homes_to_try(const Graph& graph) {
  auto any = [&](bool (*wanted)(const Node&)) { return std::any_of(graph.nodes.begin(), graph.nodes.end(), wanted); };
  if (!any(joins) && !any(slices) && !any(spreads) && !any(stacks)) return {Homes()};  // crops are of stacks
  const Homes all(graph, Homes::kAll);
  if (all.apart()) return {all};
  std::vector<Homes> homes = {all};
  const Homes least(graph, Homes::kGathersOnly);
  auto places = [&](const Homes& in) {
    return std::count_if(graph.nodes.begin(), graph.nodes.end(), [&](const Node& n) { return in.placed(graph, n); });
  };
  if (places(all) > places(least)) homes.push_back(least);
  return homes;
}

}  // namespace mbinfer
