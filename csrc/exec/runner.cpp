#include "exec/runner.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "exec/taps.h"
#include "plan/sharing.h"

namespace mbinfer {
namespace {

// Leaves panels [begin, end) of those that the task makes.
void skip_panels(const Graph& graph, Task* task, int begin, int end) {
  const Type &in = graph.values[task->node.inputs[0]].type, &out = graph.values[task->node.output].type;
  const int64_t skipped = int64_t(begin) * kPanel;
  task->panels = {task->panels.begin + begin, task->panels.begin + end};
  task->out.base += skipped * int64_t(size_of(out));
  task->sums.base += skipped * int64_t(size_of(sums_of(out)));
  task->added.base += skipped * int64_t(size_of(out));
  if (info_of(task->node.op).keeps_channels) task->in.base += skipped * int64_t(size_of(in));
}

// A patch that begins `left` columns before the image: which columns it has of it, and what is beside them.
class Patch {
 public:
  Patch(const Value& image, int left, const View& patch, Task* convert) : patch_(patch), convert_(*convert) {
    const int begin = patch.first_column - left, end = begin + patch.width;  // columns of the image
    const int first = std::max(begin, 0), last = std::max(first, std::min(end, image.shape.width));
    before_ = size_t((first - begin) * patch.pixel_stride);
    after_ = size_t((end - last) * patch.pixel_stride);
    zero_ = image.type.zero_point;
    convert_.out = patch;
    convert_.out.base += ptrdiff_t(before_);
    convert_.out.first_column = first;
    convert_.out.width = last - first;
  }

  void hold(Rows rows) const {
    convert_.out.first = patch_.first;
    convert_.makes = rows;
    convert_.end = std::max(0, rows.count()) * convert_.out.width;
    if (convert_.end) make_part(convert_);
    for (int row = rows.begin; row < rows.end && before_ + after_ > 0; row++) {
      char* from = patch_.at(row, patch_.first_column);
      std::memset(from, zero_, before_);
      std::memset(from + patch_.width * patch_.pixel_stride - after_, zero_, after_);
    }
  }

