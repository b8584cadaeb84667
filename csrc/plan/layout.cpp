#include "plan/layout.h"

#include <algorithm>
#include <utility>

#include "plan/cost.h"
#include "plan/replay.h"
#include "plan/stages.h"
#include "plan/states.h"

namespace mbinfer {
namespace {

int64_t input_bytes(const Graph& graph) {
  int64_t bytes = 0;
  for (const GraphInput& in : graph.inputs) {
    const Value& value = graph.values[size_t(in.value)];
    bytes += value.shape.elements() * int64_t(size_of(value.type));
  }
  return bytes;
}

int64_t state_bytes(const Graph& graph) {
  int64_t bytes = 0;
  for (const State& state : graph.states) bytes += graph.values[size_t(state.value)].bytes();
  return bytes;
}

// --- what takes memory, and when -------------------------------------------------------------------------------------

// Segments are replayed one after the other: what each needs becomes buffers, slides, rows and costs.
class Buffers {
 public:
  Buffers(const Graph& graph, const Lives& lives, Plan* plan) : graph_(graph), lives_(lives), plan_(*plan) {
    segment_of_.reserve(plan_.stages.size());
    for (int g = 0; g < int(plan_.segments.size()); g++)
      for (int s = plan_.segments[size_t(g)].first; s < plan_.segments[size_t(g)].last; s++) segment_of_.push_back(g);
    rows_.assign(plan_.stages.size(), 0);
    holder_.assign(graph.values.size(), -1);
  }

  void find(const CostModel& costs) {
    reserve();
    const int last = int(plan_.segments.size()) - 1;
    lives_.for_each_state_room([&](int v) { add(Buffer::kValue, v, lives_.bytes(v), 0, last); });
    plan_.moved.clear();
    plan_.macs = plan_.extra_macs = plan_.moved_bytes = 0;
    plan_.cycles = 0;
    std::vector<int> source_rows;  // by segment
    source_rows.reserve(plan_.segments.size());
    std::vector<int> made(plan_.stages.size());
    for (int g = 0; g < int(plan_.segments.size()); g++) {
      const SegmentNeeds needs = measure_segment(graph_, lives_, plan_, plan_.segments[size_t(g)], &made);
      source_rows.push_back(needs.source_rows);
      add_buffers(g, needs);
      add_slide(g, needs);
      add_costs(g, needs, costs);
    }
    find_input_rows(source_rows);
    holder_ = {};
  }

  std::vector<Slide> take_slides() { return std::move(slides_); }
  int rows(int stage) const { return rows_[size_t(stage)]; }  // of its output: all of them, or those of a ring
  int segment_of(int stage) const { return stage == kLastRun ? 0 : segment_of_[size_t(stage)]; }

 private:
  const Value& output(int stage) const { return graph_.values[size_t(plan_.stages[size_t(stage)].output)]; }

  // The last segment that reads a value; INT_MAX: it stays for the caller; -1: none does.
  int last_use(int value) const {
    const int reader = lives_.of(value).last_reader;
    return reader < 0 || reader == kCaller ? reader : segment_of(reader);
  }

  bool slides(const Segment& segment) const {
    return lives_.frees_input(&plan_.stages[size_t(segment.first)], segment.first, segment.last - segment.first);
  }

  // As many as there will be: a list that grows has room to spare, or is copied. Each slide may cut a buffer in two.
  void reserve() {
    size_t count = 0, slid = 0;
    lives_.for_each_state_room([&](int) { count++; });
    for (const Segment& segment : plan_.segments) {
      int64_t transient = 0;
      for (int s = segment.first; s < segment.last; s++) {
        const Stage& stage = plan_.stages[size_t(s)];
        count += lives_.begins(stage, s) + (stage.keep && stage.kept_bytes());
        transient = std::max(transient, stage.transient_bytes());
      }
      count += transient > 0;
      slid += slides(segment);
    }
    plan_.buffers = {};
    plan_.buffers.reserve(count > size_t(kPlacementBlocks) ? count : count + slid);
    slides_.reserve(slid);
  }

  void add(Buffer::Kind kind, int index, int64_t bytes, int first, int last) {
    if (!bytes) return;
    if (kind == Buffer::kValue) holder_[size_t(index)] = int(plan_.buffers.size());
    plan_.buffers.emplace_back(kind, index, round_up(bytes, kArenaAlign), first, last);
  }

  void add_buffers(int g, const SegmentNeeds& needs) {
    const Segment& segment = plan_.segments[size_t(g)];
    int64_t transient = 0;
    for (int s = segment.first; s < segment.last; s++) {
      const Stage& stage = plan_.stages[size_t(s)];
      add_output(g, s, needs.ring_rows[size_t(s - segment.first)]);
      if (stage.keep) add(Buffer::kExpanded, s, stage.kept_bytes(), g, g);
      transient = std::max(transient, stage.transient_bytes());
    }
    add(Buffer::kScratch, g, transient, g, g);
  }

