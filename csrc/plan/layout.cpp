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

  void find_buffers(const CostModel& costs) {
    find_homes();
    holder_.assign(graph_.values.size(), -1);
    plan_.buffers.clear();
    plan_.buffers.reserve(plan_.stages.size());
    source_rows_.reserve(plan_.segments.size());
    slid_.reserve(plan_.segments.size());
    plan_.peak_bytes = plan_.macs = plan_.extra_macs = plan_.input_bytes = plan_.moved_bytes = 0;
    plan_.cycles = 0;
    for (int i = 0; i < int(graph_.inputs.size()); i++) {
      const GraphInput& in = graph_.inputs[size_t(i)];
      plan_.values[in.value].kind = Placement::kExternal;
      plan_.values[in.value].input = i;
      plan_.input_bytes += graph_.values[in.value].shape.elements() * int64_t(size_of(graph_.values[in.value].type));
    }
    for (int g = 0; g < int(plan_.segments.size()); g++) {
      const SegmentNeeds needs = measure_segment(graph_, plan_, plan_.segments[g]);
      source_rows_.push_back(needs.source_rows);
      add_buffers(g, needs);
      add_costs(g, needs, costs);
      const int first = plan_.segments[g].first, in = plan_.stages[first].input;
      // The input dies here, row by row, while the output grows: it may slide over it.
      const int last = plan_.segments[g].last - 1, out = plan_.stages[last].output;
      const bool alone = std::none_of(plan_.stages.begin() + first, plan_.stages.begin() + last + 1,
                                      [&](const Stage& s) { return lives_.reads_beside(s, in); });
      if (alone && plan_.values[in].kind == Placement::kArena && last_use(in) == g &&
          lives_.begins(plan_.stages[last], last))
        slid_.push_back({holder_[size_t(lives_.home(out))], holder_[size_t(lives_.home(in))], needs.slide});
    }
    find_input_rows();
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
    std::vector<Block> best;
    bool moving = false;
    for (int64_t effort : {kPlacementWork / 8, kPlacementWork})
      for (bool moves : {false, true})
        if ((!moves || !slid_.empty()) && place_buffers(moves, effort, &best, work)) moving = moves;
    for (size_t i = 0; i < plan_.buffers.size(); i++) plan_.buffers[i].offset = best[i].offset;
    size_t next = plan_.buffers.size();
    for (const Slide& s : slid_) {
      Buffer& over = plan_.buffers[size_t(s.above)];
      const int segment = plan_.buffers[size_t(s.below)].first;
      if (!moving || over.first >= segment) continue;
      Buffer moved = over;
      moved.first = segment;
      moved.offset = best[next++].offset;
      over.last = segment - 1;
      plan_.buffers.push_back(moved);
    }
  }

  // From the offsets of buffers to those of values and of the stages' scratch.
  void assign_offsets() {
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

  // What lies inside of another value is there whole.
  void find_homes() {
    plan_.values.assign(graph_.values.size(), {});
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
      Placement& placed = plan_.values[stage.output];
      placed.kind = Placement::kArena;
      const bool ring = s + 1 < segment.last && last_use(stage.output) == g && !lives_.of(stage.output).shared;
      placed.rows = ring ? std::min(out.shape.height, needs.ring_rows[s - segment.first]) : out.shape.height;
      if (lives_.begins(stage, s))
        add(ring ? Buffer::kRing : Buffer::kValue, lives_.home(stage.output),
            ring ? placed.rows * out.row_bytes() : lives_.room(stage.output).bytes(), g,
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
                      segment_end_cycles(graph_, costs, plan_, segment, s);
    }
  }

  // Rows of a pulled input: a ring where one stage, the first of its segment, takes them in order.
  void find_input_rows() {
    std::vector<int> readers(graph_.values.size(), 0), rows(graph_.values.size(), 0);
    for (int s = 0; s < int(plan_.stages.size()); s++) {
      const Stage& stage = plan_.stages[s];
      const int v = stage.input, g = segment_of_[size_t(s)];
      if (plan_.values[v].kind != Placement::kExternal) continue;
      const bool alone = s == plan_.segments[g].first && !readers[size_t(v)]++;
      rows[size_t(v)] = alone ? source_rows_[size_t(g)] : graph_.values[v].shape.height;
    }
    plan_.input_rows.clear();
    for (const GraphInput& in : graph_.inputs)
      plan_.input_rows.push_back(rows[size_t(in.value)] ? rows[size_t(in.value)]
                                                        : graph_.values[in.value].shape.height);
  }

  // Places the buffers, unless the best placement cannot be beaten. True: into fewer bytes than that, in blocks of the
  // buffers' order. moves: each value slid over is cut in two, since it may lie elsewhere in its last segment; its
  // second block comes after all buffers.
  bool place_buffers(bool moves, int64_t effort, std::vector<Block>* best, Work* work) {
    if (plan_.peak_bytes <= plan_.lower_bound_bytes && plan_.peak_bytes < INT64_MAX) return false;
    std::vector<Block> blocks;
    std::vector<Slide> moved_slides;
    blocks.reserve(plan_.buffers.size() + (moves ? slid_.size() : 0));
    for (const Buffer& b : plan_.buffers) blocks.push_back({b.bytes, b.first, b.last});
    if (moves) moved_slides = slid_;
    for (Slide& s : moved_slides) {
      Block& over = blocks[size_t(s.above)];
      const int segment = blocks[size_t(s.below)].first;
      if (over.first >= segment) continue;
      const Block moved = {over.bytes, segment, over.last};
      over.last = segment - 1;
      s.above = int(blocks.size());
      blocks.push_back(moved);
    }
    const std::vector<Slide>& slides = moves ? moved_slides : slid_;
    plan_.lower_bound_bytes = std::min(plan_.lower_bound_bytes, placement_bound(blocks, slides));
    const int64_t peak = place(&blocks, slides, effort, work);
    if (peak >= plan_.peak_bytes) return false;
    plan_.peak_bytes = peak;
    best->swap(blocks);
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
  std::vector<Slide> slid_;       // of buffers: outputs over inputs
};

}  // namespace

void lay_out(const Graph& graph, const Homes& homes, const Lives& lives, Plan* plan, Work* work) {
  Layout layout(graph, homes, lives, plan);
  layout.find_buffers(work->costs);
  layout.place_together(work);
  layout.assign_offsets();
}

void lay_out_apart(const Graph& graph, const Homes& homes, Plan* plan, const CostModel& costs) {
  const Lives lives(graph, plan->stages, homes);
  Layout layout(graph, homes, lives, plan);
  layout.find_buffers(costs);
  layout.place_apart();
  layout.assign_offsets();
}

}  // namespace mbinfer
