// The checker of plans: the row loop over a shadow arena. It reads and writes where the executor will, by the same
// views, and knows of every panel which row it holds, and which piece of the running pass touched it.
#include <algorithm>

#include "plan/replay.h"
#include "plan/shadow.h"
#include "plan/sharing.h"
#include "plan/views.h"

namespace mbinfer {
namespace {

int64_t least_panel(const Graph& graph) {
  int64_t least = INT64_MAX;
  for (const Value& value : graph.values)
    if (!value.held_by_caller()) least = std::min(least, kPanel * int64_t(size_of(value.type)));
  return least;
}

// Some rows, columns and panels of what a part makes, and the piece that makes them.
struct Piece {
  int index;
  Rows rows, columns, panels;
};

class Checker {
 public:
  Checker(const Graph& graph, const Plan& plan)
      : graph_(graph), plan_(plan), shadow_(plan.peak_bytes, least_panel(graph)), shared_(graph.values.size(), false) {
    for (int v = 0; v < int(plan.values.size()); v++)
      if (plan.values[v].home.value >= 0 && plan.values[v].home.value != v)
        shared_[size_t(plan.values[v].home.value)] = true;
  }

  std::string run() {
    check_nodes();
    for (const State& state : graph_.states) touch_value(state.value, 0, true, "', a state,");
    std::vector<int> produced(plan_.stages.size(), 0);
    for (segment_ = 0; segment_ < int(plan_.segments.size()); segment_++) {
      for (int v = 0; v < int(plan_.values.size()); v++)
        if (plan_.values[v].moved_before == segment_) move(v);
      run_segment(graph_, plan_, plan_.segments[segment_], produced.data(), [&](int stage, int r0, int r1, Rows steps) {
        const Stage& s = plan_.stages[stage];
        const int chunks = chunk_count(graph_, s);
        for_each_step(graph_, s, r0, r1, steps, chunks, [&](const Step& step) { run_step(stage, step); });
      });
    }
    segment_--;
    for (const GraphOutput& out : graph_.outputs) touch_value(out.value, segment_, false, "', read by the caller,");
    keep_states();
    return shadow_.wrong();
  }

 private:
  // Whose rows they are: what a part of a stage makes in a chunk, or a value.
  struct Tag {
    int kind, index, part, chunk;
    int64_t of(int row) const {
      return ((((int64_t(kind) * 8 + part) << 14 | chunk) << 20 | index) << 24) | (row & 0xFFFFFF);
    }
  };

  // Every state is as the run found it, and becomes the next one's while no other has to be read there any more.
  void keep_states() {
    if (plan_.state_order.size() != graph_.states.size()) shadow_.fail("a state is forgotten");
    for (const State& state : graph_.states) touch_value(state.value, segment_, false, "', a state,");
    for (int i : plan_.state_order) {
      const State& state = graph_.states[size_t(i)];
      const Value& value = graph_.values[size_t(state.value)];
      touch_value(state.next, segment_, false, "', what a state becomes,");
      touch_view(value_view(graph_, plan_, state.value, segment_), {0, state.value, 0, 0}, true, kNobody,
                 {0, value.shape.height}, {0, value.shape.width}, {0, value.shape.channels * int(size_of(value.type))},
                 {"'", value.name.c_str(), "', kept,"});
    }
  }

  // Every node runs, or what it makes lies where it is made already.
  void check_nodes() {
    std::vector<bool> runs(graph_.nodes.size(), false);
    for (const Stage& stage : plan_.stages)
      for (const Part& part : stage.parts)
        for (int n : {part.node, part.add})
          if (n >= 0) runs[size_t(n)] = true;
    for (size_t n = 0; n < runs.size(); n++)
      if (!runs[n] && !is_placed(graph_, graph_.nodes[n], [&](int v) { return plan_.values[size_t(v)].home; }))
        shadow_.fail("'" + graph_.nodes[n].name + "' neither runs nor lies where its inputs do");
  }

