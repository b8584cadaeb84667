#include "plan/stages.h"

#include <algorithm>
#include <map>

#include "plan/tuning.h"

namespace mbinfer {
namespace {

bool is_filter(const Node& n) { return n.op == Op::kDepthwise || n.op == Op::kGlobalAvgPool; }

class Fuser {
 public:
  Fuser(const Graph& graph, Fusion fusion, const StageRules& rules, const std::vector<bool>& apart)
      : graph_(graph),
        fusion_(fusion),
        homes_(rules.homes),
        twice_from_(fusion == Fusion::kNone ? INT64_MAX : rules.twice_from),
        apart_(apart),
        taken_(graph.nodes.size(), false) {}

  Stages run() {
    size_t count = 0, parts = 0;  // counted first: a list that grows has room to spare, or is copied
    each([&](Stage&& stage) {
      count++;
      if (stage.part_count() > 1) parts += size_t(stage.part_count());
    });
    std::fill(taken_.begin(), taken_.end(), false);
    Stages stages(count, parts);
    each([&](Stage&& stage) { stages.add(std::move(stage)); });
    return stages;
  }

 private:
  template <class Take>
  void each(Take&& take) {
    for (int n = 0; n < int(graph_.nodes.size()); n++) {
      if (taken_[n] || patches_of(n) >= 0 || made_by_readers(n) || homes_.placed(graph_, node(n))) continue;
      Stage stage;
      start_at(n, &stage);
      finish(&stage);
      take(std::move(stage));
    }
  }

  const Node& node(int n) const { return graph_.nodes[n]; }

  static void add_part(Stage* s, int n) {
    Part part;
    part.node = n;
    s->parts.push_back(part);
  }

  // The convolution for which node n converts an input, or -1: n is something else, or others read that too.
  int patches_of(int n) const {
    if (node(n).op != Op::kConvert || !graph_.values[node(n).inputs[0]].held_by_caller()) return -1;
    const Indices& readers = graph_.values[node(n).output].consumers;
    return readers.size() == 1 && node(readers[0]).op == Op::kConv ? readers[0] : -1;
  }

  static void set_apart(Stage* s, Apart why, int about) {
    s->why = why;
    s->about = about;
  }

  // The only reader of what node n makes, or -1; then the stage says why, if there is a reason.
  int only_reader(int n, Stage* s) const {
    const Value& v = graph_.values[node(n).output];
    if (v.is_output)
      set_apart(s, Apart::kOutput, node(n).output);
    else if (v.consumers.size() > 1)
      set_apart(s, Apart::kReaders, node(n).output);
    else if (!taken_[v.consumers[0]])
      return v.consumers[0];
    return -1;
  }

  bool is_apart(int n) const { return !apart_.empty() && apart_[size_t(n)]; }

  // Of a gated block (squeeze and excitation) that is run twice, once for the means that its gate is made of and once
  // for the product with that, by the node that makes what would be held otherwise: the product. -1: it is none.
  int product_of(int n) const {
    const int v = node(n).output;
    const GatedBlock block = gated_block(graph_, n);
    if (block.product < 0 || graph_.values[size_t(v)].bytes() < twice_from_) return -1;
    for (int part : {n, block.product, block.projection})
      if (is_apart(part)) return -1;
    return block.product;
  }

  // Whether node n has no stage: each of its readers makes what it reads of it.
  bool made_by_readers(int n) const {
    const Value& made = graph_.values[node(n).output];
    if (made.bytes() < twice_from_ || !read_by_filters(graph_, n) || is_apart(n)) return false;
    return std::none_of(made.consumers.begin(), made.consumers.end(), [&](int reader) { return is_apart(reader); });
  }

  // The second stage of a block that is run twice, whose product is node n.
  bool start_product(int n, Stage* s) const {
    const auto found = fronts_.find(n);
    if (found == fronts_.end()) return false;
    for (int part : found->second) add_part(s, part);
    s->split = int16_t(s->last());
    s->again = int16_t(s->part_count());
    s->through = int16_t(s->part_count());
    add_part(s, n);
    s->gate = node(n).inputs[1];
    add_part(s, graph_.values[node(n).output].consumers[0]);
    fuse_add(s);
    return true;
  }

