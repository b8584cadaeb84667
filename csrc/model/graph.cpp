// The arithmetic of the graph IR.
#include "model/graph.h"

#include <algorithm>
#include <map>

#include "model/format.h"

namespace mbinfer {

std::pair<int, int> Window::scaled_range(int o0, int o1, int input) const {
  auto cut = [&](int64_t at) { return int(std::clamp<int64_t>(at, 0, input - 1)); };
  return {cut(position(o0).whole), cut(position(o1 - 1).whole + kernel - 1) + 1};
}

Position Window::position(int o) const {
  const int64_t at = int64_t(o) * numerator + term, rest = (at % denominator + denominator) % denominator;
  return {(at - rest) / denominator, rest};
}

PanelChannels::PanelChannels(int inputs, int outputs, int groups) : inputs(inputs), outputs(outputs), groups(groups) {
  // A panel of 8 meets the boundary of a wide group only where the group is no multiple of 8; narrow groups lie in the
  // panels the same way after at most 7 of them.
  const int per_group = outputs / groups;
  int widest = groups > 1 && per_group % kPanel ? 2 : 1;
  for (int n = 0; per_group < kPanel && n < std::min(outputs, kPanel * kPanel); n += kPanel) {
    const int last = std::min(n + kPanel, outputs) - 1;
    widest = std::max(widest, last / per_group - n / per_group + 1);
  }
  count = widest * (inputs / groups);
}

int PanelChannels::first(int panel) const {
  if (groups == 1) return 0;
  int group = panel * kPanel / (outputs / groups);
  return std::min(group * (inputs / groups), inputs - count);
}

Text Graph::keep(std::string text) {
  if (!strings_) strings_ = std::make_shared<std::forward_list<std::string>>();
  strings_->push_front(std::move(text));
  return Text(strings_->front().c_str());
}

// Another value of its name, shape and type, which nobody makes or reads: thousands of readers are not copied.
static Value alike(const Value& value) {
  Value made;
  made.name = value.name;
  made.shape = value.shape;
  made.type = value.type;
  return made;
}

// By value, who makes and who reads it.
static void link(Graph* graph) {
  for (Value& value : graph->values) value.producer = -1, value.consumers.clear();
  for (int n = 0; n < int(graph->nodes.size()); n++) {
    graph->values[graph->nodes[n].output].producer = n;
    for (int v : graph->nodes[n].inputs) {
      Indices& consumers = graph->values[v].consumers;
      if (consumers.empty() || consumers.back() != n) consumers.push_back(n);
    }
  }
}

// A concatenation of more values is no pairs where each of them can be made in its place; of many more, it never is.
constexpr size_t kMostPaired = 8, kMostPairedAnywhere = 64;
// Nodes beyond which a network has no pairs and no copies of its own: thousands of them would fill megabytes.
constexpr size_t kMostNodesAdded = 1 << 11;

static bool joins_many(const Node& node) { return info_of(node.op).area == Area::kJoined && node.inputs.size() > 2; }

// Marks the concatenations that stay one node: of whole panels of what some node makes, and that lie nowhere else for
// the same reason, or of very many values.
static std::vector<bool> whole_concats(const Graph& graph) {
  std::vector<bool> whole(graph.nodes.size(), false), placed(graph.values.size(), false);
  for (size_t n = 0; n < graph.nodes.size(); n++)
    whole[n] = joins_many(graph.nodes[n]) && graph.nodes[n].inputs.size() > kMostPairedAnywhere;
  if (!graph.states.empty()) return whole;  // what is kept from run to run may have to lie elsewhere
  for (const Node& node : graph.nodes)
    if (info_of(node.op).area == Area::kStacked)
      for (int v : node.inputs) placed[size_t(v)] = true;
  for (size_t n = 0; n < graph.nodes.size(); n++) {
    const Indices& inputs = graph.nodes[n].inputs;
    if (!joins_many(graph.nodes[n]) || inputs.size() <= kMostPaired || whole[n]) continue;
    size_t fit = 0;
    for (; fit < inputs.size() && !placed[size_t(inputs[fit])]; fit++) {
      const Value& v = graph.values[size_t(inputs[fit])];
      if (v.producer < 0 || (v.shape.channels % kPanel && fit + 1 < inputs.size())) break;
      placed[size_t(inputs[fit])] = true;
    }
    whole[n] = fit == inputs.size();
    for (; !whole[n] && fit > 0; fit--) placed[size_t(inputs[fit - 1])] = false;
  }
  return whole;
}

// Nodes that pairs add, or more than `most`: concatenations that begin with the same values share them.
static size_t count_pairs(const Graph& graph, const std::vector<bool>& whole, size_t most) {
  std::map<std::pair<int, int>, int> pairs;
  int made = int(graph.values.size());
  const int end = made + int(most);
  for (size_t n = 0; n < whole.size() && made <= end; n++) {
    const Indices& inputs = graph.nodes[n].inputs;
    if (info_of(graph.nodes[n].op).area != Area::kJoined || whole[n]) continue;
    int first = inputs[0];
    for (size_t i = 1; i < inputs.size() && made <= end; i++) {
      const bool last = i + 1 == inputs.size();
      const auto added = pairs.insert({{first, inputs[i]}, last ? graph.nodes[n].output : made});
      made += added.second && !last;
      first = added.first->second;
    }
  }
  return size_t(made) - graph.values.size();
}

// A concatenation of many values is one of two, and of what that makes and the third ... Those that begin with the same
// values, as in a dense block, begin with the same one.
static void pair_concats(Graph* graph) {
  const std::vector<bool> whole = whole_concats(*graph);
  bool any = false;
  for (size_t n = 0; n < whole.size(); n++) any = any || (joins_many(graph->nodes[n]) && !whole[n]);
  if (!any) return;
  const size_t count = count_pairs(*graph, whole, kMostNodesAdded);
  if (count && graph->nodes.size() + count > kMostNodesAdded) return;
  PageVector<Node> nodes;
  nodes.reserve(graph->nodes.size() + count);
  graph->values.reserve(graph->values.size() + count);
  std::map<std::pair<int, int>, int> pairs;  // of values, and what is made of them
  for (size_t n = 0; n < graph->nodes.size(); n++) {
    Node& node = graph->nodes[n];
    const Indices inputs = whole[n] ? Indices() : node.inputs;
    for (size_t i = 2; info_of(node.op).area == Area::kJoined && i < inputs.size(); i++) {
      const auto known = pairs.find({node.inputs[0], inputs[i - 1]});
      if (known != pairs.end()) {
        node.inputs = {known->second, inputs[i]};
        continue;
      }
      Value part = alike(graph->values[node.output]);
      part.shape.channels = graph->values[node.inputs[0]].shape.channels + graph->values[inputs[i - 1]].shape.channels;
      Node pair = node;
      pair.inputs = {node.inputs[0], inputs[i - 1]};
      pair.output = int(graph->values.size());
      graph->values.push_back(part);
      pairs[{pair.inputs[0], pair.inputs[1]}] = pair.output;
      node.inputs = {pair.output, inputs[i]};
      nodes.push_back(pair);
    }
    if (info_of(node.op).area == Area::kJoined && !whole[n])
      pairs.insert({{node.inputs[0], node.inputs[1]}, node.output});
    nodes.push_back(std::move(node));
  }
  graph->nodes.swap(nodes);
  link(graph);
}

// What is stacked lies inside of the stack: a value that is stacked twice is copied for the second time, as blocks of
// one pixel. A stack of very many values is copied as a whole.
static void copy_stacked_twice(Graph* graph) {
  auto stacks = [](const Node& node) { return info_of(node.op).area == Area::kStacked; };
  std::vector<bool> stacked(graph->values.size(), false);
  size_t copies = 0;
  for (const Node& node : graph->nodes)
    for (int v : node.inputs) {
      if (!stacks(node)) break;
      copies += stacked[size_t(v)];
      stacked[size_t(v)] = true;
    }
  if (!copies || copies > kMostPairedAnywhere || graph->nodes.size() + copies > kMostNodesAdded) return;
  stacked.assign(graph->values.size(), false);
  PageVector<Node> nodes;
  for (Node& node : graph->nodes) {
    for (int& v : node.inputs) {
      if (!stacks(node)) break;
      if (!stacked[size_t(v)]) {
        stacked[size_t(v)] = true;
        continue;
      }
      Node copy;
      copy.name = graph->keep(node.name + "/copy");
      copy.op = Op::kDepthToSpace;
      copy.y.numerator = copy.y.denominator = copy.x.numerator = copy.x.denominator = 1;
      copy.inputs = {v};
      copy.output = v = int(graph->values.size());
      Value made = alike(graph->values[size_t(copy.inputs[0])]);
      made.name = copy.name;
      graph->values.push_back(std::move(made));
      nodes.push_back(std::move(copy));
    }
    nodes.push_back(std::move(node));
  }
  graph->nodes.swap(nodes);
  link(graph);
}

// Values that no node makes or reads any more are forgotten.
static void drop_values(Graph* graph, const std::vector<bool>& dropped) {
  std::vector<int> at(graph->values.size());
  size_t kept = 0;
  for (size_t v = 0; v < at.size(); v++) {
    at[v] = int(kept);
    if (dropped[v]) continue;
    if (kept != v) graph->values[kept] = std::move(graph->values[v]);
    kept++;
  }
  graph->values.resize(kept);
  for (Node& node : graph->nodes) {
    for (int& v : node.inputs) v = at[size_t(v)];
    node.output = at[size_t(node.output)];
  }
  for (GraphInput& input : graph->inputs) input.value = at[size_t(input.value)];
  for (GraphOutput& output : graph->outputs) output.value = at[size_t(output.value)];
  for (State& state : graph->states) state.value = at[size_t(state.value)], state.next = at[size_t(state.next)];
}

// What a table alone reads is looked up by who makes it, as float32 numbers have their activation.
static void join_tables(Graph* graph) {
  auto looks_up = [](const Node& node) { return info_of(node.op).types == Types::kTable; };
  auto computes = [](const Node& node) {
    return takes_activation(node.op) && info_of(node.op).types == Types::kAlike && node.table < 0;
  };
  if (std::none_of(graph->nodes.begin(), graph->nodes.end(), looks_up)) return;
  PageVector<Node>& nodes = graph->nodes;
  size_t kept = 0;
  PageVector<int> made_at(graph->values.size(), -1);  // by value, the node that makes it
  std::vector<bool> dropped(graph->values.size(), false);
  for (size_t n = 0; n < nodes.size(); n++) {
    const Node& node = nodes[n];
    const int v = node.inputs[0], maker = made_at[size_t(v)];
    const Value& read = graph->values[size_t(v)];
    const bool alone = maker >= 0 && read.consumers.size() == 1 && !read.is_output;
    if (looks_up(node) && alone && computes(nodes[size_t(maker)])) {
      Node& joined = nodes[size_t(maker)];
      joined.table = int(graph->tables.size());
      graph->tables.push_back({static_cast<const uint8_t*>(node.weights), read.type});
      joined.output = node.output;
      dropped[size_t(v)] = true;
      made_at[size_t(node.output)] = maker;
      continue;
    }
    made_at[size_t(node.output)] = int(kept);
    if (kept != n) nodes[kept] = std::move(nodes[n]);
    kept++;
  }
  nodes.resize(kept);
  drop_values(graph, dropped);
  link(graph);
}

void prepare(Graph* graph) {
  join_tables(graph);
  pair_concats(graph);
  copy_stacked_twice(graph);
  std::vector<Node> converts;
  std::vector<Indices> readers;  // of each
  for (const GraphInput& in : graph->inputs) {
    const Value& image = graph->values[in.value];
    std::vector<int> all;
    for (int n : image.consumers)
      if (info_of(graph->nodes[n].op).types != Types::kAny) all.push_back(n);
    const bool mixed = std::all_of(all.begin(), all.end(), [&](int n) { return graph->nodes[n].mixes_channels(); });
    if (mixed && !in.recipe.present && image.type.scale == 0) continue;
    const size_t nodes = graph->nodes.size() + converts.size() + all.size();
    const bool patches = mixed && (all.size() == 1 || nodes <= kMostNodesAdded);
    Node convert;
    convert.op = Op::kConvert;
    convert.inputs = {in.value};
    for (size_t i = 0; i < (patches ? all.size() : 1); i++) {
      converts.push_back(convert);
      readers.push_back(patches ? Indices{all[i]} : all);
    }
  }
  const int added = int(converts.size());  // at the front of the nodes
  for (Value& value : graph->values) {
    if (value.producer >= 0) value.producer += added;
    for (int& n : value.consumers) n += added;
  }
  graph->nodes.insert(graph->nodes.begin(), converts.begin(), converts.end());
  graph->values.reserve(graph->values.size() + converts.size());
  for (int n = 0; n < added; n++) {
    Node& convert = graph->nodes[n];
    const int from = convert.inputs[0];
    convert.output = int(graph->values.size());
    Value to = alike(graph->values[from]);
    to.producer = n;
    for (int reader : readers[n]) {
      to.consumers.push_back(reader + added);
      for (int& v : graph->nodes[reader + added].inputs)
        if (v == from) v = convert.output;
    }
    Indices rest;
    for (int c : graph->values[from].consumers) {
      if (std::find(to.consumers.begin(), to.consumers.end(), c) != to.consumers.end()) continue;
      if (c > n && (rest.empty() || rest.back() < n)) rest.push_back(n);
      rest.push_back(c);
    }
    if (rest.empty() || rest.back() < n) rest.push_back(n);
    graph->values[from].consumers = std::move(rest);
    graph->values.push_back(std::move(to));
  }
  for (const GraphInput& in : graph->inputs)
    if (in.recipe.present) graph->values[in.value].type = {DType::kUint8};
}

int64_t macs(const Graph& graph, const Node& node) {
  const Shape& out = graph.values[node.output].shape;
  const Shape& in = graph.values[node.inputs[0]].shape;
  const OpInfo& op = info_of(node.op);
  if (!op.weights) return 0;
  return out.elements() * node.y.kernel * node.x.kernel * (op.keeps_channels ? 1 : in.channels / node.groups);
}

int64_t bias_panel_bytes(const Node& node) {
  const bool integers = node.weight_dtype == DType::kInt8;  // whose sums are scaled, too
  return integers ? int64_t(sizeof(format::ChannelRecord)) : kPanel * int64_t(sizeof(float));
}

int64_t bias_bytes(const Graph& graph, const Node& node) {
  return node.bias ? graph.values[size_t(node.output)].stride() / kPanel * bias_panel_bytes(node) : 0;
}

}  // namespace mbinfer
