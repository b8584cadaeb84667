#include "plan/replay.h"

#include <algorithm>

#include "plan/rows.h"
#include "plan/stages.h"

namespace mbinfer {
namespace {

// Multiply-adds of one step in all chunks: every part for the rows that it makes.
int64_t step_macs(const Graph& graph, const Stage& s, const Step& step) {
  auto per_row = [&](int n) {
    return n < 0 ? 0 : macs(graph, graph.nodes[n]) / graph.values[graph.nodes[n].output].shape.height;
  };
  const bool global = is_global(graph, s);
  const int64_t rows = step.t1 - step.t0;
  int64_t total = std::max(0, step.fresh.count()) * per_row(s.expand);
  if (!global)
    total += rows * (per_row(s.spatial) + per_row(s.project));
  else if (step.t0 == 0)
    total += per_row(s.project);
  return total;
}

// The oldest row of value v that stage c of a running segment will still read; the value's height where it reads none.
int oldest_row(const Graph& graph, const Plan& plan, const std::vector<int>& produced, int c, int v) {
  const Stage& s = plan.stages[c];
  const int height = graph.values[s.output].shape.height, next = produced[c];
  int row = graph.values[v].shape.height;
  if (next >= height) return row;
  if (s.input == v) row = std::min(row, strip_rows(graph, s, next, std::min(height, next + s.rows)).begin);
  if (s.residual == v) row = std::min(row, next);
  return row;
}

}  // namespace

SegmentNeeds measure_segment(const Graph& graph, const Plan& plan, const Segment& segment) {
  const int count = segment.last - segment.first;
  SegmentNeeds needs;
  needs.ring_rows.assign(count, 0);
  needs.stage_macs.assign(count, 0);
  std::vector<int> produced(plan.stages.size(), 0);
  const int in = plan.stages[segment.first].input, out = plan.stages[segment.last - 1].output;
  int pulled = 0;  // rows of the segment's input that were asked for
  needs.slide =
      -graph.values[in].bytes();  // where nothing is read once rows of the output are made, it may lie anywhere
  const int64_t in_row = graph.values[in].row_bytes(), out_row = graph.values[out].row_bytes();
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
    if (s.load >= 0)
      needs.source_rows = std::max(needs.source_rows, r1 - r0);
    else if (s.input == in && !pulled_by_step(graph, s))
      pull({oldest(stage, in), strip_rows(graph, s, r0, r1).end});

    // Rows of the segment's input that somebody reads after this strip, beside this stage.
    produced[stage] = r1;
    int later = graph.values[in].shape.height;
    for (int c = segment.first; c < segment.last; c++) later = std::min(later, oldest(c, in));
    for_each_step(graph, s, r0, r1, 1, [&](const Step& step) {
      needs.stage_macs[stage - segment.first] += step_macs(graph, s, step);
      if (s.input == in && pulled_by_step(graph, s)) pull(step.source);
    });
    if (stage == segment.last - 1)
      for_each_write(graph, s, in, r0, r1, [&](int end, int row) {
        row = std::min(row, later);
        if (row < graph.values[in].shape.height) needs.slide = std::max(needs.slide, end * out_row - row * in_row);
      });
    produced[stage] = r0;
  });
  for (int64_t m : needs.stage_macs) needs.macs += m;
  return needs;
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
      stays = stays || (b.kind == Buffer::kValue && b.index == v && b.last > segment);
    watched.push_back({v, maker, stays});
  };
  for (int s = stages.first; s < stages.last; s++) watch(plan.stages[s].output, s);
  for (int s = stages.first; s < stages.last; s++)
    for (int v : {plan.stages[s].input, plan.stages[s].residual}) watch(v, -1);

  std::vector<TracedStep> steps;
  std::vector<int> produced(plan.stages.size(), 0);
  run_segment(graph, plan, stages, produced.data(), [&](int stage, int r0, int r1) {
    const Stage& s = plan.stages[stage];
    const bool global = is_global(graph, s);
    const Rows read = strip_rows(graph, s, r0, r1);
    const size_t strip = steps.size();
    for_each_step(graph, s, r0, r1, chunk_count(graph, s), [&](const Step& step) {
      TracedStep now = {stage, global ? r0 : step.t0, global ? r1 : step.t1, {}};
      for (const Watched& w : watched) {
        int begin = w.stays ? 0 : graph.values[w.value].shape.height, end = graph.values[w.value].shape.height;
        if (w.maker >= 0) end = w.maker != stage ? produced[w.maker] : step.chunk ? r1 : now.r1;
        produced[stage] = r1;
        for (int c = stages.first; c < stages.last; c++)
          begin = std::min(begin, oldest_row(graph, plan, produced, c, w.value));
        produced[stage] = r0;
        // This strip's own reading: all its rows again for each chunk, the last chunk's from this step on.
        if (s.input == w.value) begin = std::min(begin, step.last_chunk ? step.source.begin : read.begin);
        if (s.residual == w.value) begin = std::min(begin, step.last_chunk ? now.r0 : r0);
        if (begin < end) now.live.push_back({w.value, begin, end});
      }
      if (steps.size() == strip || !(steps.back().live == now.live)) steps.push_back(std::move(now));
    });
  });
  return steps;
}