  // A ring, where nothing outside the segment reads what the stage makes.
  void add_output(int g, int s, int ring_rows) {
    const Stage& stage = plan_.stages[size_t(s)];
    const Value& out = output(s);
    const bool ring =
        s + 1 < plan_.segments[size_t(g)].last && last_use(stage.output) == g && !lives_.of(stage.output).shared;
    rows_[size_t(s)] = ring ? std::min(out.shape.height, ring_rows) : out.shape.height;
    if (!lives_.begins(stage, s)) return;
    const int last = std::min(int(plan_.segments.size()) - 1, std::max(g, last_use(stage.output)));
    if (ring)
      add(Buffer::kRing, lives_.home(stage.output), rows_[size_t(s)] * out.row_bytes(), g, last);
    else
      add(Buffer::kValue, lives_.home(stage.output), lives_.room(stage.output).bytes(), g, last);
  }

  void add_slide(int g, const SegmentNeeds& needs) {
    const Segment& segment = plan_.segments[size_t(g)];
    if (!slides(segment)) return;
    const int in = plan_.stages[size_t(segment.first)].input, out = plan_.stages[size_t(segment.last - 1)].output;
    slides_.push_back({holder_[size_t(lives_.home(out))], holder_[size_t(lives_.home(in))], needs.slide});
  }

  void add_costs(int g, const SegmentNeeds& needs, const CostModel& costs) {
    const Segment& segment = plan_.segments[size_t(g)];
    for (int s = segment.first; s < segment.last; s++) {
      Stage& stage = plan_.stages[size_t(s)];
      const int64_t once = macs(graph_, stage);
      stage.extra_macs = std::max<int64_t>(0, needs.stage_macs[size_t(s - segment.first)] - once);
      plan_.macs += once;
      plan_.extra_macs += stage.extra_macs;
      plan_.cycles += StageCost(graph_, costs, stage).cycles(count_steps(graph_, stage), stage.chunk) +
                      segment_end_cycles(graph_, costs, plan_, segment, s, lives_.of(stage.input).maker >= 0);
    }
  }

  // Rows of a pulled input: a ring where one stage, the first of its segment, takes them in order.
  void find_input_rows(const std::vector<int>& source_rows) {
    std::vector<int> readers(graph_.values.size(), 0), rows(graph_.values.size(), 0);
    for (int s = 0; s < int(plan_.stages.size()); s++) {
      const int v = plan_.stages[size_t(s)].input, g = segment_of(s);
      if (!graph_.values[size_t(v)].held_by_caller()) continue;
      const bool alone = s == plan_.segments[size_t(g)].first && !readers[size_t(v)]++;
      rows[size_t(v)] = alone ? source_rows[size_t(g)] : graph_.values[size_t(v)].shape.height;
    }
    plan_.input_rows.clear();
    for (const GraphInput& in : graph_.inputs)
      plan_.input_rows.push_back(rows[size_t(in.value)] ? rows[size_t(in.value)]
                                                        : graph_.values[size_t(in.value)].shape.height);
  }

