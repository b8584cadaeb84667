#include "plan/cost.h"

#include <algorithm>

#include "plan/rows.h"
#include "plan/stages.h"

namespace mbinfer {
namespace {

// Cycles for each term, in the order of CostTerm.
constexpr double kCycles[kCostTerms] = {14.5, 6, 1.33, 0.8, 36, 6.4, 1.2, 2.9};

constexpr int kTilePixels = 6, kTilePanels = 2;
constexpr int64_t kSecondCache = 512 << 10;  // what of it a stage may count on
constexpr double kLine = 64;

// A matrix product: `pixels` in `calls` calls, of which each leaves part of a tile empty.
void add_matrix(CostTerms* t, double pixels, int panels, int inputs, double calls) {
  const double tiles = (pixels / kTilePixels + 0.25 * calls) * ceil_div(panels, kTilePanels);
  t->of[kTiles] += tiles;
  t->of[kTileInputs] += tiles * inputs;
  t->of[kCalls] += calls;
}

double far_lines(const Value& value) { return value.bytes() > kSecondCache ? double(value.bytes()) / kLine : 0; }

}  // namespace

StepCounts count_steps(const Graph& graph, const Stage& stage) {
  StepCounts counts;
  const int height = graph.values[stage.output].shape.height;
  for (int r0 = 0; r0 < height; r0 += stage.rows, counts.strips++)
    for_each_step(graph, stage, r0, std::min(height, r0 + stage.rows), 1, [&](const Step& s) {
      counts.expanded_rows += std::max(0, s.fresh.count());
      counts.steps++;
    });
  return counts;
}

CostTerms cost_terms(const Graph& graph, const Stage& stage, const StepCounts& counts) {
  CostTerms t;
  const Value& out = graph.values[stage.output];
  const int height = out.shape.height, chunks = chunk_count(graph, stage);
  const double steps = double(counts.steps), strips = double(counts.strips), expanded = double(counts.expanded_rows);
  const bool global = is_global(graph, stage);
  int64_t weights = 0;
  for (int n : {stage.expand, stage.spatial, stage.project})
    if (n >= 0) weights += graph.nodes[n].weight_bytes;

  if (stage.expand >= 0) {
    const Node& n = graph.nodes[stage.expand];
    const Shape& made = graph.values[n.output].shape;
    const Shape& in = graph.values[n.inputs[0]].shape;
    const double calls = n.pointwise() ? steps : 3 * expanded;
    CostTerms one;
    add_matrix(&one, expanded * made.width, stage.chunk / kPanel, in.channels * n.y.kernel * n.x.kernel, calls);
    if (!n.pointwise()) one.of[kElements] += expanded * n.y.kernel * in.width * in.channels / kPanel;
    for (int i = 0; i < kCostTerms; i++) t.of[i] += chunks * one.of[i];
  }
  if (stage.spatial >= 0) {
    const Node& n = graph.nodes[stage.spatial];
    const Shape& made = graph.values[n.output].shape;
    const double vectors =
        double(global ? graph.values[n.inputs[0]].shape.pixels() : made.pixels()) * ceil_div(made.channels, kPanel);
    t.of[kVectors] += vectors;
    t.of[kVectorTaps] += vectors * (global ? 1 : n.y.kernel * n.x.kernel);
    t.of[kCalls] += double(chunks) * (global ? steps : height);
  }
  if (stage.project >= 0) {
    const Node& n = graph.nodes[stage.project];
    const Shape& in = graph.values[n.inputs[0]].shape;
    const double pixels = double(out.shape.pixels());
    const int panels = out.stride() / kPanel;
    if (stage.spatial >= 0) {
      CostTerms one;
      add_matrix(&one, pixels, panels, stage.chunk, global ? 1 : steps);
      for (int i = 0; i < kCostTerms; i++) t.of[i] += chunks * one.of[i];
    } else {
      add_matrix(&t, pixels, panels, in.channels * n.y.kernel * n.x.kernel / n.groups,
                 n.pointwise() ? strips : 3.0 * height);
      if (!n.pointwise()) t.of[kElements] += double(height) * n.y.kernel * in.width * in.channels / kPanel;
    }
  }
  if (stage.add >= 0 || stage.load >= 0) t.of[kElements] += double(out.shape.pixels()) * out.stride() / kPanel;

  // The weights come from far once for each strip, or, where they fit the second-level cache, once; each further step
  // reads its chunk's again; the dense layer after a global pool is taken once. What the caches hold was measured to
  // cost nothing.
  const double lines = double(weights) / kLine;
  t.of[kFarWeights] += lines * (weights > kSecondCache ? strips : 1);
  const int64_t again = global ? (stage.expand >= 0 ? graph.nodes[stage.expand].weight_bytes : 0) : weights;
  if (again / chunks > kSecondCache) t.of[kFarWeights] += double(again) / kLine * (steps - strips);
  return t;
}

double stage_cycles(const Graph& graph, const Stage& stage, const StepCounts& counts) {
  const CostTerms terms = cost_terms(graph, stage, counts);
  double cycles = 0;
  for (int i = 0; i < kCostTerms; i++) cycles += kCycles[i] * terms.of[i];
  return cycles;
}

double far_cycles(const Value& value) { return kCycles[kFarRows] * far_lines(value); }

double far_lines(const Graph& graph, const Plan& plan, const Segment& segment, int stage) {
  const int in = plan.stages[stage].input, out = plan.stages[stage].output;
  const bool reads = stage == segment.first && plan.values[in].kind == Placement::kArena,
             writes = stage == segment.last - 1;
  return (reads ? far_lines(graph.values[in]) : 0) + (writes ? far_lines(graph.values[out]) : 0);
}

double far_cycles(const Graph& graph, const Plan& plan, const Segment& segment, int stage) {
  return kCycles[kFarRows] * far_lines(graph, plan, segment, stage);
}

}  // namespace mbinfer