 private:
  const View& patch_;
  Task& convert_;
  size_t before_, after_;  // bytes of a row
  int zero_;
};

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

}  // namespace

void Runner::enter(int segment) {
  segment_ = segment;
  for (const int v : plan_.moved) {
    const Placement& placed = plan_.values[v];
    if (placed.moved_before != segment) continue;
    member_.on_caller([&] {
      std::memmove(run_.arena + placed.moved_offset, run_.arena + placed.offset, size_t(graph_.values[v].bytes()));
    });
  }
}

void Runner::strip(int index, int r0, int r1, Rows steps, StageTime* times) {
  const Stage& stage = plan_.stages[index];
  const double start = times ? now() : 0;
  const bool pulled = run_.puller.pull && plan_.values[stage.input].kind == Placement::kExternal;
  const bool by_step = pulled && pulled_by_step(graph_, stage);
  auto pull = [&](int upto) { member_.on_caller([&] { run_.puller.pull(run_.puller.context, upto); }); };
  if (pulled && !by_step) pull(strip_rows(graph_, stage, r0, r1).end);
  for_each_step(graph_, stage, r0, r1, steps, chunk_count(graph_, stage), [&](const Step& s) {
    if (by_step) pull(s.part[0].reads.end);
    step(index, s);
  });
  if (times) times[index].seconds += now() - start;
}

void Runner::step(int index, const Step& step) {
  const Stage& stage = plan_.stages[index];
  for (int i = 0; i < stage.pass_count; i++) {
    const Pass& pass = stage.passes[i];
    const Pieces pieces = cut(stage, step, pass);
    member_.parallel_for(pieces.count, [&](int piece) {
      const int begin = pieces.edge(piece), end = pieces.edge(piece + 1);
      if (begin < end) make(index, step, pass, begin, end);
    });
  }
}

int Runner::Pieces::edge(int piece) const {
  return std::min(total, int(int64_t(ceil_div(total, grain)) * piece / count) * grain);
}

Runner::Pieces Runner::cut(const Stage& stage, const Step& step, const Pass& pass) const {
  const int total = extent(graph_, stage, pass, step), threads = member_.team();
  if (!total) return {0, pass.grain, 0};
  if (threads == 1) return {total, pass.grain, 1};
  int64_t all = 0;
  for (int p = pass.first; p < pass.last; p++) all += work(stage, step, p);
  return {total, pass.grain, piece_count(ceil_div<int>(total, pass.grain), all, threads)};
}

// Multiply-adds of a part in a step, or what takes as long.
int64_t Runner::work(const Stage& stage, const Step& step, int part) const {
  const Node& node = graph_.nodes[stage.parts[part].node];
  const Shape &in = graph_.values[node.inputs[0]].shape, &out = graph_.values[node.output].shape;
  const int64_t channels = int64_t(made_panels(graph_, stage, part, step.chunk).count()) * kPanel;
  const int64_t made = std::max(0, step.part[part].makes.count()) * out.width * channels;
  const int64_t read = std::max(0, step.part[part].reads.count()) * in.width * channels;
  if (!info_of(node.op).weights) return std::max(made, read) * work_per_element(node);
  const int64_t products = made * (macs(graph_, node) / out.elements());
  if (!node.mixes_channels()) return products;
  return products * read_channels(graph_, stage, part, step.chunk).count() / in.channels;
}

// A piece of every part of a pass.
void Runner::make(int index, const Step& step, const Pass& pass, int begin, int end) {
  if (plan_.stages[index].parts[pass.first].ring.patch) return make_patches(index, step, pass, begin, end);
  for (int p = pass.first; p < pass.last; p++)
    if (!step.part[p].makes.empty()) make_part(task_of(index, step, pass, p, begin, end));
}

// Some pixels of a convolution at a time, and before these what they see of the input; the whole piece where the input
// is of the right type as it is.
void Runner::make_patches(int index, const Step& step, const Pass& pass, int begin, int end) {
  const Stage& stage = plan_.stages[index];
  const Input& input = run_.inputs[plan_.values[stage.input].input];
  Task convert = task_of(index, step, pass, pass.first, 0, 0),
       conv = task_of(index, step, pass, pass.first + 1, begin, end);
  const Value& image = graph_.values[convert.node.output];
  if (!input.recipe && input.type == image.type && image.shape.channels % conv.node.row_inputs() == 0) {
    conv.in = input.view;
    return make_part(conv);
  }
  const int left = conv.x.pad;
  conv.x.pad = 0, conv.in_width += padding_held(conv.node.x);
  // The rest of a row, whole rows, and the beginning of one.
  const int width = conv.out.width, first = conv.makes.begin;
  const int whole = std::min(end, round_up(begin, width)), rest = std::max(whole, end / width * width);
  auto block = [&](int from, int to) {
    if (from == to) return;
    const int x = from % width, row = first + from / width;
    make_patches(stage, pass.first, {row, first + ceil_div(to, width)}, {x, std::min(width, x + to - from)}, left,
                 &convert, &conv);
  };
  block(begin, whole), block(whole, rest), block(rest, end);
}

// Some columns of all rows before the next ones, so that a row of the image is converted once for all rows that see it.
void Runner::make_patches(const Stage& stage, int part, Rows rows, Range columns, int left, Task* convert, Task* conv) {
  const int width = conv->out.width, first = conv->makes.begin, together = patch_rows(graph_, conv->node);
  const int pixels = patch_pixels(graph_, stage);
  for (int x = columns.begin; x < columns.end; x += pixels) {
    const int end = std::min(columns.end, x + pixels);
    const auto seen = conv->x.input_range(x, end, conv->in_width);
    conv->in = patch_view(graph_, stage, part, {seen.first, seen.second}, member_.thread());
    conv->in.memory = run_.arena;
    const Patch patch(graph_.values[convert->node.output], left, conv->in, convert);
    Convolution convolution(*conv);
    Rows held = {0, 0};  // by the patch, where rows are taken one by one
    for (int row = rows.begin; row < rows.end; row += together) {
      const int next = std::min(rows.end, row + together);
      conv->begin = (row - first) * width + x;
      conv->end = (next - 1 - first) * width + end;
      const Rows read = input_rows(graph_, conv->node, {row, next});
      if (together > 1) conv->in.first = read.begin;
      patch.hold({std::max(read.begin, held.end), read.end});
      if (together > 1) {
        make_part(*conv);
        continue;
      }
      held = read;
      convolution.make({row, next}, x, end);
      look_up_made(*conv);
    }
  }
}

// Weights come from far in the first step of a stage; in those that follow they wait in the second-level cache, where
// those of all parts take at most half of it.
int64_t Runner::ahead_from(const Stage& stage, Rows makes) const {
  int64_t weights = 0;
  for (int p = 0; makes.begin > 0 && p < stage.part_count(); p++)
    weights += graph_.nodes[stage.parts[p].node].weight_bytes;
  return makes.begin > 0 && weights <= run_.machine.second_cache / 2 ? INT64_MAX : run_.machine.first_cache;
}

// What part `part` has to do for units [begin, end) along the axis of its pass.
Task Runner::task_of(int index, const Step& step, const Pass& pass, int part, int begin, int end) const {
  const Stage& stage = plan_.stages[index];
  const Part& p = stage.parts[part];
  const Step::Made& made = step.part[part];
  const Node& node = graph_.nodes[p.node];
  const Shape& read = graph_.values[node.inputs[0]].shape;
  Task task = {graph_, run_.kernels, node,        p.add >= 0 ? &graph_.nodes[p.add] : nullptr,
               node.y, node.x,       read.height, read.width};
  task.plan = &plan_;
  task.segment = segment_;
  task.ahead_from = ahead_from(stage, made.makes);
  task.makes = made.makes;
  task.reads = made.reads;
  task.starts = made.starts;
  task.ends = made.ends;
  task.panels = made_panels(graph_, stage, part, step.chunk);
  task.channels = read_channels(graph_, stage, part, step.chunk);
  task.out = output_view(graph_, plan_, index, part, step, segment_);
  task.sums = sums_view(graph_, stage, part, task.out);
  task.in = input_view(graph_, plan_, index, part, step, segment_);
  task.in_type = graph_.values[node.inputs[0]].type;
  task.in.memory = task.out.memory = task.sums.memory = run_.arena;
  if (part == 0 && plan_.values[stage.input].kind == Placement::kExternal) {
    const Input& input = run_.inputs[plan_.values[stage.input].input];
    task.in = input.view;
    task.in_type = input.type;
    task.recipe = input.recipe;
  }
  if (added_value(stage, part) >= 0) {
    task.added = added_view(graph_, plan_, index, part, step, segment_);
    task.added.memory = run_.arena;
  }
  const int width = task.out.width;
  task.begin = pass.axis == Axis::kPixels ? begin : pass.axis == Axis::kRows ? begin * width : 0;
  task.end = pass.axis == Axis::kPixels ? end : pass.axis == Axis::kRows ? end * width : made.makes.count() * width;
  if (pass.axis == Axis::kPanels) skip_panels(graph_, &task, begin, end);
  return task;
}

}  // namespace mbinfer