  void touch_value(int v, int segment, bool writes, const char* by) {
    const Value& value = graph_.values[v];
    touch_value(value_view(graph_, plan_, v, segment), segment, v, writes, kNobody, {0, value.shape.height},
                {0, value.shape.width}, {0, value.shape.channels * int(size_of(value.type))},
                {"a row of '", value.name.c_str(), by});
  }

  // The same of a value. One that shares its memory is told by where in it that is, so that whoever made it may be read
  // as another value.
  void touch_value(const View& view, int segment, int v, bool writes, int piece, Rows rows, Rows columns, Range bytes,
                   const What& what) {
    const int holder = plan_.values[v].home.value;
    if (!shared_[size_t(holder)]) return touch_view(view, {1, v, 0, 0}, writes, piece, rows, columns, bytes, what);
    const int64_t begin = value_view(graph_, plan_, holder, segment).base;
    for (int r = rows.begin; r < rows.end; r++)
      for (int x = columns.begin; x < columns.end; x++) {
        const int64_t at = view.offset(r, x) + bytes.begin;
        shadow_.touch(at, bytes.count(), Tag{1, holder, 0, 0}.of(int(at / shadow_.grain() - begin / shadow_.grain())),
                      writes, piece, what, v);
      }
  }

  void move(int v) {
    touch_value(v, segment_ - 1, false, "', moved,");
    touch_value(v, segment_, true, "', moved,");
  }

  // Rows, columns and bytes [begin, end) of each pixel, of a view.
  void touch_view(const View& view, const Tag& tag, bool writes, int piece, Rows rows, Rows columns, Range bytes,
                  const What& what) {
    const bool together = bytes.count() == view.pixel_stride;  // pixels without a gap
    for (int r = rows.begin; r < rows.end; r++) {
      const int64_t row = tag.of(r);
      if (together) {
        shadow_.touch(view.offset(r, columns.begin) + bytes.begin, columns.count() * view.pixel_stride, row, writes,
                      piece, what);
        continue;
      }
      for (int x = columns.begin; x < columns.end; x++)
        shadow_.touch(view.offset(r, x) + bytes.begin, bytes.count(), row, writes, piece, what);
    }
  }

  void run_step(int stage, const Step& step) {
    const Stage& s = plan_.stages[stage];
    for (int i = 0; i < s.pass_count; i++) {
      const Pass& pass = s.passes[i];
      const int total = extent(graph_, s, pass, step);
      if (!total) continue;
      shadow_.next_pass();
      for (int p = pass.first; p < pass.last; p++) run_part(stage, step, pass, p, total);
    }
  }

  // All pieces of one part of a pass, each of one grain. Where no piece meets another, the order of pieces is all one.
  void run_part(int stage, const Step& step, const Pass& pass, int part, int total) {
    const Stage& s = plan_.stages[stage];
    const Step::Made& made = step.part[part];
    if (made.makes.empty()) return;
    const int width = graph_.values[graph_.nodes[s.parts[part].node].output].shape.width;
    const Range panels = made_panels(graph_, s, part, step.chunk);
    for (int i = 0; i * pass.grain < total; i++) {
      const int begin = i * pass.grain, end = std::min(total, begin + pass.grain);
      if (s.parts[part].ring.patch) return run_patch(stage, pass, part);
      if (pass.axis == Axis::kPanels) {
        run_piece(stage, step, pass, part, {i, made.makes, {0, width}, {panels.begin + begin, panels.begin + end}});
      } else if (pass.axis == Axis::kRows) {
        const Rows rows = {made.makes.begin + begin, made.makes.begin + end};
        run_piece(stage, step, pass, part, {i, rows, {0, width}, panels});
      } else {
        for (int p = begin; p < end;) {  // what it has of each row
          const int row = made.makes.begin + p / width, x = p % width, x1 = std::min(width, x + end - p);
          run_piece(stage, step, pass, part, {i, {row, row + 1}, {x, x1}, panels});
          p += x1 - x;
        }
      }
    }
  }

