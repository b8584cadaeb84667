// The one mechanism: which input rows a strip needs, and the loop that advances a segment row by row. The executor, the
// planner and the checker all run this loop; they differ in what they do with a step. Chunks, and pools of a whole map,
// are known here and nowhere else: to the others a part makes rows, and starts or ends their sums.
#pragma once

#include <algorithm>
#include <climits>

#include "plan/scratch.h"
#include "plan/stages.h"

namespace mbinfer {

struct Range {
  int begin = 0, end = 0;
  bool empty() const { return begin >= end; }
  int count() const { return end - begin; }
};
using Rows = Range;

// Rows of its input that a node reads to make rows `out`. Without output rows, or where these see padding only, no
// input row has to be made, and those before the window may go: an empty range from where the window begins, with its
// end at 0.
inline Rows input_rows(const Graph& graph, const Node& node, Rows out) {
  const int height = graph.values[node.inputs[0]].shape.height;
  const Area area = info_of(node.op).area;
  if (area == Area::kWhole || area == Area::kAll || area == Area::kStacked) return {0, height};
  const auto range = node.y.input_range(out.begin, out.end, height);
  if (range.first < range.second) return {range.first, range.second};
  return {std::min(height, std::max(0, out.begin * node.y.stride - node.y.pad)), 0};
}

// Rows that part `part` reads for rows `out` of the stage's output: the windows from the last part down to it.
inline Rows needs(const Graph& graph, const Stage& stage, int part, Rows out) {
  for (int p = stage.last(); p >= part; p--) out = input_rows(graph, graph.nodes[stage.parts[p].node], out);
  return out;
}

// Rows of its second input that a stage reads to make rows `out`: the same, or all of what holds for every pixel.
inline Rows added_rows(const Graph& graph, const Stage& stage, Rows out) {
  const int height = graph.values[stage.residual].shape.height;
  return height < graph.values[stage.output].shape.height ? Rows{0, height} : out;
}

// Rows of its input that strip [r0, r1) reads: a stage that keeps its expanded rows reads what new ones need.
inline Rows strip_rows(const Graph& graph, const Stage& stage, int r0, int r1) {
  Rows rows = {r0, r1};
  for (int p = stage.last(); p >= 0; p--) {
    if (stage.keep && r0 > 0 && p == stage.split - 1)
      rows.begin = std::max(rows.begin, needs(graph, stage, stage.split, {0, r0}).end);
    rows = input_rows(graph, graph.nodes[stage.parts[p].node], rows);
  }
  return rows;
}

// The part that goes step by step: the one whose channels are split, or the only one; a conversion before it goes
// along.
inline int stepping_part(const Stage& stage) { return stage.bottleneck() ? stage.split : stage.last(); }

// The rows that a strip goes through step by step: those that it makes; all of the input where a pool takes the whole
// map, which makes its one row of a few rows at a time.
inline Rows stepped_rows(const Graph& graph, const Stage& stage, int r0, int r1) {
  const int at = stepping_part(stage);
  const Node& node = graph.nodes[stage.parts[at].node];
  if (info_of(node.op).area == Area::kWhole) return input_rows(graph, node, {r0, r1});
  return needs(graph, stage, at + 1, {r0, r1});
}

// What a strip does, in order: for each chunk, for each step, every part makes the rows that the next one needs and has
// not yet.
struct Step {
  struct Made {
    Rows reads, makes;                // of the part's input, and of what it makes; nothing to do where `makes` is empty
    bool starts = true, ends = true;  // sums begin at the bias, and are finished
  };
  int chunk = 0;
  bool last_chunk = false;
  Rows output;  // rows of the stage's output that this step works on
  Made part[kMaxParts];
};

// steps: of the rows that the strip goes through, those that it does now.
constexpr Rows kAllSteps = {0, INT_MAX};

template <class Body>
void for_each_step(const Graph& graph, const Stage& stage, int r0, int r1, Rows steps, int chunks, Body&& body) {
  const Rows all = stepped_rows(graph, stage, r0, r1);
  const int at = stepping_part(stage), kept = stage.keep && r0 > 0 ? needs(graph, stage, stage.split, {0, r0}).end : 0;
  const Node& stepping = graph.nodes[stage.parts[at].node];
  auto is_whole = [&](int p) { return info_of(graph.nodes[stage.parts[p].node].op).area == Area::kWhole; };
  const bool whole = is_whole(at), pools = stage.through > at && is_whole(stage.through);
  Step step;
  for (step.chunk = 0; step.chunk < chunks; step.chunk++) {
    step.last_chunk = step.chunk == chunks - 1;
    int expanded = kept;
    for (int t0 = std::max(all.begin, steps.begin); t0 < std::min(all.end, steps.end); t0 += stage.step) {
      const Rows now = {t0, std::min(all.end, t0 + stage.step)};
      Step::Made& made = step.part[at];
      made.makes = whole ? Rows{r0, r1} : now;
      step.output = whole || pools ? Rows{r0, r1} : now;
      made.reads = whole ? now : input_rows(graph, stepping, now);
      made.starts = !whole || now.begin == all.begin;
      made.ends = !whole || now.end == all.end;
      if (stage.through > at) {  // a pool of what the steps make, or a product with it
        step.part[stage.through].reads = now;
        step.part[stage.through].makes = step.output;
        step.part[stage.through].starts = !pools || now.begin == all.begin;
        step.part[stage.through].ends = !pools || now.end == all.end;
      }
      const int behind = std::max(at, int(stage.through)) + 1;
      for (int p = behind; p < stage.part_count(); p++) {  // 1x1, over the channels of the chunk
        step.part[p].reads = step.part[p].makes = made.ends ? step.output : Rows{r0, r0};
        step.part[p].starts = step.chunk == 0;
        step.part[p].ends = step.last_chunk;
      }
      for (int p = at - 1; p >= 0; p--) {
        Rows rows = step.part[p + 1].reads;
        if (p == stage.split - 1) {
          rows.begin = std::max(rows.begin, expanded);
          expanded = std::max(expanded, rows.end);
        }
        step.part[p].makes = rows;
        step.part[p].reads = input_rows(graph, graph.nodes[stage.parts[p].node], rows);
      }
      body(static_cast<const Step&>(step));
    }
  }
}

template <class Body>
void for_each_step(const Graph& graph, const Stage& stage, int r0, int r1, int chunks, Body&& body) {
  for_each_step(graph, stage, r0, r1, kAllSteps, chunks, body);
}

// What a strip of a stage writes while it may still read value `in`: write(end, row) where output rows up to `end` are
// written and rows of `in` from `row` on are read then or after that; `row` is its height where none is.
template <class Write>
void for_each_write(const Graph& graph, const Stage& stage, int in, int r0, int r1, Write&& write) {
  const int none = graph.values[in].shape.height;
  const bool reads = stage.input == in, adds = stage.residual == in;
  if (!reads && !adds) return write(r1, none);
  // For every chunk but the last, all rows are read again, and written over, unless sums wait elsewhere.
  const Type& made = graph.values[graph.nodes[stage.parts[stage.last()].node].output].type;
  const bool waits = stage.sums_chunks() && sums_of(made).dtype != made.dtype;
  if (chunk_count(graph, stage) > 1 && !waits)
    write(r1, std::min(reads ? strip_rows(graph, stage, r0, r1).begin : none,
                       adds ? added_rows(graph, stage, {r0, r1}).begin : none));
  // A 1x1 expansion has read its rows before the output is written; other convolutions read some of them again.
  const bool done = stage.expands() && graph.nodes[stage.parts[0].node].pointwise();
  for_each_step(graph, stage, r0, r1, 1, [&](const Step& step) {
    const int row = !reads ? none : done ? step.part[0].makes.end : step.part[0].reads.begin;
    write(step.output.end, adds ? std::min(row, added_rows(graph, stage, step.output).begin) : row);
  });
}

// The steps of a strip up to row r1 that come next where `produced` says how far the stage is, and what it says then:
// rows made so far, or, below zero, those that were taken row by row of the map whose pool is not made yet.
inline Rows next_steps(const Stage& stage, int produced) {
  const int taken = std::max(0, -produced);
  return stage.row_by_row() ? Rows{taken, taken + stage.step} : kAllSteps;
}
inline int produced_after(const Graph& graph, const Stage& stage, int r1, Rows steps) {
  if (!stage.row_by_row()) return r1;
  return steps.end < stepped_rows(graph, stage, 0, 1).end ? -steps.end : r1;
}

// Advances `stage` until `upto` rows of its output exist, advancing its producers in the segment first.
// strip(s, r0, r1, steps) makes them, or goes so far towards them.
template <class Strip>
void advance(const Graph& graph, const Plan& plan, const Segment& segment, int stage, int upto, int* produced,
             Strip&& strip) {
  const Stage& s = plan.stages[stage];
  const int height = graph.values[s.output].shape.height;
  while (produced[stage] < upto) {
    const int r0 = std::max(0, produced[stage]), r1 = std::min(height, r0 + s.rows);
    const Rows steps = next_steps(s, produced[stage]);
    const int need = std::min(strip_rows(graph, s, r0, r1).end, steps.end);
    for (int p = segment.first; p < stage; p++) {
      if (plan.stages[p].output == s.input) advance(graph, plan, segment, p, need, produced, strip);
      if (plan.stages[p].output == s.residual)
        advance(graph, plan, segment, p, added_rows(graph, s, {r0, r1}).end, produced, strip);
    }
    strip(stage, r0, r1, steps);
    produced[stage] = produced_after(graph, s, r1, steps);
  }
}

template <class Strip>
void run_segment(const Graph& graph, const Plan& plan, const Segment& segment, int* produced, Strip&& strip) {
  for (int s = segment.first; s < segment.last; s++) produced[s] = 0;
  const int last = segment.last - 1;
  advance(graph, plan, segment, last, graph.values[plan.stages[last].output].shape.height, produced, strip);
}

}  // namespace mbinfer
