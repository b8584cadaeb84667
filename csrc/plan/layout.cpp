#include "plan/layout.h"

#include <algorithm>
#include <utility>

#include "plan/arena.h"
#include "plan/cost.h"
#include "plan/lives.h"
#include "plan/replay.h"
#include "plan/stages.h"

namespace mbinfer {
namespace {

class Layout {
 public:
  Layout(const Graph& graph, const Homes& homes, const Lives& lives, Plan* plan)
      : graph_(graph), homes_(homes), plan_(*plan), lives_(lives) {
    segment_of_.reserve(plan_.stages.size());
    for (int g = 0; g < int(plan_.segments.size()); g++)
      for (int s = plan_.segments[g].first; s < plan_.segments[g].last; s++) segment_of_.push_back(g);
  }

  // Before the buffers are found: for assign_offsets().
  void keep_rows() { ring_rows_.assign(plan_.stages.size(), 0); }

  void find_buffers(const CostModel& costs) {
    holder_.assign(graph_.values.size(), -1);
    reserve_buffers();
    source_rows_.reserve(plan_.segments.size());
    plan_.peak_bytes = plan_.macs = plan_.extra_macs = plan_.input_bytes = plan_.moved_bytes = 0;
    plan_.cycles = 0;
    for (const GraphInput& in : graph_.inputs)
      plan_.input_bytes += graph_.values[in.value].shape.elements() * int64_t(size_of(graph_.values[in.value].type));
    for (int g = 0; g < int(plan_.segments.size()); g++) {
      const SegmentNeeds needs = measure_segment(graph_, homes_, plan_, plan_.segments[g]);
      source_rows_.push_back(needs.source_rows);
      add_buffers(g, needs);
      add_costs(g, needs, costs);
      if (slides(g)) {
        const Segment& s = plan_.segments[g];
        const int in = plan_.stages[s.first].input, out = plan_.stages[s.last - 1].output;
        slid_.push_back({holder_[size_t(lives_.home(out))], holder_[size_t(lives_.home(in))], needs.slide});
      }
    }
    find_input_rows();
    source_rows_ = {};
  }

  void place_apart() {
    for (Buffer& b : plan_.buffers) {
      b.offset = plan_.peak_bytes;
      plan_.peak_bytes += b.bytes;
    }
    plan_.lower_bound_bytes = plan_.peak_bytes;
  }

  // Values slid over slide down themselves, one after the other, until no room is left: where that costs memory, they
  // move up in between. A short search of either, then a long one.
  void place_together(Work* work) {
    plan_.peak_bytes = plan_.lower_bound_bytes = INT64_MAX;
    std::vector<int64_t> best;  // offsets
    bool moving = false;
    const size_t whole = plan_.buffers.size();
    for (int64_t effort : {kPlacementWork / 8, kPlacementWork})
      for (bool moves : {false, true}) {
        if (plan_.peak_bytes <= plan_.lower_bound_bytes && plan_.peak_bytes < INT64_MAX) break;
        if (moves && slid_.empty()) continue;
        if (moves) cut_moved();
        if (place_buffers(effort, &best, work)) moving = moves;
        if (moves) join_moved(whole);
      }
    if (moving) cut_moved();
    for (size_t i = 0; i < plan_.buffers.size(); i++) plan_.buffers[i].offset = best[i];
  }

  // From the offsets of buffers to those of values and of the stages' scratch.
  void assign_offsets() {
    find_places();
    for (const Buffer& b : plan_.buffers) {
      if (b.kind == Buffer::kExpanded) plan_.stages[b.index].expanded().offset = b.offset;
      if (b.kind == Buffer::kValue || b.kind == Buffer::kRing) assign_value(b);
      if (b.kind == Buffer::kScratch) assign_scratch(b);
    }
    for (Placement& placed : plan_.values) {
      if (placed.moved_before == INT_MAX) continue;
      if (placed.moved_offset == placed.offset)
        placed.moved_before = INT_MAX;
      else
        plan_.moved_bytes += graph_.values[&placed - plan_.values.data()].bytes();
    }
  }

 private:
  // The last segment that reads a value; INT_MAX: it stays for the caller; -1: none does.
  int last_use(int value) const {
    const int reader = lives_.of(value).last_reader;
    return reader < 0 || reader == kCaller ? reader : segment_of_[size_t(reader)];
  }

  void add(Buffer::Kind kind, int index, int64_t bytes, int first, int last) {
    if (!bytes) return;
    if (kind == Buffer::kValue) holder_[size_t(index)] = int(plan_.buffers.size());
    plan_.buffers.push_back({kind, index, 0, round_up(bytes, kArenaAlign), first, last});
  }

