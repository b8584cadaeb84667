#include "plan/replay.h"

#include <algorithm>

#include "plan/rows.h"
#include "plan/stages.h"

namespace mbinfer {
namespace {

// Multiply-adds of the parts of a stage, for a row that each makes.
class RowMacs {
 public:
  RowMacs(const Graph& graph, const Stage& stage) : parts_(stage.part_count()) {
    for (int p = 0; p < parts_; p++) {
      const Node& node = graph.nodes[stage.parts[p].node];
      of_[p] = macs(graph, node) / graph.values[node.output].shape.height;
    }
  }
  int64_t of(const Step& step) const {  // in all chunks
    int64_t total = 0;
    for (int p = 0; p < parts_; p++) total += std::max(0, step.part[p].makes.count()) * of_[p];
    return total;
  }

 private:
  int parts_;
  int64_t of_[kMaxParts];
};

// A segment that runs: how many rows of each stage's output are made, and from which rows on values are still read.
class Running {
 public:
  Running(const Graph& graph, const Lives& lives, const Plan& plan, const Segment& segment, std::vector<int>* made)
      : graph_(graph), lives_(lives), plan_(plan), segment_(segment), made_(*made) {}

  // Calls strip(stage, r0, r1, steps) for each strip, before its rows count as made.
  template <class Strip>
  void run(Strip&& strip) {
    run_segment(graph_, plan_, segment_, made_.data(), strip);
  }

  int& made(int stage) { return made_[size_t(stage)]; }

  // The oldest row of value v that some stage will still read; the value's height where none does.
  int oldest(int v) const {
    const Life& life = lives_.of(v);
    int row = height(v);
    const int first = life.maker == kLastRun ? segment_.first : std::max(segment_.first, life.maker);
    for (int s = first; s < segment_.last && s <= life.last_reader; s++) row = std::min(row, oldest(v, s));
    return row;
  }

  int oldest(int v, int stage) const {  // ... that this one will
    const Stage& s = plan_.stages[stage];
    const int height_made = height(s.output), next = made_[size_t(stage)];
    int row = height(v);
    if (next >= height_made || (s.input != v && s.residual != v && !gathers(s, v))) return row;
    const int r0 = std::max(0, next), taken = std::max(0, -next);  // row by row
    const Rows reads = strip_rows(graph_, s, r0, std::min(height_made, r0 + s.rows));
    if (s.input == v) row = std::min(row, std::max(reads.begin, taken));
    if (s.residual == v) row = std::min(row, added_rows(graph_, s, {r0, height_made}).begin);
    return gathers(s, v) ? std::min(row, gathered_from(s, r0)) : row;
  }

  // Whether a stage gathers value v with others, and the row from which it reads it to make rows from `row` on.
  bool gathers(const Stage& s, int v) const {
    const Node& first = graph_.nodes[size_t(s.parts[0].node)];
    return mbinfer::gathers(first) && std::find(first.inputs.begin(), first.inputs.end(), v) != first.inputs.end();
  }
  int gathered_from(const Stage& s, int row) const { return stacks(graph_.nodes[size_t(s.parts[0].node)]) ? 0 : row; }

 private:
  int height(int v) const { return graph_.values[size_t(v)].shape.height; }