std::string check_plan(const Graph& graph, const Plan& plan) {
  constexpr int64_t kGrain = 32;
  std::vector<int64_t> owner(size_t(ceil_div(plan.peak_bytes, kGrain)), -1);
  std::string wrong;
  auto fail = [&](const std::string& what) {
    if (wrong.empty()) wrong = what;
  };
  auto tag = [](int kind, int64_t index, int64_t row) { return (int64_t(kind) << 56) | (index << 28) | row; };
  auto write = [&](int64_t offset, int64_t bytes, int64_t id, const std::string& what) {
    if (offset < 0 || offset + bytes > plan.peak_bytes) return fail(what + " lies outside the arena");
    for (int64_t g = offset / kGrain; g * kGrain < offset + bytes; g++) owner[g] = id;
  };
  auto read = [&](int64_t offset, int64_t bytes, int64_t id, const std::string& what) {
    if (offset < 0 || offset + bytes > plan.peak_bytes) return fail(what + " lies outside the arena");
    for (int64_t g = offset / kGrain; g * kGrain < offset + bytes; g++)
      if (owner[g] != id) return fail(what + " was overwritten, or never made");
  };
  int now = 0;  // segment
  auto row_at = [&](int v, int r) {
    const Placement& p = plan.values[v];
    return p.at(now) + (r % p.rows) * graph.values[v].row_bytes();
  };
  auto write_rows = [&](int v, int r0, int r1) {
    for (int r = r0; r < r1; r++)
      write(row_at(v, r), graph.values[v].row_bytes(), tag(1, v, r),
            "row " + std::to_string(r) + " of '" + graph.values[v].name + "'");
  };
  auto read_rows = [&](int v, int r0, int r1, const std::string& by) {
    if (v < 0 || plan.values[v].kind != Placement::kArena) return;
    for (int r = r0; r < r1; r++)
      read(row_at(v, r), graph.values[v].row_bytes(), tag(1, v, r),
           "row " + std::to_string(r) + " of '" + graph.values[v].name + "', read by '" + by + "',");
  };
  std::vector<int> produced(plan.stages.size(), 0);
  for (; now < int(plan.segments.size()); now++) {
    for (int v = 0; v < int(plan.values.size()); v++) {
      if (plan.values[v].moved_before != now) continue;
      now--;
      read_rows(v, 0, graph.values[v].shape.height, "its move");
      now++;
      write_rows(v, 0, graph.values[v].shape.height);
    }
    run_segment(graph, plan, plan.segments[now], produced.data(), [&](int stage, int r0, int r1) {
      const Stage& s = plan.stages[stage];
      const int chunks = chunk_count(graph, s);
      const bool global = is_global(graph, s);
      const int64_t chunk_bytes = s.expanded_bytes / (s.keep ? chunks : 1);
      const int64_t expanded_row = s.expanded_rows ? chunk_bytes / s.expanded_rows : 0;
      for_each_step(graph, s, r0, r1, chunks, [&](const Step& step) {
        if (s.load < 0) read_rows(s.input, step.source.begin, step.source.end, s.name);
        const int ring = s.keep ? step.chunk : 0;
        auto expanded = [&](int r) {
          return s.expanded_offset + ring * chunk_bytes + (r % s.expanded_rows) * expanded_row;
        };
        if (s.expanded_rows) {
          for (int r = step.fresh.begin; r < step.fresh.end; r++)
            write(expanded(r), expanded_row, tag(2, stage * 4096 + step.chunk, r),
                  "an expanded row of '" + s.name + "'");
          for (int r = step.window.begin; r < step.window.end; r++)
            read(expanded(r), expanded_row, tag(2, stage * 4096 + step.chunk, r),
                 "an expanded row of '" + s.name + "'");
        }
        if (s.spatial_bytes) write(s.spatial_offset, s.spatial_bytes, tag(3, stage, 0), "scratch of '" + s.name + "'");
        if (s.patch_bytes) write(s.patch_offset, s.patch_bytes, tag(3, stage, 0), "scratch of '" + s.name + "'");
        if (global && step.t1 < window_rows(graph, s, 0, 1).end) return;
        const int w0 = global ? r0 : step.t0, w1 = global ? r1 : step.t1;
        if (s.residual >= 0 && step.last_chunk) read_rows(s.residual, w0, w1, s.name);
        if (step.chunk > 0 && s.project >= 0) read_rows(s.output, w0, w1, s.name);  // the partial sums
        write_rows(s.output, w0, w1);
        // A kernel may write a row before it has read all that it makes it from; expanded rows are made before.
        if (s.load < 0 && !s.expanded_rows) read_rows(s.input, step.source.begin, step.source.end, s.name);
        if (s.residual >= 0 && step.last_chunk) read_rows(s.residual, w0, w1, s.name);
      });
    });
  }
  now--;
  for (const GraphOutput& out : graph.outputs)
    read_rows(out.value, 0, graph.values[out.value].shape.height, "the caller");
  return wrong;
}

}  // namespace mbinfer