  // As many as there will be: a list that grows has room to spare, or is copied.
  void reserve_buffers() {
    size_t count = 0, slid = 0;
    for (int g = 0; g < int(plan_.segments.size()); g++) {
      int64_t transient = 0;
      for (int s = plan_.segments[g].first; s < plan_.segments[g].last; s++) {
        const Stage& stage = plan_.stages[s];
        count += lives_.begins(stage, s) + (stage.keep && stage.kept_bytes());
        transient = std::max(transient, stage.transient_bytes());
      }
      count += transient > 0;
      slid += slides(g);
    }
    plan_.buffers = {};
    plan_.buffers.reserve(count + slid);
    slid_.reserve(slid);
  }

  // Whether the input of a segment dies in it, row by row, while the output grows, which may slide over it then.
  bool slides(int g) const {
    const int first = plan_.segments[g].first, last = plan_.segments[g].last - 1, in = plan_.stages[first].input;
    return lives_.of(in).maker >= 0 && last_use(in) == g && lives_.begins(plan_.stages[last], last) &&
           std::none_of(plan_.stages.begin() + first, plan_.stages.begin() + last + 1,
                        [&](const Stage& s) { return lives_.reads_beside(s, in); });
  }

  // Which values are in the arena, or with the caller. What lies inside of another value is there whole.
  void find_places() {
    plan_.values.assign(graph_.values.size(), {});
    for (int i = 0; i < int(graph_.inputs.size()); i++) {
      plan_.values[graph_.inputs[size_t(i)].value].kind = Placement::kExternal;
      plan_.values[graph_.inputs[size_t(i)].value].input = i;
    }
    for (int s = 0; s < int(plan_.stages.size()); s++) {
      Placement& placed = plan_.values[plan_.stages[s].output];
      placed.kind = Placement::kArena;
      placed.rows = ring_rows_[size_t(s)];
    }
    for (int v = 0; v < int(plan_.values.size()); v++) {
      const Home home = plan_.values[v].home = homes_.of(v);
      if (home.value == v) continue;
      for (int whole : {v, home.value}) {
        plan_.values[whole].kind = Placement::kArena;
        plan_.values[whole].rows = graph_.values[whole].shape.height;
      }
    }
  }

  void add_buffers(int g, const SegmentNeeds& needs) {
    const Segment& segment = plan_.segments[g];
    const int last_segment = int(plan_.segments.size()) - 1;
    int64_t transient = 0;
    for (int s = segment.first; s < segment.last; s++) {
      const Stage& stage = plan_.stages[s];
      const Value& out = graph_.values[stage.output];
      const bool ring = s + 1 < segment.last && last_use(stage.output) == g && !lives_.of(stage.output).shared;
      const int rows = ring ? std::min(out.shape.height, needs.ring_rows[s - segment.first]) : out.shape.height;
      if (!ring_rows_.empty()) ring_rows_[size_t(s)] = rows;
      if (lives_.begins(stage, s))
        add(ring ? Buffer::kRing : Buffer::kValue, lives_.home(stage.output),
            ring ? rows * out.row_bytes() : lives_.room(stage.output).bytes(), g,
            std::min(last_segment, std::max(g, last_use(stage.output))));
      if (stage.keep) add(Buffer::kExpanded, s, stage.kept_bytes(), g, g);
      transient = std::max(transient, stage.transient_bytes());
    }
    add(Buffer::kScratch, g, transient, g, g);
  }

  void add_costs(int g, const SegmentNeeds& needs, const CostModel& costs) {
    const Segment& segment = plan_.segments[g];
    for (int s = segment.first; s < segment.last; s++) {
      Stage& stage = plan_.stages[s];
      stage.macs = 0;
      for (int p = stage.again; p < stage.part_count(); p++)
        stage.macs += macs(graph_, graph_.nodes[stage.parts[p].node]);
      stage.extra_macs = std::max<int64_t>(0, needs.stage_macs[s - segment.first] - stage.macs);
      plan_.macs += stage.macs;
      plan_.extra_macs += stage.extra_macs;
      plan_.cycles += stage_cycles(graph_, costs, stage, count_steps(graph_, stage)) +
                      segment_end_cycles(graph_, costs, plan_, segment, s, lives_.of(stage.input).maker >= 0);
    }
  }