  const Graph& graph_;
  const Lives& lives_;
  Plan& plan_;
  std::vector<int> segment_of_;  // by stage
  std::vector<int> rows_;        // by stage
  std::vector<int> holder_;      // by value: its buffer
  std::vector<Slide> slides_;    // of buffers: outputs over inputs
};

// --- from the offsets of buffers to those of values and scratch ------------------------------------------------------

// Which values are in the arena, or with the caller. What lies inside of another value is there whole.
void find_places(const Graph& graph, const Homes& homes, const Buffers& buffers, Plan* plan) {
  plan->values.assign(graph.values.size(), {});
  for (int i = 0; i < int(graph.inputs.size()); i++) {
    Placement& placed = plan->values[size_t(graph.inputs[size_t(i)].value)];
    placed.kind = Placement::kExternal;
    placed.input = i;
  }
  for (int s = 0; s < int(plan->stages.size()); s++) {
    Placement& placed = plan->values[size_t(plan->stages[size_t(s)].output)];
    placed.kind = Placement::kArena;
    placed.rows = buffers.rows(s);
  }
  for (const State& state : graph.states) {
    Placement& placed = plan->values[size_t(state.value)];
    placed.kind = Placement::kArena;
    placed.rows = graph.values[size_t(state.value)].shape.height;
  }
  for (int v = 0; v < int(plan->values.size()); v++) {
    const Home home = plan->values[size_t(v)].home = homes.of(v);
    if (home.value == v) continue;
    for (int whole : {v, home.value}) {
      plan->values[size_t(whole)].kind = Placement::kArena;
      plan->values[size_t(whole)].rows = graph.values[size_t(whole)].shape.height;
    }
  }
}

// The second buffer of a value is where it lies after it was moved.
void assign_value(const Buffer& b, int born, Plan* plan) {
  Placement& placed = plan->values[size_t(b.index)];
  if (b.first == born) {
    placed.offset = b.offset;
  } else {
    placed.moved_offset = b.offset;
    placed.moved_before = b.first;
  }
}

// The stages of a segment have the same bytes one after the other.
void assign_scratch(const Buffer& b, Plan* plan) {
  const Segment& segment = plan->segments[size_t(b.index)];
  for (int s = segment.first; s < segment.last; s++) {
    Stage& stage = plan->stages[size_t(s)];
    int64_t at = b.offset;
    for (int p = stage.last(); p >= 0; p--)  // patches last, as they are no whole cache lines
      for (Scratch* scratch : {&stage.parts[p].ring, &stage.parts[p].sums}) {
        if (stage.keep && scratch == &stage.kept()) continue;
        scratch->offset = at;
        at += scratch->bytes;
      }
  }
}

// A value that was cut in two and lies in one place all the same is not moved.
void count_moves(const Graph& graph, Plan* plan) {
  for (size_t v = 0; v < plan->values.size(); v++) {
    Placement& placed = plan->values[v];
    if (placed.moved_before == INT_MAX) continue;
    if (placed.moved_offset == placed.offset) {
      placed.moved_before = INT_MAX;
      continue;
    }
    plan->moved.push_back(int(v));
    plan->moved_bytes += graph.values[v].bytes();
  }
}

void assign_offsets(const Graph& graph, const Homes& homes, const Lives& lives, const Buffers& buffers, Plan* plan) {
  find_places(graph, homes, buffers, plan);
  for (const Buffer& b : plan->buffers) {
    if (b.kind == Buffer::kExpanded) plan->stages[size_t(b.index)].kept().offset = b.offset;
    if (b.kind == Buffer::kScratch) assign_scratch(b, plan);
    if (b.kind == Buffer::kValue || b.kind == Buffer::kRing)
      assign_value(b, buffers.segment_of(lives.of(b.index).maker), plan);
  }
  count_moves(graph, plan);
  if (plan->schedule != Schedule::kNaive) widen_patches(graph, plan->peak_bytes, plan);
  plan->state_order = states_in_order(graph, homes);
  plan->input_bytes = input_bytes(graph);
  plan->state_bytes = state_bytes(graph);
}

}  // namespace

Placed lay_out_draft(const Graph& graph, const Lives& lives, Plan* plan, Work* work) {
  Buffers buffers(graph, lives, plan);
  buffers.find(work->costs);
  Placed found;
  place(buffers.take_slides(), /*weighed=*/true, &found, plan, work);
  return found;
}

void lay_out(const Graph& graph, const Homes& homes, const Lives& lives, Placed found, Plan* plan, Work* work) {
  Buffers buffers(graph, lives, plan);
  buffers.find(work->costs);
  place(buffers.take_slides(), /*weighed=*/false, &found, plan, work);
  assign_offsets(graph, homes, lives, buffers, plan);
}

void widen_patches(const Graph& graph, int64_t most, Plan* plan) {
  for (Buffer& b : plan->buffers) {
    if (b.kind != Buffer::kScratch) continue;
    const Segment& segment = plan->segments[size_t(b.index)];
    for (int s = segment.first; s < segment.last; s++) {
      Stage& stage = plan->stages[size_t(s)];
      const Scratch& patch = stage.parts[0].ring;
      if (!patch.patch) continue;
      int64_t end = most, top = 0;  // of what is free behind it; of all that is there meanwhile
      for (const Buffer& other : plan->buffers) {
        if (&other == &b || other.first > b.last || b.first > other.last) continue;
        if (other.offset > patch.offset) end = std::min<int64_t>(end, other.offset);
        top = std::max(top, other.offset + round_up(other.bytes, kArenaAlign));
      }
      const int64_t before = patch.offset - b.offset, wide = widest_patch(graph, stage);
      if (end - patch.offset < wide && top + before + wide <= most) {
        b.offset = top;
        assign_scratch(b, plan);
        end = most;
      }
      widen_patch(graph, &stage, end - patch.offset);
      b.bytes = std::max<int64_t>(b.bytes, patch.offset + patch.bytes - b.offset);
      plan->peak_bytes = std::max(plan->peak_bytes, b.offset + round_up(b.bytes, kArenaAlign));
    }
  }
}

}  // namespace mbinfer
