#include "plan/cost.h"

#include <algorithm>

#include "plan/rows.h"
#include "plan/sharing.h"
#include "plan/stages.h"
#include "plan/tuning.h"

namespace mbinfer {
namespace {

constexpr double kLine = 64;

double whole_value_lines(const CostModel& model, const Value& value) {
  return value.bytes() > model.second_cache ? double(value.bytes()) / kLine : 0;
}

}  // namespace

StepCounts count_steps(const Graph& graph, const Stage& stage) {
  StepCounts counts;
  const int height = graph.values[stage.output].shape.height, strips = ceil_div(height, stage.rows);
  const int last = (strips - 1) * stage.rows;
  counts.strips = strips;
  // What comes behind the part that goes step by step takes its rows one by one, or all at once: whole strips are
  // alike.
  const int whole = stepped_rows(graph, stage, 0, stage.rows).count(),
            end = stepped_rows(graph, stage, last, height).count();
  counts.steps = (strips - 1) * int64_t(ceil_div(whole, stage.step)) + ceil_div(end, stage.step);
  const int step = stage.step, threads = stage.threads;
  if (shares_rows(graph, stage, step, threads)) {
    auto most = [&](int rows) { return rows / step * ceil_div(step, threads) + ceil_div(rows % step, threads); };
    counts.uneven = threads * (double(strips - 1) * most(whole) + most(end)) / (double(strips - 1) * whole + end);
  }
  if (!stage.expands()) return counts;
  const Node& stepping = graph.nodes[stage.parts[stepping_part(stage)].node];
  // Windows that touch: the rows of a strip's steps are those of the strip, and all strips together read each row.
  const bool touching =
      info_of(stepping.op).area != Area::kWhole && !stepping.y.denominator && stepping.y.stride <= stepping.y.extent();
  for (int r0 = 0; r0 < height; r0 += stage.rows) {
    const int r1 = touching && stage.keep ? height : std::min(height, r0 + stage.rows);
    if (touching) {
      const Rows rows = strips > 1 ? Rows{r0, r1} : stepped_rows(graph, stage, r0, r1);
      counts.expanded_rows += std::max(0, input_rows(graph, stepping, rows).count());
      if (stage.keep) break;
    } else {
      for_each_step(graph, stage, r0, r1, 1, [&](const Step& step) {
        counts.expanded_rows += std::max(0, step.part[stage.split - 1].makes.count());
      });
    }
  }
  return counts;
}

StageCost::StageCost(const Graph& graph, const CostModel& model, const Stage& stage)
    : model_(model),
      costs_(model.of(graph.values[stage.output].type)),
      channels_(expanded_channels(graph, stage)),
      count_(stage.part_count()),
      threads_(stage.threads) {
  bool once = false;  // what comes after a pool of the whole map
  for (int p = 0; p < count_; p++) {
    const Node& n = graph.nodes[stage.parts[p].node];
    const int panels = graph.values[n.output].stride() / kPanel;
    const int64_t read = n.weight_bytes / round_up(panels, 2) * panels;  // without what fills up the last pair
    weights_ += read;
    if (!once) stepped_weights_ += read;
    PartCost& part = parts_[p];
    part = part_cost(graph, stage, p);
    part.once = once;
    if (part.kind == PartCost::kFilter) once = info_of(n.op).area == Area::kWhole;
  }
  if (!stage.expands()) return;
  const Node& expansion = graph.nodes[stage.parts[stage.split - 1].node];
  expanded_height_ = graph.values[expansion.output].shape.height;
  expanded_row_macs_ = macs(graph, expansion) / expanded_height_;
}

StageCost::PartCost StageCost::part_cost(const Graph& graph, const Stage& stage, int p) {
  const Node& n = graph.nodes[stage.parts[p].node];
  const OpInfo& op = info_of(n.op);
  const Shape &made = graph.values[n.output].shape, &in = graph.values[n.inputs[0]].shape;
  const int panels = graph.values[n.output].stride() / kPanel, add = stage.parts[p].add;
  PartCost part;
  part.panels = panels;
  part.height = made.height;
  part.width = made.width;
  part.expands = p == stage.split - 1;
  part.projects = stage.bottleneck() && p == stage.through + 1;
  part.column = made.height > 1 && is_column(graph, n);
  if (n.mixes_channels()) {
    part.kind = PartCost::kMatrix;
    part.pointwise = n.pointwise();
    part.inputs = in.channels * n.y.kernel * n.x.kernel / n.groups;
    part.gathered = part.pointwise ? 0 : double(n.y.kernel) * in.width * in.channels / kPanel;
  } else if (!by_pixel(n.op)) {
    const bool rows = op.area == Area::kRow;
    const int panels_of = rows ? ceil_div(in.channels, kPanel) : panels;
    part.kind = PartCost::kFilter;
    part.pools = op.area == Area::kWhole;
    part.vectors = double(part.pools || rows ? in.pixels() : made.pixels()) * panels_of;
    part.taps = part.pools ? 1 : n.y.kernel * n.x.kernel;
  }
  if (add >= 0 || (by_pixel(n.op) && (stage.part_count() == 1 || p == stage.through)))
    part.elements = double(made.pixels()) * panels;
  part.looks_up = n.table >= 0 || (add >= 0 && graph.nodes[add].table >= 0);
  return part;
}

void StageCost::add_matrix(const PartCost& part, const StepCounts& counts, int chunk, int chunks, CostTerms* t) const {
  const double steps = double(counts.steps), made_rows = part.rows(counts);
  const double calls = !part.pointwise && !part.column ? 3 * made_rows
                       : part.expands                  ? steps
                       : part.projects                 ? (part.once ? 1 : steps)
                                                       : double(counts.strips);
  const int panels = part.expands ? chunk / kPanel : part.panels, times = part.expands || part.projects ? chunks : 1;
  // Each call leaves part of a tile empty.
  const double tiles =
      (made_rows * part.width / costs_.tile_pixels + 0.25 * calls) * ceil_div(panels, costs_.tile_panels);
  t->of[kTiles] += times * tiles;
  t->of[kTileInputs] += times * (tiles * (part.projects ? chunk : part.inputs));
  t->of[kCalls] += times * calls;
  t->of[kElements] += times * (made_rows * part.gathered);
}

CostTerms StageCost::terms(const StepCounts& counts, int chunk) const {
  CostTerms t;
  const int chunks = chunk ? ceil_div(channels_, chunk) : 1;
  const double steps = double(counts.steps), strips = double(counts.strips);
  for (const PartCost* part = parts_; part < parts_ + count_; part++) {
    if (part->kind == PartCost::kMatrix) add_matrix(*part, counts, chunk, chunks, &t);
    if (part->kind == PartCost::kFilter) {
      t.of[kVectors] += part->vectors;
      t.of[kVectorTaps] += part->vectors * part->taps;
      t.of[kCalls] += double(chunks) * (part->pools || part->column ? steps : part->height);
    }
    t.of[kElements] += part->elements;
    if (part->looks_up) t.of[kElements] += part->rows(counts) * part->width * part->panels;
  }
  t.of[kSteps] += double(chunks) * steps * count_;

  // The weights come from far once for each strip, or, where they fit the second-level cache, once; each further step
  // reads its chunk's again; the dense layer after a global pool is taken once. What the caches hold was measured to
  // cost nothing.
  t.of[kFarWeights] += double(weights_) / kLine * (weights_ > model_.second_cache ? strips : 1);
  if (stepped_weights_ / chunks > model_.second_cache)
    t.of[kFarWeights] += double(stepped_weights_) / kLine * (steps - strips);
  return t;
}

double StageCost::cycles(const StepCounts& counts, int chunk) const {
  const CostTerms t = terms(counts, chunk);
  double cycles =
      model_.again * double(std::max<int64_t>(0, counts.expanded_rows - expanded_height_) * expanded_row_macs_);
  for (int i = 0; i < kCostTerms; i++) cycles += costs_.cycles[i] * t.of[i];
  return threads_ == 1 ? cycles : cycles * counts.uneven + kMeeting * threads_ * t.of[kSteps];
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