  void start_at(int n, Stage* s) {
    if (start_product(n, s)) return;
    const int maker = graph_.values[node(n).inputs[0]].producer;
    const bool makes_input = maker >= 0 && made_by_readers(maker);
    if (makes_input || (maker >= 0 && patches_of(maker) == n)) add_part(s, maker);
    if (makes_input) s->split = 1, s->again = int16_t(taken_[size_t(maker)]);
    add_part(s, n);
    if (fusion_ == Fusion::kNone) return;
    if (!apart_.empty() && apart_[n]) {
      set_apart(s, Apart::kNeedsMore, n);
      return;
    }
    if (node(n).op == Op::kConv) expand(n, s);
    const int last = s->parts[s->last()].node;
    if (node(last).op == Op::kDepthwise && product_of(last) >= 0) {
      s->split = int16_t(s->last());
      s->through = int16_t(s->part_count());
      std::vector<int>& front = fronts_[product_of(last)];
      front.clear();
      for (const Part& part : s->parts) front.push_back(part.node);
      add_part(s, gated_block(graph_, last).pool);
      return;
    }
    if (is_filter(node(last))) project(last, s);
    if (node(s->parts[s->last()].node).op == Op::kConv) fuse_add(s);
  }

  // Convolution n makes the rows that the next part filters.
  void expand(int n, Stage* s) const {
    const int next = only_reader(n, s);
    if (next < 0 || !is_filter(node(next))) return;
    if (node(n).pointwise() || (fusion_ == Fusion::kAnyExpansion && node(next).op == Op::kDepthwise)) {
      s->split = int16_t(s->part_count());
      add_part(s, next);
    } else if (node(next).op == Op::kDepthwise) {
      set_apart(s, Apart::kNotPointwise, n);
    }
  }

  // A 1x1 convolution of what node n filters.
  void project(int n, Stage* s) const {
    const int next = only_reader(n, s);
    if (next < 0 || node(next).op != Op::kConv) return;
    if (node(next).pointwise()) {
      s->split = int16_t(s->last());
      add_part(s, next);
    } else {
      set_apart(s, Apart::kNotPointwise, next);
    }
  }

  void fuse_add(Stage* s) const {
    Part& last = s->parts[s->last()];
    const Apart why = s->why;
    const int about = s->about, next = only_reader(last.node, s);
    if (!s->bottleneck() || why != Apart::kNothing || !added_later(last.node)) set_apart(s, why, about);
    if (next < 0) return;
    const Node& add = node(next);
    if (add.op == Op::kAdd && add.inputs[0] != add.inputs[1] && node(last.node).table < 0) last.add = next;
  }

  bool added_later(int n) const {
    for (int c : graph_.values[node(n).output].consumers)
      if (node(c).op == Op::kAdd) return true;
    return false;
  }

  void finish(Stage* s) {
    if (s->through < 0) s->through = int16_t(s->split);
    for (int p = 0; p < s->part_count(); p++) taken_[s->parts[p].node] = true;
    const Part& part = s->parts[s->last()];
    const Node& last = node(part.node);
    s->input = node(s->parts[0].node).inputs[0];
    s->output = last.output;
    if (last.inputs.size() == 2 && !gathers(last)) s->residual = last.inputs[1];
    if (part.add < 0) return;
    taken_[part.add] = true;
    const Node& add = node(part.add);
    s->residual = add.inputs[0] == last.output ? add.inputs[1] : add.inputs[0];
    s->output = add.output;
  }

