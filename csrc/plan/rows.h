// The one mechanism: which input rows a strip needs, and the loop that advances a segment row by row. The executor, the
// planner and the checker all run this loop; they differ in what they do with a strip.
#pragma once

#include <algorithm>

#include "plan/stages.h"

namespace mbinfer {

struct Rows {
  int begin = 0, end = 0;
  bool empty() const { return begin >= end; }
  int count() const { return end - begin; }
};

// Without output rows, or where these see padding only, no input row has to be made, and those before the window may
// go: an empty range from where the window begins, with its end at 0.
inline Rows input_rows(const Graph& graph, const Node& node, Rows out) {
  const int height = graph.values[node.inputs[0]].shape.height;
  const auto range = node.y.input_range(out.begin, out.end, height);
  if (range.first < range.second) return {range.first, range.second};
  return {std::min(height, std::max(0, out.begin * node.y.stride - node.y.pad)), 0};
}

// A global pool makes its one row from all rows of its input, and takes them a few at a time.
inline bool is_global(const Graph& graph, const Stage& stage) {
  return stage.spatial >= 0 && graph.nodes[stage.spatial].op == Op::kGlobalAvgPool;
}

// Rows that the stage's spatial part reads to make output rows [r0, r1): rows of the expanded tensor, or, without an
// expansion, of the stage's input. A stage without a spatial part reads the rows of its convolution's window.
inline Rows window_rows(const Graph& graph, const Stage& stage, int r0, int r1) {
  const int window = stage.spatial >= 0 ? stage.spatial : stage.project;
  if (window < 0) return {r0, r1};  // an addition, or a copied input
  const Node& node = graph.nodes[window];
  if (node.op == Op::kGlobalAvgPool) return {0, graph.values[node.inputs[0]].shape.height};
  return input_rows(graph, node, {r0, r1});
}

// Rows of the stage's input behind rows of its window.
inline Rows source_rows(const Graph& graph, const Stage& stage, Rows window) {
  return stage.expand < 0 ? window : input_rows(graph, graph.nodes[stage.expand], window);
}

// Rows of its input that strip [r0, r1) reads: a stage that keeps its expanded rows reads what new ones need.
inline Rows strip_rows(const Graph& graph, const Stage& stage, int r0, int r1) {
  Rows rows = window_rows(graph, stage, r0, r1);
  if (stage.keep && r0 > 0) rows.begin = std::max(rows.begin, window_rows(graph, stage, 0, r0).end);
  return source_rows(graph, stage, rows);
}

// What a strip does, in order: for each chunk, for each step of output rows [t0, t1), read the rows `fresh` of the
// input (and, without an expanded ring, all of the window again) and make the rows. Under a global pool a step is input
// rows.
struct Step {
  int chunk = 0;
  bool last_chunk = false;
  int t0 = 0, t1 = 0;
  Rows window;  // as window_rows()
  Rows fresh;   // of the window, the rows not yet expanded in this chunk
  Rows source;  // rows of the input that this step reads: those behind `fresh`, or the window itself
};

template <class Body>
void for_each_step(const Graph& graph, const Stage& stage, int r0, int r1, int chunks, Body&& body) {
  const bool global = is_global(graph, stage);
  const int begin = global ? 0 : r0, end = global ? window_rows(graph, stage, 0, 1).end : r1;
  const int rows = stage.spatial >= 0 ? stage.step : end - begin;
  for (int chunk = 0; chunk < chunks; chunk++) {
    int expanded = stage.keep && r0 > 0 ? window_rows(graph, stage, 0, r0).end : 0;
    for (int t0 = begin; t0 < end; t0 += rows) {
      Step step;
      step.chunk = chunk;
      step.last_chunk = chunk == chunks - 1;
      step.t0 = t0;
      step.t1 = std::min(end, t0 + rows);
      step.window = global ? Rows{t0, step.t1} : window_rows(graph, stage, t0, step.t1);
      step.fresh = {std::max(step.window.begin, expanded), step.window.end};
      expanded = std::max(expanded, step.window.end);
      step.source = stage.expand >= 0 ? source_rows(graph, stage, step.fresh) : step.window;
      body(step);
    }
  }
}

// What a strip of a stage writes while it may still read value `in`: write(end, row) where output rows up to `end` are
// written and rows of `in` from `row` on are read then or after that; `row` is its height where none is.
template <class Write>
void for_each_write(const Graph& graph, const Stage& stage, int in, int r0, int r1, Write&& write) {
  const int none = graph.values[in].shape.height;
  const bool reads = stage.input == in, adds = stage.residual == in;
  if (!reads && !adds) return write(r1, none);
  // For every chunk but the last, all rows are read again.
  if (chunk_count(graph, stage) > 1)
    write(r1, std::min(reads ? strip_rows(graph, stage, r0, r1).begin : none, adds ? r0 : none));
  // A 1x1 expansion has read its rows before the output is written; other convolutions read some of them again.
  const bool global = is_global(graph, stage), done = stage.expand >= 0 && graph.nodes[stage.expand].pointwise();
  for_each_step(graph, stage, r0, r1, 1, [&](const Step& step) {
    const int row = !reads ? none : done ? step.fresh.end : step.source.begin;
    write(global ? r1 : step.t1, adds ? std::min(row, step.t0) : row);
  });
}

// Advances `stage` until `upto` rows of its output exist, advancing its producers in the segment first.
// produced[s]: rows made so far. strip(s, r0, r1) makes them.
template <class Strip>
void advance(const Graph& graph, const Plan& plan, const Segment& segment, int stage, int upto, int* produced,
             Strip&& strip) {
  const Stage& s = plan.stages[stage];
  const int height = graph.values[s.output].shape.height;
  while (produced[stage] < upto) {
    const int r0 = produced[stage], r1 = std::min(height, r0 + s.rows);
    const int need = strip_rows(graph, s, r0, r1).end;
    for (int p = segment.first; p < stage; p++) {
      if (plan.stages[p].output == s.input) advance(graph, plan, segment, p, need, produced, strip);
      if (plan.stages[p].output == s.residual) advance(graph, plan, segment, p, r1, produced, strip);
    }
    strip(stage, r0, r1);
    produced[stage] = r1;
  }
}

template <class Strip>
void run_segment(const Graph& graph, const Plan& plan, const Segment& segment, int* produced, Strip&& strip) {
  for (int s = segment.first; s < segment.last; s++) produced[s] = 0;
  const int last = segment.last - 1;
  advance(graph, plan, segment, last, graph.values[plan.stages[last].output].shape.height, produced, strip);
}

}  // namespace mbinfer