  // Rows of a pulled input: a ring where one stage, the first of its segment, takes them in order.
  void find_input_rows() {
    std::vector<int> readers(graph_.values.size(), 0), rows(graph_.values.size(), 0);
    for (int s = 0; s < int(plan_.stages.size()); s++) {
      const Stage& stage = plan_.stages[s];
      const int v = stage.input, g = segment_of_[size_t(s)];
      if (graph_.values[v].producer >= 0) continue;
      const bool alone = s == plan_.segments[g].first && !readers[size_t(v)]++;
      rows[size_t(v)] = alone ? source_rows_[size_t(g)] : graph_.values[v].shape.height;
    }
    plan_.input_rows.clear();
    for (const GraphInput& in : graph_.inputs)
      plan_.input_rows.push_back(rows[size_t(in.value)] ? rows[size_t(in.value)]
                                                        : graph_.values[in.value].shape.height);
  }

  // Cuts each value that is slid over in two, since it may lie elsewhere in its last segment; its second buffer comes
  // after all others.
  void cut_moved() {
    for (Slide& s : slid_) {
      Buffer& over = plan_.buffers[size_t(s.above)];
      const int segment = plan_.buffers[size_t(s.below)].first;
      if (over.first >= segment) continue;
      Buffer moved = over;
      moved.first = segment;
      over.last = segment - 1;
      s.above = int(plan_.buffers.size());
      plan_.buffers.push_back(moved);
    }
  }

  // ... and makes them whole again, of which there are so many.
  void join_moved(size_t whole) {
    for (Slide& s : slid_) {
      if (size_t(s.above) < whole) continue;
      const Buffer& moved = plan_.buffers[size_t(s.above)];
      s.above = holder_[size_t(moved.index)];
      plan_.buffers[size_t(s.above)].last = moved.last;
    }
    plan_.buffers.resize(whole);
  }

  // Places the buffers. True: into fewer bytes than before.
  bool place_buffers(int64_t effort, std::vector<int64_t>* best, Work* work) {
    plan_.lower_bound_bytes = std::min(plan_.lower_bound_bytes, placement_bound(plan_.buffers, slid_));
    const int64_t peak = place(&plan_.buffers, slid_, effort, work);
    if (peak >= plan_.peak_bytes) return false;
    plan_.peak_bytes = peak;
    best->clear();
    best->reserve(plan_.buffers.size());
    for (const Buffer& b : plan_.buffers) best->push_back(b.offset);
    return true;
  }

  void assign_value(const Buffer& b) {
    Placement& placed = plan_.values[b.index];
    const bool born = b.first == segment_of_[size_t(lives_.of(b.index).maker)];
    if (born)
      placed.offset = b.offset;
    else
      placed.moved_offset = b.offset, placed.moved_before = b.first;
  }

  void assign_scratch(const Buffer& b) {
    for (int s = plan_.segments[b.index].first; s < plan_.segments[b.index].last; s++) {
      Stage& stage = plan_.stages[s];
      int64_t at = b.offset;
      for (int p = stage.last(); p >= 0; p--)  // patches last, as they are no whole cache lines
        for (Scratch* scratch : {&stage.parts[p].ring, &stage.parts[p].sums}) {
          if (stage.keep && scratch == &stage.expanded()) continue;
          scratch->offset = at;
          at += scratch->bytes;
        }
    }
  }

  const Graph& graph_;
  const Homes& homes_;
  Plan& plan_;
  const Lives& lives_;
  std::vector<int> segment_of_;   // by stage
  std::vector<int> source_rows_;  // by segment
  std::vector<int> holder_;       // by value: its buffer
  std::vector<int> ring_rows_;    // by stage: rows of its output; empty where nobody asks for places
  std::vector<Slide> slid_;       // of buffers: outputs over inputs
};

}  // namespace

void lay_out_draft(const Graph& graph, const Homes& homes, const Lives& lives, Plan* plan, Work* work) {
  Layout layout(graph, homes, lives, plan);
  layout.find_buffers(work->costs);
  layout.place_together(work);
}

void lay_out(const Graph& graph, const Homes& homes, const Lives& lives, Plan* plan, Work* work) {
  Layout layout(graph, homes, lives, plan);
  layout.keep_rows();
  layout.find_buffers(work->costs);
  layout.place_together(work);
  layout.assign_offsets();
}

void lay_out_apart(const Graph& graph, const Homes& homes, Plan* plan, const CostModel& costs) {
  const Lives lives(graph, plan->stages, homes);
  Layout layout(graph, homes, lives, plan);
  layout.keep_rows();
  layout.find_buffers(costs);
  layout.place_apart();
  layout.assign_offsets();
}

}  // namespace mbinfer
