#include "plan/stages.h"

#include <algorithm>

namespace mbinfer {
namespace {

class Fuser {
 public:
  Fuser(const Graph& graph, Fusion fusion, const std::vector<bool>& apart)
      : graph_(graph), fusion_(fusion), apart_(apart), taken_(graph.nodes.size(), false) {}

  std::vector<Stage> run() {
    std::vector<Stage> stages;
    for (int n = 0; n < int(graph_.nodes.size()); n++) {
      if (taken_[n]) continue;
      Stage stage = fusion_ == Fusion::kNone ? single(n) : start_at(n);
      finish(&stage);
      stages.push_back(std::move(stage));
    }
    return stages;
  }

 private:
  const Node& node(int n) const { return graph_.nodes[n]; }

  static bool is_spatial(const Node& n) { return n.op == Op::kDepthwise || n.op == Op::kGlobalAvgPool; }

  Stage single(int n) {
    Stage s;
    Op op = node(n).op;
    (op == Op::kConv ? s.project : op == Op::kAdd ? s.add : s.spatial) = n;
    return s;
  }

  // The only reader of what node n makes, or -1 with the reason in `why`.
  int only_reader(int n, std::string* why) const {
    const Value& v = graph_.values[node(n).output];
    if (v.is_output)
      *why = "'" + v.name + "' is an output of the network";
    else if (v.consumers.size() > 1)
      *why = "'" + v.name + "' is read by " + std::to_string(v.consumers.size()) + " nodes";
    else if (!taken_[v.consumers[0]])
      return v.consumers[0];
    return -1;
  }

  Stage start_at(int n) {
    Stage s = single(n);
    if (!apart_.empty() && apart_[n]) {
      s.why = "as one operator its block would need more memory than node by node";
      return s;
    }
    if (node(n).op == Op::kConv) {
      int next = only_reader(n, &s.why);
      if (next >= 0 && is_spatial(node(next))) {
        if (node(n).pointwise() || (fusion_ == Fusion::kAnyExpansion && node(next).op == Op::kDepthwise)) {
          s.project = -1;
          s.expand = n;
          s.spatial = next;
        } else if (node(next).op == Op::kDepthwise) {
          s.why = "'" + node(n).name + "' is not a 1x1 convolution of stride 1";
        }
      }
    }
    if (s.spatial >= 0 && is_spatial(node(s.spatial))) {
      int next = only_reader(s.spatial, &s.why);
      if (next >= 0 && node(next).pointwise())
        s.project = next;
      else if (next >= 0 && node(next).op == Op::kConv)
        s.why = "'" + node(next).name + "' is not a 1x1 convolution of stride 1";
    }
    if (s.project >= 0) fuse_add(&s);
    return s;
  }

  void fuse_add(Stage* s) const {
    std::string why;
    int next = only_reader(s->project, &why);
    if (next < 0) {
      if (s->bottleneck() && s->why.empty() && added_later(s->project)) s->why = why;
      return;
    }
    const Node& add = node(next);
    if (add.op == Op::kAdd && add.inputs[0] != add.inputs[1]) s->add = next;
  }

  bool added_later(int n) const {
    for (int c : graph_.values[node(n).output].consumers)
      if (node(c).op == Op::kAdd) return true;
    return false;
  }

  void finish(Stage* s) {
    int last = -1;
    for (int part : {s->expand, s->spatial, s->project, s->add}) {
      if (part < 0) continue;
      if (last < 0) s->input = node(part).inputs[0];
      last = part;
      taken_[part] = true;
    }
    s->output = node(last).output;
    if (s->add >= 0) {
      const Node& add = node(s->add);
      bool alone = s->add == last && s->project < 0;
      s->residual = alone || add.inputs[0] == node(s->project).output ? add.inputs[1] : add.inputs[0];
    }
    s->name = node(s->project >= 0 ? s->project : last).name;
  }

  const Graph& graph_;
  const Fusion fusion_;
  const std::vector<bool>& apart_;
  std::vector<bool> taken_;
};

}  // namespace

bool reads_in_place(const Stage& stage, int value) {
  return stage.load == value || (stage.input == value && stage.residual != value &&
                                 (stage.expand >= 0 || (stage.project >= 0 && stage.spatial < 0)));
}

std::vector<Stage> make_stages(const Graph& graph, Fusion fusion, int threads, const std::vector<bool>& apart) {
  std::vector<Stage> stages = Fuser(graph, fusion, apart).run(), loads;
  for (const GraphInput& in : graph.inputs) {
    bool in_place = true;
    for (const Stage& s : stages)
      if (s.input == in.value || s.residual == in.value) in_place = in_place && reads_in_place(s, in.value);
    if (in_place) continue;
    Stage load;
    load.name = graph.values[in.value].name;
    load.load = load.output = load.input = in.value;
    loads.push_back(load);
  }
  stages.insert(stages.begin(), loads.begin(), loads.end());
  for (Stage& s : stages) s.patches = threads;
  return stages;
}

int expanded_channels(const Graph& graph, const Stage& stage) {
  return stage.spatial < 0 ? 0 : graph.values[graph.nodes[stage.spatial].output].stride();
}

void size_scratch(const Graph& graph, Stage* stage) {
  stage->expanded_rows = 0;
  stage->expanded_bytes = stage->spatial_bytes = stage->patch_bytes = 0;
  if (stage->spatial >= 0) {
    const Node& spatial = graph.nodes[stage->spatial];
    const Shape& in = graph.values[spatial.inputs[0]].shape;
    const Shape& out = graph.values[spatial.output].shape;
    const bool global = spatial.op == Op::kGlobalAvgPool;
    const int64_t chunk_bytes = int64_t(stage->chunk) * int64_t(sizeof(float));
    if (stage->expand >= 0) {
      stage->expanded_rows =
          global ? stage->step : std::min(in.height, (stage->step - 1) * spatial.y.stride + spatial.y.extent());
      stage->expanded_bytes =
          stage->expanded_rows * in.width * chunk_bytes * (stage->keep ? chunk_count(graph, *stage) : 1);
    }
    if (stage->project >= 0) stage->spatial_bytes = (global ? 1 : stage->step) * out.width * chunk_bytes;
  }
  const int first = stage->expand >= 0 ? stage->expand : stage->spatial < 0 ? stage->project : -1;
  if (first >= 0) {
    const Node& conv = graph.nodes[first];
    for (const GraphInput& in : graph.inputs) {
      if (in.value != stage->input || !in.recipe.present) continue;
      const Shape& shape = graph.values[in.value].shape;
      int64_t pixels = std::min(shape.width, (kPatchPixels - 1) * conv.x.stride + conv.x.extent());
      stage->patch_bytes =
          conv.y.kernel * round_up<int64_t>(pixels * shape.channels, kPanel) * int64_t(sizeof(float)) * stage->patches;
    }
  }
}

}  // namespace mbinfer
