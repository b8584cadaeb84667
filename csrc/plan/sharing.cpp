#include "plan/sharing.h"

#include <algorithm>

#include "plan/tuning.h"
#include "plan/views.h"

namespace mbinfer {
namespace {

// A panel of float32 pixels is half a cache line, which no two threads should write: panels are shared out in pairs.
constexpr int kPanelPair = 2;

class Sharer {
 public:
  Sharer(const Graph& graph, const PlanOptions& options, const Plan& plan, Stage* stage)
      : graph_(graph), options_(options), plan_(plan), stage_(*stage) {
    const int height = graph.values[stage->output].shape.height;
    const int r0 = height / 2 / stage->rows * stage->rows;  // a strip in the middle, its second step: most are like it
    int steps = 0;
    for_each_step(graph, *stage, r0, std::min(height, r0 + stage->rows), 1, [&](const Step& step) {
      if (steps++ < 2) step_ = step;
    });
  }

  void run() {
    stage_.pass_count = 0;
    const int split = stage_.split;
    for (int p = 0; p < stage_.part_count(); p = stage_.passes[stage_.pass_count - 1].last) {
      Pass& pass = stage_.passes[stage_.pass_count++];
      if (stage_.parts[p].ring.patch)
        pass = {p, p + 2, Axis::kPixels, kPatchPixels};
      else if (stage_.expands() && p == split - 1 && !by_rows() && by_panels())
        pass = {p, p + 2, Axis::kPanels, kPanelPair};
      else if (stage_.bottleneck() && p == split && by_rows())
        pass = {p, p + 2, Axis::kRows, 1};
      else
        pass = alone(p);
    }
  }

 private:
  const Node& node(int p) const { return graph_.nodes[stage_.parts[p].node]; }
  const Value& made(int p) const { return graph_.values[node(p).output]; }
  int panels(int p) const { return made_panels(graph_, stage_, p, 0).count(); }

  bool by_rows() const { return shares_rows(graph_, stage_, step_.output.count(), options_.threads); }

  // A thread filters the panels that it expanded, where there are enough of them for all. Not where it would filter
  // into the output, which may lie over the input that other threads still expand.
  bool by_panels() const {
    if (options_.threads == 1 || stage_.split == stage_.last() || stage_.split != 1) return false;
    const int count = panels(0);
    return plan_.values[stage_.input].kind == Placement::kArena && node(0).pointwise() &&
           (count % (kPanelPair * options_.threads) == 0 || count >= 8 * options_.threads);
  }

  // A part by itself.
  Pass alone(int p) const {
    const OpInfo& op = info_of(node(p).op);
    const int rows = std::max(0, step_.part[p].makes.count()), pixels = rows * made(p).shape.width, count = panels(p);
    if (node(p).pointwise()) {
      // Whichever is larger, weights or pixels, so that each core reads its own part of it once.
      const bool weights = count * kPanel > pixels;
      if (weights ? count > options_.tile_panels : pixels < 2 * options_.tile_pixels * options_.threads)
        return {p, p + 1, Axis::kPanels, options_.tile_panels};
      return {p, p + 1, Axis::kPixels, options_.tile_pixels};
    }
    if (node(p).mixes_channels()) return {p, p + 1, Axis::kPixels, kPatchPixels};
    if (by_pixel(node(p).op) || stacks(node(p))) return {p, p + 1, Axis::kPixels, 1};
    if (!op.keeps_channels) return {p, p + 1, Axis::kRows, 1};
    if (op.area == Area::kWhole) return {p, p + 1, Axis::kPanels, kPanelPair};
    if (rows >= 4 * options_.threads || rows * kPanelPair >= count) return {p, p + 1, Axis::kRows, 1};
    return {p, p + 1, Axis::kPanels, kPanelPair};
  }

  const Graph& graph_;
  const PlanOptions& options_;
  const Plan& plan_;
  Stage& stage_;
  Step step_;
};

}  // namespace

// A thread projects the rows that it filtered, where its cache holds more of them than of weights: the map is larger
// than half of these.
bool shares_rows(const Graph& graph, const Stage& stage, int rows, int threads) {
  if (threads == 1 || !stage.bottleneck() || stage.split == stage.last() || rows < threads) return false;
  if (info_of(graph.nodes[stage.parts[stage.split].node].op).area == Area::kWhole) return false;
  const Shape& made = graph.values[stage.output].shape;
  const int inputs = stage.expands() ? graph.values[stage.input].shape.channels : 0;
  return 2 * rows * made.width >= inputs + made.channels;
}

void share_out(const Graph& graph, const PlanOptions& options, Plan* plan) {
  for (Stage& stage : plan->stages) Sharer(graph, options, *plan, &stage).run();
}

int extent(const Graph& graph, const Stage& stage, const Pass& pass, const Step& step) {
  const int p = pass.last - 1, rows = std::max(0, step.part[p].makes.count());
  switch (pass.axis) {
    case Axis::kRows:
      return rows;
    case Axis::kPixels:
      return rows * graph.values[graph.nodes[stage.parts[p].node].output].shape.width;
    case Axis::kPanels:
      return rows ? made_panels(graph, stage, p, step.chunk).count() : 0;
  }
  return 0;
}

int piece_count(int grains, int64_t work, int threads) {
  const int most = threads > 2 ? kPieces : 1;
  const int each = int(std::min<int64_t>({most, grains / threads, work / threads / kPieceWork}));
  return threads * std::max(1, each);
}

}  // namespace mbinfer