  const Graph& graph_;
  const Lives& lives_;
  const Plan& plan_;
  const Segment& segment_;
  std::vector<int>& made_;  // by stage
};

}  // namespace

SegmentNeeds measure_segment(const Graph& graph, const Lives& lives, const Plan& plan, const Segment& segment,
                             std::vector<int>* made) {
  const int count = segment.last - segment.first;
  SegmentNeeds needs;
  needs.ring_rows.assign(count, 0);
  needs.stage_macs.assign(count, 0);
  const int in = plan.stages[segment.first].input, out = plan.stages[segment.last - 1].output;
  const int in_height = graph.values[in].shape.height;
  int pulled = 0;                         // rows of the segment's input that were asked for
  needs.slide = -lives.room(in).bytes();  // where nothing is read once rows of the output are made, it may lie anywhere
  std::vector<RowMacs> macs;              // by stage of the segment
  macs.reserve(size_t(count));
  for (int s = segment.first; s < segment.last; s++) macs.emplace_back(graph, plan.stages[s]);
  Running running(graph, lives, plan, segment, made);
  running.run([&](int stage, int r0, int r1, Rows steps) {
    const Stage& s = plan.stages[stage];
    int& ring = needs.ring_rows[stage - segment.first];
    ring = std::max(ring, r1 - std::min(r0, running.oldest(s.output)));
    auto pull = [&](Rows rows) {
      pulled = std::max(pulled, rows.end);
      needs.source_rows = std::max(needs.source_rows, pulled - rows.begin);
    };
    if (s.input == in && !pulled_by_step(graph, s)) pull({running.oldest(in, stage), strip_rows(graph, s, r0, r1).end});

    // Rows of the segment's input that somebody reads after this strip, beside this stage.
    const int before = running.made(stage);
    running.made(stage) = produced_after(graph, s, r1, steps);
    const int later = running.oldest(in);
    for_each_step(graph, s, r0, r1, steps, 1, [&](const Step& step) {
      needs.stage_macs[stage - segment.first] += macs[size_t(stage - segment.first)].of(step);
      if (s.input == in && pulled_by_step(graph, s)) pull(step.part[0].reads);
    });
    if (stage == segment.last - 1 && !steps.begin)  // what it takes row by row it writes over and over
      for_each_write(graph, s, in, r0, r1, [&](int end, int row) {
        row = std::min(row, later);
        if (row < in_height) needs.slide = std::max(needs.slide, lives.end(out, end) - lives.begin(in, row));
      });
    running.made(stage) = before;
  });
  return needs;
}

std::vector<TracedStep> trace_segment(const Graph& graph, const Plan& plan, int segment) {
  const Segment& stages = plan.segments[segment];
  struct Watched {
    int value, maker;  // maker: the stage of the segment, or -1
    bool stays;        // after the segment
  };
  std::vector<Watched> watched;
  const Homes homes = homes_of(plan);
  const Lives lives(graph, plan.stages, homes);
  auto watch = [&](int v, int maker) {
    if (v < 0 || plan.values[v].kind != Placement::kArena) return;
    for (const Watched& w : watched)
      if (w.value == v) return;
    watched.push_back({v, maker, maker == stages.last - 1 || lives.of(v).last_reader >= stages.last});
  };
  for (int s = stages.first; s < stages.last; s++) watch(plan.stages[s].output, s);
  for (int s = stages.first; s < stages.last; s++) for_each_read(graph, plan.stages[s], [&](int v) { watch(v, -1); });

  std::vector<TracedStep> steps;
  std::vector<int> made(plan.stages.size());
  Running running(graph, lives, plan, stages, &made);
  running.run([&](int stage, int r0, int r1, Rows part) {
    const Stage& s = plan.stages[stage];
    const int before = running.made(stage), after = produced_after(graph, s, r1, part);
    const Rows read = strip_rows(graph, s, r0, r1);
    const size_t strip = steps.size();
    for_each_step(graph, s, r0, r1, part, chunk_count(graph, s), [&](const Step& step) {
      TracedStep now = {stage, step.output.begin, step.output.end, {}};
      for (const Watched& w : watched) {
        int begin = w.stays ? 0 : graph.values[w.value].shape.height, end = graph.values[w.value].shape.height;
        if (w.maker >= 0) end = w.maker != stage ? std::max(0, running.made(w.maker)) : step.chunk ? r1 : now.r1;
        running.made(stage) = after;
        begin = std::min(begin, running.oldest(w.value));
        running.made(stage) = before;
        // This strip's own reading: all its rows again for each chunk, the last chunk's from this step on.
        if (s.input == w.value) begin = std::min(begin, step.last_chunk ? step.part[0].reads.begin : read.begin);
        if (s.residual == w.value)
          begin = std::min(begin, added_rows(graph, s, {step.last_chunk ? now.r0 : r0, r1}).begin);
        if (running.gathers(s, w.value)) begin = std::min(begin, running.gathered_from(s, now.r0));
        if (begin < end) now.live.push_back({w.value, begin, end});
      }
      if (steps.size() == strip || !(steps.back().live == now.live)) steps.push_back(std::move(now));
    });
  });
  return steps;
}

}  // namespace mbinfer
