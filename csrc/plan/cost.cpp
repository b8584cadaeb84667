#include "plan/cost.h"

#include <algorithm>

#include "plan/rows.h"
#include "plan/stages.h"

namespace mbinfer {
namespace {

constexpr double kLine = 64;

// A matrix product: `pixels` in `calls` calls, of which each leaves part of a tile empty.
void add_matrix(CostTerms* t, const Costs& costs, double pixels, int panels, int inputs, double calls) {
  const double tiles = (pixels / costs.tile_pixels + 0.25 * calls) * ceil_div(panels, costs.tile_panels);
  t->of[kTiles] += tiles;
  t->of[kTileInputs] += tiles * inputs;
  t->of[kCalls] += calls;
}

double whole_value_lines(const CostModel& model, const Value& value) {
  return value.bytes() > model.second_cache ? double(value.bytes()) / kLine : 0;
}

}  // namespace

StepCounts count_steps(const Graph& graph, const Stage& stage) {
  StepCounts counts;
  const int height = graph.values[stage.output].shape.height;
  const Node& stepping = graph.nodes[stage.parts[stepping_part(stage)].node];
  // Windows that touch: the rows of a strip's steps are those of the strip.
  const bool touching =
      info_of(stepping.op).area != Area::kWhole && !stepping.y.denominator && stepping.y.stride <= stepping.y.extent();
  for (int r0 = 0, kept = 0; r0 < height; r0 += stage.rows, counts.strips++) {
    const int r1 = std::min(height, r0 + stage.rows);
    counts.steps += ceil_div(stepped_rows(graph, stage, r0, r1).count(), stage.step);
    if (!stage.expands()) continue;
    if (touching) {
      const Rows rows = input_rows(graph, stepping, stepped_rows(graph, stage, r0, r1));
      counts.expanded_rows += std::max(0, rows.end - std::max(rows.begin, kept));
      if (stage.keep) kept = std::max(kept, rows.end);
    } else {
      for_each_step(graph, stage, r0, r1, 1, [&](const Step& step) {
        counts.expanded_rows += std::max(0, step.part[stage.split - 1].makes.count());
      });
    }
  }
  return counts;
}

int64_t extra_macs(const Graph& graph, const Stage& stage, const StepCounts& counts) {
  if (!stage.expands()) return 0;
  const Node& expansion = graph.nodes[stage.parts[stage.split - 1].node];
  const int height = graph.values[expansion.output].shape.height;
  return std::max<int64_t>(0, counts.expanded_rows - height) * (macs(graph, expansion) / height);
}

CostTerms cost_terms(const Graph& graph, const CostModel& model, const Stage& stage, const StepCounts& counts) {
  CostTerms t;
  const Costs& costs = model.of(graph.values[stage.output].type);
  const int chunks = chunk_count(graph, stage);
  const double steps = double(counts.steps), strips = double(counts.strips);
  int64_t weights = 0, stepped_weights = 0;  // stepped: of the parts that every step runs
  bool once = false;                         // what comes after a pool of the whole map
  for (int p = 0; p < stage.part_count(); p++) {
    const Part& part = stage.parts[p];
    const Node& n = graph.nodes[part.node];
    const OpInfo& op = info_of(n.op);
    const Shape &made = graph.values[n.output].shape, &in = graph.values[n.inputs[0]].shape;
    const int panels = graph.values[n.output].stride() / kPanel;
    const int64_t read = n.weight_bytes / round_up(panels, 2) * panels;  // without what fills up the last pair
    weights += read;
    if (!once) stepped_weights += read;
    const bool expands = p == stage.split - 1, projects = stage.bottleneck() && p == stage.through + 1;
    const double made_rows = expands ? double(counts.expanded_rows) : double(made.height);
    if (n.mixes_channels()) {
      const double calls = !n.pointwise() ? 3 * made_rows : expands ? steps : projects ? (once ? 1 : steps) : strips;
      CostTerms one;
      add_matrix(&one, costs, made_rows * made.width, expands ? stage.chunk / kPanel : panels,
                 projects ? stage.chunk : in.channels * n.y.kernel * n.x.kernel / n.groups, calls);
      if (!n.pointwise()) one.of[kElements] += made_rows * n.y.kernel * in.width * in.channels / kPanel;
      for (int i = 0; i < kCostTerms; i++) t.of[i] += (expands || projects ? chunks : 1) * one.of[i];
    } else if (!by_pixel(n.op)) {
      once = op.area == Area::kWhole;
      const bool rows = op.area == Area::kRow;
      const int panels_of = rows ? ceil_div(in.channels, kPanel) : panels;
      const double vectors = double(once || rows ? in.pixels() : made.pixels()) * panels_of;
      t.of[kVectors] += vectors;
      t.of[kVectorTaps] += vectors * (once ? 1 : n.y.kernel * n.x.kernel);
      t.of[kCalls] += double(chunks) * (once ? steps : made.height);
    }
    if (part.add >= 0 || (by_pixel(n.op) && (stage.part_count() == 1 || p == stage.through)))
      t.of[kElements] += double(made.pixels()) * panels;
    if (n.table >= 0 || (part.add >= 0 && graph.nodes[part.add].table >= 0))
      t.of[kElements] += made_rows * made.width * panels;
  }

  t.of[kSteps] += double(chunks) * steps * stage.part_count();

  // The weights come from far once for each strip, or, where they fit the second-level cache, once; each further step
  // reads its chunk's again; the dense layer after a global pool is taken once. What the caches hold was measured to
  // cost nothing.
  const double lines = double(weights) / kLine;
  t.of[kFarWeights] += lines * (weights > model.second_cache ? strips : 1);
  if (stepped_weights / chunks > model.second_cache)
    t.of[kFarWeights] += double(stepped_weights) / kLine * (steps - strips);
  return t;
}

double stage_cycles(const Graph& graph, const CostModel& model, const Stage& stage, const StepCounts& counts) {
  const CostTerms terms = cost_terms(graph, model, stage, counts);
  const Costs& costs = model.of(graph.values[stage.output].type);
  double cycles = model.again * double(extra_macs(graph, stage, counts));
  for (int i = 0; i < kCostTerms; i++) cycles += costs.cycles[i] * terms.of[i];
  return cycles;
}

double whole_value_cycles(const CostModel& model, const Value& value) {
  return model.of(value.type).cycles[kFarRows] * whole_value_lines(model, value);
}

double segment_end_lines(const Graph& graph, const CostModel& model, const Plan& plan, const Segment& segment,
                         int stage, bool from_arena) {
  const int in = plan.stages[stage].input, out = plan.stages[stage].output;
  const bool reads = stage == segment.first && from_arena, writes = stage == segment.last - 1;
  return (reads ? whole_value_lines(model, graph.values[in]) : 0) +
         (writes ? whole_value_lines(model, graph.values[out]) : 0);
}

double segment_end_cycles(const Graph& graph, const CostModel& model, const Plan& plan, const Segment& segment,
                          int stage, bool from_arena) {
  const Type& type = graph.values[plan.stages[stage].output].type;
  return model.of(type).cycles[kFarRows] * segment_end_lines(graph, model, plan, segment, stage, from_arena);
}

}  // namespace mbinfer