  // What threads hold for themselves: nobody else writes there, and nothing is read that they did not write.
  void run_patch(int stage, const Pass& pass, int part) {
    const Scratch& ring = plan_.stages[stage].parts[part].ring;
    if (ring.copies < plan_.stages[stage].threads || pass.last != part + 2 || pass.axis != Axis::kPixels)
      shadow_.fail("a patch of '" + stage_name(graph_, plan_.stages[stage]) + "' is shared by threads");
    shadow_.touch(ring.offset, ring.bytes, Tag{2, stage, part, 0}.of(0), true, 0,
                  {"scratch of '", stage_name(graph_, plan_.stages[stage]).c_str(), "'"});
  }

  // Of what a part makes.
  void touch_made(const View& view, int stage, int part, int chunk, bool writes, const Piece& piece, Range bytes) {
    const Stage& s = plan_.stages[stage];
    const What what = name_of(stage, part);
    if (part < s.last())
      touch_view(view, {2, stage, part, chunk}, writes, piece.index, piece.rows, piece.columns, bytes, what);
    else
      touch_value(view, segment_, s.output, writes, piece.index, piece.rows, piece.columns, bytes, what);
  }

  What name_of(int stage, int part) const {
    const Stage& s = plan_.stages[stage];
    if (part < s.last()) return {"scratch of '", stage_name(graph_, s).c_str(), "'"};
    return {"a row of '", graph_.values[s.output].name.c_str(), "'"};
  }

  void run_piece(int stage, const Step& step, const Pass& pass, int part, const Piece& piece) {
    const Stage& s = plan_.stages[stage];
    const Step::Made& made = step.part[part];
    const View out = output_view(graph_, plan_, stage, part, step, segment_);
    const Value& value = graph_.values[graph_.nodes[s.parts[part].node].output];
    const int first = made_panels(graph_, s, part, step.chunk).begin;
    auto bytes_of = [&](const Type& type, int from) {  // of the piece's panels, in a view that begins at panel `from`
      const int panel = kPanel * int(size_of(type));
      return Range{(piece.panels.begin - from) * panel, (piece.panels.end - from) * panel};
    };
    read_inputs(stage, step, pass, part, piece);
    if (!made.starts || !made.ends) {
      const bool own = s.parts[part].sums.bytes > 0;
      const Range bytes = bytes_of(sums_of(value.type), first);
      const View sums = sums_view(graph_, s, part, output_view(graph_, plan_, stage, part, step, segment_));
      auto touch_sums = [&](bool writes) {
        if (!own) return touch_made(sums, stage, part, step.chunk, writes, piece, bytes);
        touch_view(sums, {3, stage, part, 0}, writes, piece.index, piece.rows, piece.columns, bytes,
                   {"sums of '", stage_name(graph_, s).c_str(), "'"});
      };
      if (!made.starts) touch_sums(false);
      if (!made.ends || own) touch_sums(true);
    }
    if (made.ends) touch_made(out, stage, part, step.chunk, true, piece, bytes_of(value.type, first));
    read_inputs(stage, step, pass, part, piece);  // a kernel may write before it has read all
  }

