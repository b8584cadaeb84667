// The checker of plans and the planner's own appetite.
//
//   plan_check make              Every schedule keeps to its limits, and planning to its work. Planning MobileNetV2
//                                takes under 1 MiB; how much, and how long, is printed.
//   plan_check break [FILE...]   Plans of MobileNetV2, of other networks and of model files, at several limits and
//                                numbers of threads, pass check_plan; broken in one place each, they do not.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <new>
#include <string>
#include <vector>

#include "model/reader.h"
#include "plan/plan.h"
#include "plan/replay.h"
#include "plan/rows.h"
#include "plan/stages.h"

using namespace mbinfer;

// Every block knows its size, so that the bytes in use are known at all times.
namespace {
size_t in_use = 0, most_in_use = 0;
constexpr size_t kHeader = alignof(std::max_align_t);
}  // namespace

__attribute__((noinline)) void* operator new(size_t bytes) {
  char* block = static_cast<char*>(std::malloc(bytes + kHeader));
  if (!block) throw std::bad_alloc();
  *reinterpret_cast<size_t*>(block) = bytes;
  in_use += bytes;
  if (in_use > most_in_use) most_in_use = in_use;
  return block + kHeader;
}
void* operator new(size_t bytes, const std::nothrow_t&) noexcept {  // or a sanitizer's would meet our delete
  try {
    return operator new(bytes);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
__attribute__((noinline)) void operator delete(void* p) noexcept {
  if (!p) return;
  char* block = static_cast<char*>(p) - kHeader;
  in_use -= *reinterpret_cast<size_t*>(block);
  std::free(block);
}
__attribute__((noinline)) void operator delete(void* p, size_t) noexcept { operator delete(p); }

namespace {

int failed = 0;

// --- networks made in code; planning needs no weights
// -----------------------------------------------------------------

struct Builder {
  Graph graph;

  explicit Builder(Shape input) {
    graph.values.push_back({"input", input, {}, -1, false, false, {}});
    graph.inputs.push_back({0, {}});
    graph.inputs[0].recipe.present = true;
  }
  int add_node(Op op, std::vector<int> inputs, int channels, int kernel, int stride) {
    const Shape in = graph.values[inputs[0]].shape;
    Node n;
    n.name = graph.keep(op_name(op) + std::to_string(graph.nodes.size()));
    n.op = op;
    n.inputs = inputs;
    n.output = int(graph.values.size());
    n.y.kernel = n.x.kernel = op == Op::kGlobalAvgPool ? 1 : kernel;
    n.y.stride = n.x.stride = stride;
    n.y.pad = n.y.pad_end = n.x.pad = n.x.pad_end = kernel / 2;
    for (size_t i = 0; i < inputs.size(); i++) {
      Indices& readers = graph.values[inputs[i]].consumers;
      if (readers.empty() || readers.back() != int(graph.nodes.size())) readers.push_back(int(graph.nodes.size()));
    }
    Shape out = {n.y.output_size(in.height), n.x.output_size(in.width), channels};
    if (op == Op::kGlobalAvgPool) out.height = out.width = 1;
    graph.values.push_back({n.name, out, {}, int(graph.nodes.size()), false, false, {}});
    graph.nodes.push_back(n);
    return n.output;
  }
  int channels(int v) const { return graph.values[v].shape.channels; }
  int conv(int v, int out, int kernel = 1, int stride = 1) { return add_node(Op::kConv, {v}, out, kernel, stride); }
  int inverted_residual(int v, int expansion, int out, int kernel, int stride) {
    int x = expansion > 1 ? conv(v, channels(v) * expansion) : v;
    x = conv(add_node(Op::kDepthwise, {x}, channels(x), kernel, stride), out);
    return stride == 1 && out == channels(v) ? add_node(Op::kAdd, {v, x}, out, 1, 1) : x;
  }
  int slice(int v, int first, int channels) {
    const int made = add_node(Op::kSlice, {v}, channels, 1, 1);
    graph.nodes.back().first_channel = first;
    return made;
  }
  int spread(int v, int pixels) {  // of each pixel so many
    const int made = add_node(Op::kDepthToSpace, {v}, channels(v) / pixels, 1, 1);
    Node& node = graph.nodes.back();
    node.y.numerator = node.y.denominator = node.x.numerator = 1;
    node.x.denominator = pixels;
    graph.values[made].shape.width *= pixels;
    return made;
  }
  int stack(std::vector<int> inputs) {
    int pixels = 0;
    for (int v : inputs) pixels += int(graph.values[v].shape.pixels());
    const int made = add_node(Op::kStack, inputs, channels(inputs[0]), 1, 1);
    graph.values[made].shape.height = pixels;
    graph.values[made].shape.width = 1;
    return made;
  }
  void output(int v) {
    graph.values[v].is_output = true;
    const Shape& s = graph.values[v].shape;
    graph.outputs.push_back({v, "output", {1, s.height, s.width, s.channels}});
  }
  Graph finish() {
    prepare(&graph);
    return std::move(graph);
  }
  Graph finish(int v) {
    output(v);
    return finish();
  }
};

Graph mobilenet_v2(int resolution) {
  Builder net({resolution, resolution, 3});
  int v = net.conv(0, 32, 3, 2);
  const int blocks[][4] = {{1, 16, 1, 1}, {6, 24, 2, 2},  {6, 32, 3, 2}, {6, 64, 4, 2},
                           {6, 96, 3, 1}, {6, 160, 3, 2}, {6, 320, 1, 1}};
  for (const auto& b : blocks)
    for (int i = 0; i < b[2]; i++) v = net.inverted_residual(v, b[0], b[1], 3, i ? 1 : b[3]);
  v = net.add_node(Op::kGlobalAvgPool, {net.conv(v, 1280)}, 1280, 1, 1);
  return net.finish(net.conv(v, 1000));
}

// A value that waits, whole, while others are made, and blocks of other kernels and strides.
Graph branching() {
  Builder net({50, 46, 3});
  const int stem = net.conv(0, 16, 3, 2);
  int v = net.inverted_residual(stem, 4, 16, 5, 1);
  v = net.inverted_residual(net.inverted_residual(v, 3, 16, 3, 1), 6, 16, 7, 1);
  v = net.add_node(Op::kAdd, {stem, v}, 16, 1, 1);
  v = net.inverted_residual(net.inverted_residual(v, 6, 24, 5, 2), 6, 24, 3, 1);
  v = net.add_node(Op::kMaxPool, {v}, 24, 3, 2);
  return net.finish(net.conv(v, 40, 3, 1));
}

// A dense block, whose every concatenation begins as the one before it, and units that split their channels.
Graph concatenating() {
  Builder net({40, 36, 3});
  int v = net.conv(0, 16, 3, 2);
  std::vector<int> all = {v};
  for (int i = 0; i < 3; i++) {
    all.push_back(net.conv(net.conv(v, 24), 8, 3));
    v = net.add_node(Op::kConcat, all, 16 + 8 * (i + 1), 1, 1);
  }
  v = net.add_node(Op::kMaxPool, {net.conv(v, 32)}, 32, 3, 2);
  for (int i = 0; i < 2; i++) {
    const int left = net.slice(v, 0, 16), right = net.inverted_residual(net.slice(v, 16, 16), 3, 24, 3, 1);
    v = net.add_node(Op::kConcat, {net.conv(left, 8), right}, 32, 1, 1);
  }
  return net.finish(net.conv(v, 40, 3, 1));
}

// Heads of pictures of two sizes in one row of pixels, one of them as blocks, some of which are read again.
Graph stacking() {
  Builder net({40, 36, 3});
  const int a = net.inverted_residual(net.conv(0, 16, 3, 2), 3, 16, 3, 1);
  const int b = net.inverted_residual(a, 3, 24, 3, 2);
  const int wide = net.spread(net.conv(a, 48), 3), flat = net.conv(b, 16, 3, 1);
  const int boxes = net.stack({wide, flat});
  net.output(net.stack({net.spread(net.conv(a, 4), 2), net.conv(b, 2)}));
  net.output(net.stack({net.conv(boxes, 16), flat}));
  return net.finish(net.add_node(Op::kConcat, {net.slice(boxes, 0, 8), net.conv(boxes, 8)}, 16, 1, 1));
}

// Gated blocks, which are run twice where memory is short.
Graph gated() {
  Builder net({44, 40, 3});
  int v = net.conv(0, 8, 3, 2);
  for (int stride : {1, 2, 1}) {
    const int wide = net.add_node(Op::kDepthwise, {net.conv(v, 48)}, 48, 3, stride);
    const int gate = net.conv(net.add_node(Op::kGlobalAvgPool, {wide}, 48, 1, 1), 48);
    const int made = net.conv(net.add_node(Op::kMul, {wide, gate}, 48, 1, 1), 8);
    v = stride == 1 ? net.add_node(Op::kAdd, {v, made}, 8, 1, 1) : made;
  }
  return net.finish(net.conv(v, 16));
}

// The same network of int8 values, whose sums are larger than they are.
Graph quantised(Graph graph) {
  for (Value& value : graph.values)
    if (value.producer >= 0) value.type = {DType::kUint8, 0.5f, 3};
  return graph;
}

// --- breaking a plan
// --------------------------------------------------------------------------------------------------

class Breaker {
 public:
  Breaker(const Graph& graph, const Plan& plan, const std::string& name) : graph_(graph), plan_(plan), name_(name) {}

  void run() {
    const std::string wrong = check_plan(graph_, plan_);
    if (!wrong.empty()) report("is refused: " + wrong);
    rings();
    expanded();
    sums();
    passes();
    homes();
    for (int g = 0; g < int(plan_.segments.size()); g++) {
      slide(g);
      lifetimes(g);
      scratch(g);
      moves(g);
    }
  }

  static std::map<std::string, int> caught;  // by kind

 private:
  void report(const std::string& what) {
    failed++;
    if (failed <= 20) std::printf("FAILED %s %s\n", name_.c_str(), what.c_str());
  }

  // `words`: of the complaint.
  void must_catch(const char* kind, const std::string& what, const std::function<void(Plan*)>& change,
                  const char* words = "") {
    Plan broken = plan_;
    change(&broken);
    const std::string wrong = check_plan(graph_, broken);
    if (wrong.empty())
      report(std::string(kind) + ": " + what + " goes unseen");
    else if (wrong.find(words) == std::string::npos)
      report(std::string(kind) + ": of " + what + " is said: " + wrong);
    else
      caught[kind]++;
  }

  const Value& value(int v) const { return graph_.values[v]; }
  const Stage& last_stage(int g) const { return plan_.stages[plan_.segments[g].last - 1]; }
  const Value& room(int v) const { return value(plan_.values[v].home.value); }  // that it has with others
  template <class Some>
  static auto& place_of(Some* plan, int v) {
    return plan->values[plan->values[v].home.value];
  }
  bool in_arena(int v) const { return v >= 0 && plan_.values[v].kind == Placement::kArena; }
  bool is_ring(int v) const { return in_arena(v) && plan_.values[v].rows < value(v).shape.height; }
  bool pools_all(const Stage& stage) const {
    for (int p = 0; p < stage.part_count(); p++)
      if (info_of(graph_.nodes[stage.parts[p].node].op).area == Area::kWhole) return true;
    return false;
  }
  bool in_strips(int g) const { return last_stage(g).rows < value(last_stage(g).output).shape.height; }

  void rings() {
    for (int v = 0; v < int(plan_.values.size()); v++)
      if (is_ring(v) && plan_.values[v].rows > 1)
        must_catch("ring one row short", value(v).name, [&](Plan* p) { p->values[v].rows--; });
  }

  // What lies inside of another value, one panel beside its place.
  void homes() {
    for (int v = 0; v < int(plan_.values.size()); v++)
      if (plan_.values[v].kind == Placement::kArena && plan_.values[v].home.value != v)
        for (int panels : {-1, 1})
          must_catch("beside its place", value(v).name, [&](Plan* p) { p->values[v].home.first += panels * kPanel; });
  }

  void expanded() {
    for (int s = 0; s < int(plan_.stages.size()); s++) {
      const Stage& stage = plan_.stages[s];
      if (!stage.expands() || stage.kept().rows < 2) continue;
      int most = 0;  // a ring as high as the map may have rows that no window needs
      const int height = value(stage.output).shape.height;
      for (int r0 = 0; r0 < height; r0 += stage.rows)
        for_each_step(graph_, stage, r0, std::min(height, r0 + stage.rows), 1,
                      [&](const Step& step) { most = std::max(most, step.part[stage.split].reads.count()); });
      if (most < stage.kept().rows) continue;
      must_catch(stage.keep ? "kept ring one row short" : "expanded ring one row short", stage_name(graph_, stage),
                 [&](Plan* p) {
                   Scratch& broken = p->stages[s].kept();
                   broken.bytes -= broken.bytes / broken.rows;
                   broken.rows--;
                 });
    }
  }

  // Sums that go on where rows are held that are read meanwhile.
  void sums() {
    for (int s = 0; s < int(plan_.stages.size()); s++) {
      const Stage& stage = plan_.stages[s];
      for (int part = 0; part < stage.part_count(); part++) {
        const Scratch& of = stage.parts[part].sums;
        if (!of.bytes || !stage.bottleneck()) continue;
        const Scratch& ring = part == stage.split ? stage.kept() : stage.parts[stage.split].ring;
        if (part == stage.split && !stage.expands()) continue;
        must_catch("sums over scratch", stage_name(graph_, stage),
                   [&](Plan* p) { p->stages[s].parts[part].sums.offset = ring.offset; });
      }
    }
  }

  // Parts that must wait for one another in one pass, and work that is left out.
  void passes() {
    for (int s = 0; s < int(plan_.stages.size()); s++) {
      const Stage& stage = plan_.stages[s];
      auto set = [&](const char* kind, const std::vector<Pass>& passes, const char* words) {
        must_catch(
            kind, stage_name(graph_, stage),
            [&](Plan* p) {
              p->stages[s].pass_count = int(passes.size());
              std::copy(passes.begin(), passes.end(), p->stages[s].passes);
            },
            words);
      };
      std::vector<Pass> all(stage.passes, stage.passes + stage.pass_count);
      all.pop_back();
      set("a part in no pass", all, "never made");
      if (stage.parts[0].ring.patch && stage.threads > 1)
        must_catch("one patch for all threads", stage_name(graph_, stage),
                   [&](Plan* p) { p->stages[s].parts[0].ring.copies = 1; });
      // Who filters a row reads those next to it, which other threads expand.
      const int split = stage.split, first = split - 1;
      if (!stage.expands() || stage.parts[0].ring.patch || std::min(stage.step, stage.rows) < 2) continue;
      if (graph_.nodes[stage.parts[split].node].y.kernel < 3) continue;
      std::vector<Pass> racy = {{first, split + 1, Axis::kRows, 1}};
      if (split < stage.last()) racy.push_back({split + 1, split + 2, Axis::kRows, 1});
      set("racy pass", racy, "two pieces of a pass");
    }
  }

  // The distance from a segment's output up to its input v that leaves every row alone which the next step reads, or
  // INT64_MIN: all is read before the output is written.
  int64_t needed_distance(int g, int v) const {
    int64_t distance = INT64_MIN;
    const Stage& last = last_stage(g);
    // All is read before the output is written: by a pool, and by what sums up elsewhere until the last chunk.
    if (pools_all(last) || last.parts[last.last()].sums.bytes) return distance;
    const std::vector<TracedStep> steps = trace_segment(graph_, plan_, g);
    for (size_t i = 0; i + 1 < steps.size(); i++) {
      if (steps[i].stage != plan_.segments[g].last - 1) continue;
      for (const TracedStep::Live& live : steps[i + 1].live)
        if (live.value == v)
          distance = std::max(
              distance, steps[i].r1 * value(last_stage(g).output).row_bytes() - live.begin * value(v).row_bytes());
    }
    return distance;
  }

  // Input and output of a segment in fresh memory above the arena: as near as the planner says that they may be, and so
  // near that a row is overwritten which the next step reads.
  void slide(int g) {
    const Stage& first = plan_.stages[plan_.segments[g].first];
    const int in = first.input, out = last_stage(g).output;
    if (!in_arena(in) || value(in).is_output || plan_.values[in].home.value != in ||
        plan_.values[out].home.value != out)
      return;
    for (const Buffer& b : plan_.buffers)
      if (b.kind == Buffer::kValue && b.index == in && b.last > g) return;  // it has other readers
    auto place = [&](Plan* p, int64_t distance) {
      Placement &below = p->values[out], &above = p->values[in];
      above.moved_before = below.moved_before = INT_MAX;
      below.offset = plan_.peak_bytes + std::max<int64_t>(0, -distance);
      above.offset = below.offset + distance;
      p->peak_bytes = std::max(below.offset + value(out).bytes(), above.offset + value(in).bytes());
    };
    Plan near = plan_;
    const Homes homes = homes_of(plan_);
    const Lives lives(graph_, plan_.stages, homes);
    std::vector<int> made(plan_.stages.size());
    place(&near, measure_segment(graph_, lives, plan_, plan_.segments[g], &made).slide);
    const std::string wrong = check_plan(graph_, near);
    if (!wrong.empty()) report("slide: the least distance is refused: " + wrong);
    const int64_t needed = needed_distance(g, in);
    if (needed != INT64_MIN)
      must_catch("slide one row too far", value(out).name, [&](Plan* p) { place(p, needed - value(in).row_bytes()); });
  }

  // What is made in a segment over what waits there, and its rings over its own output.
  void lifetimes(int g) {
    const int out = last_stage(g).output;
    for (int s = plan_.segments[g].first; s < plan_.segments[g].last; s++) {
      const int made = plan_.stages[s].output;
      for (const Buffer& b : plan_.buffers) {
        if (b.kind != Buffer::kValue || b.first >= g || b.last <= g) continue;
        if (b.index == plan_.values[made].home.value) continue;
        must_catch("lifetimes overlap", value(made).name + " over " + value(b.index).name,
                   [&](Plan* p) { place_of(p, made).offset = plan_.values[b.index].at(g); });
      }
      if (made == out || !is_ring(made) || !in_strips(g)) continue;
      must_catch("lifetimes overlap", "ring " + value(made).name + " over " + value(out).name,
                 [&](Plan* p) { place_of(p, made).offset = place_of(&plan_, out).offset; });
    }
    must_catch("outside the arena", value(out).name,
               [&](Plan* p) { place_of(p, out).offset = plan_.peak_bytes - room(out).bytes() + kArenaAlign; });
  }

  // Scratch over the rows of the output that are made already, and over a ring that is added after it was written.
  void scratch(int g) {
    const int out = last_stage(g).output;
    std::vector<bool> goes_on(plan_.stages.size(), false);  // once output rows are made
    int made = 0;
    for (const TracedStep& step : trace_segment(graph_, plan_, g)) {
      if (made) goes_on[step.stage] = true;
      if (step.stage == plan_.segments[g].last - 1 && step.r1 > made && in_strips(g)) made = step.r1;
    }
    for (int s = plan_.segments[g].first; s < plan_.segments[g].last; s++) {
      const Stage& stage = plan_.stages[s];
      for (int part = 0; part < stage.part_count(); part++) {
        const Scratch& ring = stage.parts[part].ring;
        if (!ring.bytes || ring.patch || (stage.keep && &ring == &stage.kept())) continue;
        if (goes_on[s])
          must_catch("scratch over the output", stage_name(graph_, stage),
                     [&](Plan* p) { p->stages[s].parts[part].ring.offset = place_of(&plan_, out).offset; });
        if (stage.residual < 0 || !is_ring(stage.residual)) continue;
        must_catch("scratch over a ring", stage_name(graph_, stage),
                   [&](Plan* p) { p->stages[s].parts[part].ring.offset = place_of(&plan_, stage.residual).offset; });
      }
    }
  }

  void moves(int g) {
    const int out = last_stage(g).output;
    for (int v = 0; v < int(plan_.values.size()); v++) {
      const Placement& placed = plan_.values[v];
      if (!in_arena(v) || placed.moved_before != g) continue;
      must_catch("wrong move", value(v).name + " outside",
                 [&](Plan* p) { p->values[v].moved_offset = plan_.peak_bytes - value(v).bytes() + kArenaAlign; });
      const int64_t from = placed.offset, to = place_of(&plan_, out).offset;
      if (from - to < needed_distance(g, v) && from < to + room(out).bytes() && to < from + value(v).bytes())
        must_catch("move left out", value(v).name, [&](Plan* p) { p->values[v].moved_before = INT_MAX; });
    }
  }

  const Graph& graph_;
  const Plan plan_;
  const std::string name_;
};

std::map<std::string, int> Breaker::caught;

void check(const Graph& graph, const std::string& name) {
  PlanOptions options;
  for (Schedule schedule : {Schedule::kNaive, Schedule::kLayerwise, Schedule::kFused}) {
    options.schedule = schedule;
    Breaker(graph, make_plan(graph, options), name + " " + schedule_name(schedule)).run();
  }
  options.schedule = Schedule::kStreamed;
  for (int threads : {1, 3}) {
    options.threads = threads;
    options.least = true;
    options.memory_limit = -1;
    const Plan least = make_plan(graph, options);
    options.least = false;
    const Plan fastest = make_plan(graph, options);
    Breaker(graph, least, name + " least, threads " + std::to_string(threads)).run();
    Breaker(graph, fastest, name + " fastest, threads " + std::to_string(threads)).run();
    for (double share : {0.1, 0.25, 0.5}) {
      options.memory_limit =
          least.peak_bytes + int64_t(share * double(std::max<int64_t>(0, fastest.peak_bytes - least.peak_bytes)));
      const std::string which =
          " of " + std::to_string(options.memory_limit) + " bytes, threads " + std::to_string(threads);
      Breaker(graph, make_plan(graph, options), name + which).run();
    }
  }
}

// --- limits
// -----------------------------------------------------------------------------------------------------------------

// The plan, or, where the limit is refused, none and what the error says is needed.
Plan plan_within(const Graph& graph, PlanOptions options, int64_t limit, int64_t* needed) {
  options.memory_limit = limit;
  try {
    return make_plan(graph, options);
  } catch (const Error& error) {
    *needed = int64_t(error.needed);
    if (error.kind != ErrorKind::kMemoryLimit ||
        std::string(error.what()).find(schedule_name(options.schedule)) == std::string::npos)
      throw;
    return {};
  }
}

// Of every schedule, every plan's own peak is accepted as a limit, no plan takes less than the least, which one byte
// less refuses, naming it and the schedule; and the automatic schedule's least is no more than any plan's peak.
void limits_hold(const Graph& graph, const std::string& name) {
  auto expect = [&](bool holds, const PlanOptions& options, const char* what, int64_t bytes) {
    if (holds) return;
    failed++;
    std::printf("FAILED %s, %s, threads %d: %s %lld\n", name.c_str(), schedule_name(options.schedule), options.threads,
                what, static_cast<long long>(bytes));
  };
  for (int threads : {1, 3}) {
    int64_t least_of_all = 0;
    for (Schedule schedule :
         {Schedule::kAuto, Schedule::kStreamed, Schedule::kFused, Schedule::kLayerwise, Schedule::kNaive}) {
      PlanOptions options;
      options.schedule = schedule;
      options.threads = threads;
      options.least = true;
      const int64_t least = make_plan(graph, options).peak_bytes;
      options.least = false;
      if (schedule == Schedule::kAuto) least_of_all = least;
      expect(least >= least_of_all, options, "takes less than the least plan:", least);
      const int64_t fastest = make_plan(graph, options).peak_bytes;
      int64_t needed = 0;
      expect(plan_within(graph, options, least - 1, &needed).segments.empty() && needed == least, options,
             "a byte less than the least is not refused, but needs", needed);
      for (double share : {0.0, 0.02, 0.1, 0.4, 1.0}) {
        const int64_t limit = least + int64_t(share * double(fastest - least));
        const int64_t peak = plan_within(graph, options, limit, &needed).peak_bytes;
        expect(least <= peak && peak <= limit, options, "beyond its limit, or less than the least:", peak);
        expect(!plan_within(graph, options, peak, &needed).segments.empty(), options, "its own peak is refused:", peak);
      }
    }
  }
}

// A network drawn from a seed: blocks, pools and additions of values made before.
Graph drawn(uint64_t seed) {
  auto draw = [&](int n) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return int((seed >> 33) % uint64_t(n));
  };
  Builder net({9 + draw(40), 9 + draw(40), 3});
  int v = net.conv(0, 8 << draw(2), 3, 2);
  for (int i = 0; i < 4 + draw(5); i++) {
    const Shape shape = net.graph.values[v].shape;
    const int expansion = 1 + draw(6), out = draw(2) ? shape.channels : 8 << draw(4);
    if (draw(4) == 0 && shape.height > 2 && shape.width > 2) {  // a block beside a pool, both of stride 2
      const int left = net.inverted_residual(v, expansion, shape.channels, 3, 2);
      v = net.add_node(Op::kAdd, {left, net.add_node(Op::kMaxPool, {v}, shape.channels, 3, 2)}, shape.channels, 1, 1);
      continue;
    }
    const int before = v;
    v = net.inverted_residual(v, expansion, out, 1 + 2 * draw(3), 1 + draw(5) / 4);
    if (net.graph.values[v].shape == net.graph.values[before].shape && draw(2))
      v = net.add_node(Op::kAdd, {before, v}, out, 1, 1);
  }
  return net.finish(draw(2) ? v : net.add_node(Op::kGlobalAvgPool, {v}, net.channels(v), 1, 1));
}

// --- networks that are long, wide or high
// -----------------------------------------------------------------------------------------------------------------

// Heads of convolutions side by side, each an output.
Graph heads(int count, int depth, int size) {
  Builder net({size, size, 8});
  const int trunk = net.conv(0, 8);
  for (int i = 0; i < count; i++) {
    int v = trunk;
    for (int d = 0; d < depth; d++) v = net.conv(v, 16, 3);
    net.output(v);
  }
  return net.finish();
}

// The trunk of MobileNetV2 with two separable heads on each of six maps, as SSDLite has them.
Graph detector(int resolution) {
  Builder net({resolution, resolution, 3});
  int v = net.conv(0, 32, 3, 2);
  std::vector<int> maps;
  const int blocks[][4] = {{1, 16, 1, 1}, {6, 24, 2, 2},  {6, 32, 3, 2}, {6, 64, 4, 2},
                           {6, 96, 3, 1}, {6, 160, 3, 2}, {6, 320, 1, 1}};
  for (const auto& b : blocks) {
    if (b[1] == 160) maps.push_back(v);
    for (int i = 0; i < b[2]; i++) v = net.inverted_residual(v, b[0], b[1], 3, i ? 1 : b[3]);
  }
  maps.push_back(v = net.conv(v, 1280));
  for (int channels : {512, 256, 256, 128}) {
    v = net.conv(v, channels / 2);
    maps.push_back(v = net.conv(net.add_node(Op::kDepthwise, {v}, channels / 2, 3, 2), channels));
  }
  for (int map : maps)
    for (int channels : {24, 546})
      net.output(net.conv(net.add_node(Op::kDepthwise, {map}, net.channels(map), 3, 1), channels));
  return net.finish();
}

Graph chain(int count, Shape shape) {
  Builder net(shape);
  int v = net.conv(0, shape.channels);
  for (int i = 0; i < count; i++) v = net.add_node(Op::kDepthwise, {v}, shape.channels, 3, 1);
  return net.finish(v);
}

Graph high(int count) {
  Builder net({1 << 16, 1, 8});
  int v = net.conv(0, 8);
  for (int i = 0; i < count; i++) v = net.inverted_residual(v, 2, 8, 3, 1);
  return net.finish(v);
}

// Every value is read by the four after it.
Graph dense(int count) {
  Builder net({16, 16, 8});
  std::vector<int> made = {net.conv(0, 8)};
  for (int i = 0; i < count; i++) {
    int v = net.conv(made.back(), 8);
    for (size_t k = made.size() < 4 ? 0 : made.size() - 4; k < made.size(); k++)
      v = net.add_node(Op::kAdd, {v, made[k]}, 8, 1, 1);
    made.push_back(v);
  }
  return net.finish(made.back());
}

// Planning takes at most so many million steps, which stands for about a hundredth of a second each, whatever the
// schedule; where it looked at less than it could have, it says so.
void work_is_bounded(const Graph& graph, const std::string& name, int millions, bool shortcuts) {
  for (Schedule schedule :
       {Schedule::kNaive, Schedule::kLayerwise, Schedule::kFused, Schedule::kStreamed, Schedule::kAuto})
    for (bool least : {false, true}) {
      PlanOptions options;
      options.schedule = schedule;
      options.least = least;
      const Plan plan = make_plan(graph, options);
      if (plan.work > int64_t(millions) * 1000000 || (plan.shortcuts && !shortcuts)) {
        failed++;
        std::printf("FAILED %s, %s: %lld steps of planning, shortcuts %u\n", name.c_str(), schedule_name(schedule),
                    static_cast<long long>(plan.work), plan.shortcuts);
      }
      if (schedule == Schedule::kStreamed && least && shortcuts && !plan.shortcuts) {
        failed++;
        std::printf("FAILED %s: planned to the end, which it cannot be\n", name.c_str());
      }
    }
}

// Bytes and milliseconds of planning.
void appetite(const Graph& graph, const char* name, const PlanOptions& options) {
  const size_t before = in_use;
  most_in_use = in_use;
  const auto start = std::chrono::steady_clock::now();
  const Plan plan = make_plan(graph, options);
  const double ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  const size_t bytes = most_in_use - before;
  std::printf("%s: arena %lld bytes, planned in %.1f ms and %zu bytes\n", name, static_cast<long long>(plan.peak_bytes),
              ms, bytes);
  if (bytes >= 1u << 20) {
    failed++;
    std::printf("FAILED planning takes 1 MiB or more\n");
  }
}

void make_plans() {
  const Graph net = mobilenet_v2(224);
  PlanOptions options;
  appetite(net, "MobileNetV2, fastest", options);
  for (int64_t limit : {1000 << 10, 500 << 10, 300 << 10, 200 << 10}) {
    options.memory_limit = limit;
    appetite(net, ("MobileNetV2, " + std::to_string(limit >> 10) + " KiB").c_str(), options);
  }
  options.memory_limit = -1;
  options.least = true;
  appetite(net, "MobileNetV2, least", options);

  work_is_bounded(net, "MobileNetV2", 3, false);
  work_is_bounded(detector(320), "SSDLite", 15, true);
  work_is_bounded(heads(16, 6, 32), "16 heads of 6 convolutions", 15, true);
  work_is_bounded(heads(400, 1, 8), "400 heads", 40, true);
  work_is_bounded(chain(1000, {8, 8, 8}), "a chain of 1000", 20, true);
  work_is_bounded(high(20), "maps of 65536 rows", 20, true);
  work_is_bounded(dense(100), "dense additions", 20, true);

  for (int resolution : {33, 224}) limits_hold(mobilenet_v2(resolution), "MobileNetV2@" + std::to_string(resolution));
  limits_hold(branching(), "branching");
  limits_hold(concatenating(), "concatenating");
  limits_hold(stacking(), "stacking");
  limits_hold(gated(), "gated");
  for (uint64_t seed = 1; seed <= 12; seed++) limits_hold(drawn(seed), "network " + std::to_string(seed));
}

void break_plans(const std::vector<std::string>& files) {
  check(mobilenet_v2(96), "MobileNetV2");
  check(branching(), "branching");
  check(concatenating(), "concatenating");
  check(stacking(), "stacking");
  check(gated(), "gated");
  check(quantised(mobilenet_v2(48)), "MobileNetV2 int8");
  for (const std::string& file : files) check(read_model(Source::from_path(file))->graph, file);

  for (const char* kind : {"ring one row short", "kept ring one row short", "expanded ring one row short",
                           "slide one row too far", "lifetimes overlap", "outside the arena", "scratch over the output",
                           "scratch over a ring", "wrong move", "move left out", "racy pass", "a part in no pass",
                           "one patch for all threads", "sums over scratch", "beside its place"}) {
    const int count = Breaker::caught[kind];
    std::printf("%5d  %s\n", count, kind);
    if (!count) {
      failed++;
      std::printf("FAILED no plan could be broken so\n");
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  if (mode != "make" && mode != "break") {
    std::fprintf(stderr, "usage: plan_check make | plan_check break [FILE...]\n");
    return 2;
  }
  mode == "make" ? make_plans() : break_plans({argv + 2, argv + argc});
  std::printf(failed ? "%d FAILED\n" : "all as it should be\n", failed);
  return failed ? 1 : 0;
}
