#include "plan/replay.h"

#include <algorithm>

#include "plan/rows.h"
#include "plan/stages.h"

namespace mbinfer {
namespace {

// Multiply-adds of one step in all chunks: every part for the rows that it makes.
int64_t step_macs(const Graph& graph, const Stage& s, const Step& step) {
  int64_t total = 0;
  for (int p = 0; p < s.part_count(); p++) {
    const Node& node = graph.nodes[s.parts[p].node];
    const int64_t rows = std::max(0, step.part[p].makes.count());
    if (rows) total += rows * (macs(graph, node) / graph.values[node.output].shape.height);
  }
  return total;
}

// The oldest row of value v that stage c of a running segment will still read; the value's height where it reads none.
int oldest_row(const Graph& graph, const Plan& plan, const std::vector<int>& produced, int c, int v) {
  const Stage& s = plan.stages[c];
  const int height = graph.values[s.output].shape.height, next = produced[c];
  int row = graph.values[v].shape.height;
  if (next >= height) return row;
  if (s.input == v) row = std::min(row, strip_rows(graph, s, next, std::min(height, next + s.rows)).begin);
  if (s.residual == v) row = std::min(row, added_rows(graph, s, {next, height}).begin);
  return row;
}

// home_of(v): where value v lies.
template <class HomeOf>
SegmentNeeds needs_of(const Graph& graph, HomeOf&& home_of, const Plan& plan, const Segment& segment) {
  const int count = segment.last - segment.first;
  SegmentNeeds needs;
  needs.ring_rows.assign(count, 0);
  needs.stage_macs.assign(count, 0);
  std::vector<int> produced(plan.stages.size(), 0);
  const int in = plan.stages[segment.first].input, out = plan.stages[segment.last - 1].output;
  const Home home_in = home_of(in), home_out = home_of(out);
  int pulled = 0;  // rows of the segment's input that were asked for
  needs.slide = -graph.values[home_in.value]
                     .bytes();  // where nothing is read once rows of the output are made, it may lie anywhere
  auto write_end = [&](int rows) { return home_out.end(graph.values[out], rows); };
  auto read_begin = [&](int row) { return home_in.begin(graph.values[in], row); };
  auto oldest = [&](int c, int v) { return oldest_row(graph, plan, produced, c, v); };
  run_segment(graph, plan, segment, produced.data(), [&](int stage, int r0, int r1) {
    const Stage& s = plan.stages[stage];
    int needed = graph.values[s.output].shape.height;
    for (int c = segment.first; c < segment.last; c++) needed = std::min(needed, oldest(c, s.output));
    int& ring = needs.ring_rows[stage - segment.first];
    ring = std::max(ring, r1 - std::min(r0, needed));
    auto pull = [&](Rows rows) {
      pulled = std::max(pulled, rows.end);
      needs.source_rows = std::max(needs.source_rows, pulled - rows.begin);
    };
    if (s.input == in && !pulled_by_step(graph, s)) pull({oldest(stage, in), strip_rows(graph, s, r0, r1).end});

    // Rows of the segment's input that somebody reads after this strip, beside this stage.
    produced[stage] = r1;
    int later = graph.values[in].shape.height;
    for (int c = segment.first; c < segment.last; c++) later = std::min(later, oldest(c, in));
    for_each_step(graph, s, r0, r1, 1, [&](const Step& step) {
      needs.stage_macs[stage - segment.first] += step_macs(graph, s, step);
      if (s.input == in && pulled_by_step(graph, s)) pull(step.part[0].reads);
    });
    if (stage == segment.last - 1)
      for_each_write(graph, s, in, r0, r1, [&](int end, int row) {
        row = std::min(row, later);
        if (row < graph.values[in].shape.height) needs.slide = std::max(needs.slide, write_end(end) - read_begin(row));
      });
    produced[stage] = r0;
  });
  return needs;
}

}  // namespace

SegmentNeeds measure_segment(const Graph& graph, const Homes& homes, const Plan& plan, const Segment& segment) {
  return needs_of(graph, [&](int v) { return homes.of(v); }, plan, segment);
}

SegmentNeeds measure_segment(const Graph& graph, const Plan& plan, const Segment& segment) {
  return needs_of(graph, [&](int v) { return plan.values[size_t(v)].home; }, plan, segment);
}

std::vector<TracedStep> trace_segment(const Graph& graph, const Plan& plan, int segment) {
  const Segment& stages = plan.segments[segment];
  struct Watched {
    int value, maker;  // maker: the stage of the segment, or -1
    bool stays;        // after the segment
  };
  std::vector<Watched> watched;
  auto watch = [&](int v, int maker) {
    if (v < 0 || plan.values[v].kind != Placement::kArena) return;
    for (const Watched& w : watched)
      if (w.value == v) return;
    bool stays = maker == stages.last - 1;
    for (const Buffer& b : plan.buffers)
      stays = stays || (b.kind == Buffer::kValue && b.index == plan.values[v].home.value && b.last > segment);
    watched.push_back({v, maker, stays});
  };
  for (int s = stages.first; s < stages.last; s++) watch(plan.stages[s].output, s);
  for (int s = stages.first; s < stages.last; s++)
    for (int v : {plan.stages[s].input, plan.stages[s].residual}) watch(v, -1);

  std::vector<TracedStep> steps;
  std::vector<int> produced(plan.stages.size(), 0);
  run_segment(graph, plan, stages, produced.data(), [&](int stage, int r0, int r1) {
    const Stage& s = plan.stages[stage];
    const Rows read = strip_rows(graph, s, r0, r1);
    const size_t strip = steps.size();
    for_each_step(graph, s, r0, r1, chunk_count(graph, s), [&](const Step& step) {
      TracedStep now = {stage, step.output.begin, step.output.end, {}};
      for (const Watched& w : watched) {
        int begin = w.stays ? 0 : graph.values[w.value].shape.height, end = graph.values[w.value].shape.height;
        if (w.maker >= 0) end = w.maker != stage ? produced[w.maker] : step.chunk ? r1 : now.r1;
        produced[stage] = r1;
        for (int c = stages.first; c < stages.last; c++)
          begin = std::min(begin, oldest_row(graph, plan, produced, c, w.value));
        produced[stage] = r0;
        // This strip's own reading: all its rows again for each chunk, the last chunk's from this step on.
        if (s.input == w.value) begin = std::min(begin, step.last_chunk ? step.part[0].reads.begin : read.begin);
        if (s.residual == w.value)
          begin = std::min(begin, added_rows(graph, s, {step.last_chunk ? now.r0 : r0, r1}).begin);
        if (begin < end) now.live.push_back({w.value, begin, end});
      }
      if (steps.size() == strip || !(steps.back().live == now.live)) steps.push_back(std::move(now));
    });
  });
  return steps;
}

}  // namespace mbinfer