  void read_inputs(int stage, const Step& step, const Pass& pass, int part, const Piece& piece) {
    const Stage& s = plan_.stages[stage];
    const Node& node = graph_.nodes[s.parts[part].node];
    if (gathers(node)) return read_gathered(node, piece);
    const Area area = info_of(node.op).area;
    const bool whole = area == Area::kWhole;
    if (part == 0 ? plan_.values[s.input].kind == Placement::kArena : !s.parts[part - 1].ring.patch) {
      const Value& value = graph_.values[node.inputs[0]];
      const View in = input_view(graph_, plan_, stage, part, step, segment_);
      const Rows rows = whole ? step.part[part].reads : input_rows(graph_, node, piece.rows);
      const auto columns = whole || area == Area::kRow || area == Area::kAll
                               ? std::make_pair(0, value.shape.width)
                               : node.x.input_range(piece.columns.begin, piece.columns.end, value.shape.width);
      const int panel = kPanel * int(size_of(value.type));
      const Range all = read_channels(graph_, s, part, step.chunk);
      Range panels = {0, ceil_div(all.count(), kPanel)};
      int reader = piece.index;
      if (info_of(node.op).keeps_channels) {
        const int first = made_panels(graph_, s, part, step.chunk).begin;
        panels = {piece.panels.begin - first, piece.panels.end - first};
      } else if (pass.axis == Axis::kPanels && piece.index > 0) {
        reader = kSeveral;  // every piece reads all of it
        if (piece.index > 1) return read_added(stage, step, part, piece);
      }
      const Range some = {columns.first, columns.second};
      const Range bytes = {panels.begin * panel, panels.end * panel};
      if (part > 0)
        touch_made(in, stage, part - 1, step.chunk, false, {reader, rows, some, {}}, bytes);
      else
        read_value(in, s.input, all.begin, reader, rows, some, bytes, "', read,");
    }
    read_added(stage, step, part, piece);
  }

  // The pixels that a piece joins, or all of what is stacked.
  void read_gathered(const Node& node, const Piece& piece) {
    for (int v : node.inputs) {
      const Value& value = graph_.values[v];
      const Range bytes = {0, value.shape.channels * int(size_of(value.type))};
      const View view = value_view(graph_, plan_, v, segment_);
      if (stacks(node))
        read_value(view, v, 0, kSeveral, {0, value.shape.height}, {0, value.shape.width}, bytes, "', stacked,");
      else
        read_value(view, v, 0, piece.index, piece.rows, piece.columns, bytes, "', joined,");
    }
  }

  void read_added(int stage, const Step& step, int part, const Piece& piece) {
    const Stage& s = plan_.stages[stage];
    const int added = added_value(s, part);
    if (added < 0 || !step.part[part].ends || plan_.values[added].kind != Placement::kArena) return;
    const Value& value = graph_.values[added];
    const int panel = kPanel * int(size_of(value.type));
    const Area area = info_of(graph_.nodes[s.parts[part].node].op).area;
    const bool all = area == Area::kJoined || area == Area::kRow || value.shape.channels == 1;
    const Range panels = all ? Range{0, value.stride() / kPanel} : piece.panels;
    const bool gate = added == s.gate;
    const bool one = gate || value.shape.width < graph_.values[s.output].shape.width;
    const Rows rows = gate ? Rows{0, 1} : added_rows(graph_, s, piece.rows);
    const Range columns = area == Area::kRow ? Range{0, value.shape.width} : one ? Range{0, 1} : piece.columns;
    read_value(value_view(graph_, plan_, added, segment_), added, 0,
               !gate && value.shape == graph_.values[s.output].shape ? piece.index : kSeveral, rows, columns,
               {panels.begin * panel, panels.end * panel}, "', added,");
  }

  // Bytes of each pixel from channel `first` on, where the view begins, but for those that fill up a panel.
  void read_value(View view, int v, int first, int piece, Rows rows, Rows columns, Range bytes, const char* by) {
    const Value& value = graph_.values[v];
    const int size = int(size_of(value.type));
    view.base -= first * size;
    bytes = {bytes.begin + first * size, std::min(bytes.end + first * size, value.shape.channels * size)};
    touch_value(view, segment_, v, false, piece, rows, columns, bytes, {"a row of '", value.name.c_str(), by});
  }

  const Graph& graph_;
  const Plan& plan_;
  Shadow shadow_;
  std::vector<bool> shared_;  // by value with memory of its own: whether others lie in it
  int segment_ = 0;
};

}  // namespace

std::string check_plan(const Graph& graph, const Plan& plan) { return Checker(graph, plan).run(); }

}  // namespace mbinfer