  const Graph& graph_;
  const Fusion fusion_;
  const Homes& homes_;
  const int64_t twice_from_;
  const std::vector<bool>& apart_;
  std::vector<bool> taken_;
  std::map<int, std::vector<int>> fronts_;  // of blocks that are run twice: the product, and the parts before it
};

}  // namespace

GatedBlock gated_block(const Graph& graph, int n) {
  const Value& held = graph.values[graph.nodes[n].output];
  GatedBlock block;
  if (graph.nodes[n].op != Op::kDepthwise || held.is_output || held.consumers.size() != 2) return block;
  for (int reader : held.consumers) {
    const Node& node = graph.nodes[reader];
    if (node.op == Op::kGlobalAvgPool) block.pool = reader;
    if (node.op == Op::kMul && node.inputs[0] == graph.nodes[n].output && node.inputs[1] != node.inputs[0])
      block.product = reader;
  }
  if (block.pool < 0 || block.product < 0) return {};
  const Value &product = graph.values[graph.nodes[block.product].output],
              &gate = graph.values[graph.nodes[block.product].inputs[1]];
  if (gate.shape.pixels() != 1 || gate.producer < 0 || product.is_output || product.consumers.size() != 1) return {};
  block.projection = product.consumers[0];
  return graph.nodes[block.projection].pointwise() ? block : GatedBlock();
}

bool read_by_filters(const Graph& graph, int n) {
  const Value& made = graph.values[graph.nodes[n].output];
  if (!graph.nodes[n].pointwise() || made.is_output || made.consumers.size() < 2) return false;
  if (graph.values[graph.nodes[n].inputs[0]].producer < 0) return false;
  return std::all_of(made.consumers.begin(), made.consumers.end(),
                     [&](int reader) { return graph.nodes[reader].op == Op::kDepthwise; });
}

Stages make_stages(const Graph& graph, Fusion fusion, const StageRules& rules, const std::vector<bool>& apart) {
  Stages stages = Fuser(graph, fusion, rules, apart).run();
  for (Stage& s : stages) {
    s.threads = int16_t(rules.threads);
    if (s.part_count() > 1 && graph.nodes[s.parts[0].node].op == Op::kConvert) {
      s.parts[0].ring.copies = int16_t(rules.threads);
      s.parts[0].ring.patch = true;
    }
  }
  return stages;
}

Text stage_name(const Graph& graph, const Stage& stage) {
  const Node& last = graph.nodes[size_t(stage.parts[stage.last()].node)];
  return *last.name.c_str() ? last.name : graph.values[size_t(last.output)].name;  // a conversion may have none
}

int64_t macs(const Graph& graph, const Stage& stage) {
  int64_t all = 0;
  for (int p = stage.again; p < stage.part_count(); p++) all += macs(graph, graph.nodes[size_t(stage.parts[p].node)]);
  return all;
}

namespace {

bool values_alike(const Graph& graph, int v, int w) {  // or -1
  if (v < 0 || w < 0) return v == w;
  const Value &a = graph.values[size_t(v)], &b = graph.values[size_t(w)];
  return a.shape == b.shape && a.type.dtype == b.type.dtype && (a.type.scale > 0) == (b.type.scale > 0);
}

bool nodes_alike(const Graph& graph, int m, int n) {  // or -1
  if (m < 0 || n < 0) return m == n;
  const Node &a = graph.nodes[size_t(m)], &b = graph.nodes[size_t(n)];
  return a.op == b.op && !gathers(a) && a.y == b.y && a.x == b.x && a.groups == b.groups &&
         a.weight_bytes == b.weight_bytes && a.weight_dtype == b.weight_dtype && (a.table < 0) == (b.table < 0) &&
         values_alike(graph, a.output, b.output) &&
         std::equal(a.inputs.begin(), a.inputs.end(), b.inputs.begin(), b.inputs.end(),
                    [&](int v, int w) { return values_alike(graph, v, w); });
}

}  // namespace

bool alike(const Graph& graph, const Stage& a, const Stage& b) {
  const bool same = a.part_count() == b.part_count() && a.split == b.split && a.through == b.through &&
                    a.again == b.again && a.threads == b.threads &&
                    (a.residual == a.input) == (b.residual == b.input) && values_alike(graph, a.input, b.input) &&
                    values_alike(graph, a.residual, b.residual) && values_alike(graph, a.gate, b.gate);
  return same && std::equal(a.parts.begin(), a.parts.end(), b.parts.begin(), [&](const Part& p, const Part& q) {
           return p.ring.patch == q.ring.patch && nodes_alike(graph, p.node, q.node) &&
                  nodes_alike(graph, p.add, q.add);
         });
}

int alike_before(const Graph& graph, const Stage* stages, int stage) {
  for (int s = stage - 1; s >= std::max(0, stage - kAlikeStages); s--)
    if (alike(graph, stages[s], stages[stage])) return s;
  return -1;
}

std::string why_apart(const Graph& graph, const Stage& stage) {
  auto value = [&]() -> const Value& { return graph.values[stage.about]; };
  switch (stage.why) {
    case Apart::kNothing:
      break;
    case Apart::kOutput:
      for (const State& state : graph.states)
        if (state.next == stage.about) return "'" + value().name + "' is what the next run begins with";
      return "'" + value().name + "' is an output of the network";
    case Apart::kReaders:
      return "'" + value().name + "' is read by " + std::to_string(value().consumers.size()) + " nodes";
    case Apart::kNeedsMore:
      return "as one operator its block would need more memory than node by node";
    case Apart::kNotPointwise:
      return "'" + graph.nodes[stage.about].name + "' is not a 1x1 convolution of stride 1";
  }
  return "";
}

int expanded_channels(const Graph& graph, const Stage& stage) {
  return stage.bottleneck() ? graph.values[graph.nodes[stage.parts[stage.split].node].output].stride() : 0;
}

bool in_steps(const Graph& graph, const Stage& stage) {
  const Node& node = graph.nodes[stage.parts[stage.last()].node];
  return stage.bottleneck() || (node.op != Op::kConv && node.op != Op::kConvert && node.inputs.size() == 1);
}

}  // namespace mbinfer
