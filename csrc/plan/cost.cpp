#include "plan/cost.h"

#include <algorithm>

#include "plan/rows.h"
#include "plan/stages.h"

namespace mbinfer {
namespace {

// Cycles. A matrix tile of 6 pixels by 2 panels multiplies for 6 cycles for each input channel, and costs its start (sums
// loaded, activated, stored) once; a depthwise vector costs its taps; a call costs its arguments.
constexpr double kTile = 34, kTilePerInput = 6.4, kDepthwise = 5, kDepthwisePerTap = 0.95, kCall = 40, kElement = 0.6;
// A byte of weights read again by each step, from the second-level cache and from beyond it.
constexpr double kNearByte = 0.015, kFarByte = 0.05;
constexpr int64_t kNear = 512 << 10;

double matrix(double pixels, int panels, int inputs, double calls) {
  const double tiles = (pixels / 6 + 0.3 * calls) * ((panels + 1) / 2);
  return tiles * (kTile + kTilePerInput * inputs) + calls * kCall;
}

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

double stage_cycles(const Graph& graph, const Stage& stage, const StepCounts& counts) {
  double cycles = 0;
  const Value& out = graph.values[stage.output];
  const int height = out.shape.height;
  const int chunks = chunk_count(graph, stage), chunk_panels = stage.chunk / kPanel;
  const double steps = double(counts.steps), strips = double(counts.strips), expanded = double(counts.expanded_rows);
  auto weights = [&](int n) { return n < 0 ? 0 : graph.nodes[n].weight_bytes; };

  if (stage.expand >= 0) {
    const Node& n = graph.nodes[stage.expand];
    const Shape& made = graph.values[n.output].shape;
    const int inputs = graph.values[n.inputs[0]].shape.channels * n.y.kernel * n.x.kernel;
    cycles += chunks * matrix(expanded * made.width, chunk_panels, inputs, n.pointwise() ? steps : 3 * expanded);
  }
  if (stage.spatial >= 0) {
    const Node& n = graph.nodes[stage.spatial];
    const Shape& made = graph.values[n.output].shape;
    const bool global = n.op == Op::kGlobalAvgPool;
    const double vectors = double(global ? graph.values[n.inputs[0]].shape.pixels() : made.pixels()) * ceil_div(made.channels, kPanel);
    const double taps = global ? 1 : n.y.kernel * n.x.kernel;
    cycles += vectors * (kDepthwise + kDepthwisePerTap * taps) + double(chunks) * (global ? steps : height) * kCall;
  }
  if (stage.project >= 0) {
    const Node& n = graph.nodes[stage.project];
    const int panels = out.stride() / kPanel;
    const int inputs = graph.values[n.inputs[0]].shape.channels * n.y.kernel * n.x.kernel / n.groups;
    if (stage.spatial >= 0) cycles += chunks * matrix(double(out.shape.pixels()), panels, stage.chunk, is_global(graph, stage) ? 1 : steps);
    else cycles += matrix(double(out.shape.pixels()), panels, inputs, n.pointwise() ? strips : 3.0 * height);
  }
  if (stage.add >= 0 || stage.load >= 0) cycles += kElement * double(out.shape.pixels()) * out.stride() / kPanel;

  // Each step of each chunk reads the chunk's weights; between strips all the stage's weights have passed.
  const int64_t bytes = weights(stage.expand) + weights(stage.spatial) + weights(stage.project);
  const double again = steps - strips;
  cycles += double(bytes) * strips * (bytes > kNear ? kFarByte : kNearByte);
  cycles += double(bytes) * again * (bytes / chunks > kNear ? kFarByte : kNearByte);
  return cycles;
}

}  // namespace mbinfer
