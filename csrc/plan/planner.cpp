// make_plan: stages, their order, strips and chunks, and the layout of the arena.
#include <algorithm>
#include <cmath>

#include "plan/arena.h"
#include "plan/cost.h"
#include "plan/order.h"
#include "plan/replay.h"
#include "plan/rows.h"
#include "plan/stages.h"
#include "plan/streamed.h"

namespace mbinfer {
namespace {

constexpr double kNearFastest = 1.01;
constexpr int64_t kScratchInCache = 256 << 10;  // of a stage, beside its weights and rows in a second-level cache

constexpr const char* kScheduleNames[] = {"naive", "layerwise", "fused", "streamed", "auto"};

// Fills in everything that follows from the stages (ordered, with strip, chunk and step) and the segments.
void lay_out(const Graph& graph, Plan* plan, bool share) {
  plan->values.assign(graph.values.size(), {});
  plan->buffers.clear();
  plan->peak_bytes = plan->macs = plan->extra_macs = plan->input_bytes = plan->moved_bytes = 0;
  plan->cycles = 0;
  const int last_segment = int(plan->segments.size()) - 1;
  std::vector<int> last_use(graph.values.size(), -1), producer(graph.values.size(), -1);
  for (int g = 0; g <= last_segment; g++)
    for (int s = plan->segments[g].first; s < plan->segments[g].last; s++) {
      producer[plan->stages[s].output] = s;
      for (int v : {plan->stages[s].input, plan->stages[s].residual})
        if (v >= 0 && plan->stages[s].load < 0) last_use[v] = g;
    }
  plan->input_rows.clear();
  for (const GraphOutput& out : graph.outputs) last_use[out.value] = INT_MAX;  // the caller
  for (const GraphInput& in : graph.inputs) {
    plan->values[in.value].kind = Placement::kExternal;
    plan->input_bytes += graph.values[in.value].shape.elements() * int64_t(in.recipe.present ? 1 : sizeof(float));
  }

  struct SlidOver {  // segment, its input and output, least distance
    int segment, input, output;
    int64_t distance;
  };
  std::vector<SlidOver> slid;
  std::vector<int> source_rows;  // by segment
  auto add = [&](Buffer::Kind kind, int index, int64_t bytes, int first, int last) {
    if (bytes) plan->buffers.push_back({kind, index, 0, round_up(bytes, kArenaAlign), first, last});
  };
  for (int g = 0; g <= last_segment; g++) {
    const Segment& segment = plan->segments[g];
    SegmentNeeds needs = measure_segment(graph, *plan, segment);
    source_rows.push_back(needs.source_rows);
    int64_t transient = 0;
    for (int s = segment.first; s < segment.last; s++) {
      Stage& stage = plan->stages[s];
      const Value& out = graph.values[stage.output];
      Placement& placed = plan->values[stage.output];
      placed.kind = Placement::kArena;
      const bool ring = s + 1 < segment.last && last_use[stage.output] == g;
      placed.rows = ring ? std::min(out.shape.height, needs.ring_rows[s - segment.first]) : out.shape.height;
      add(ring ? Buffer::kRing : Buffer::kValue, stage.output, placed.rows * out.row_bytes(), g,
          std::min(last_segment, std::max(g, last_use[stage.output])));
      if (stage.keep) add(Buffer::kExpanded, s, stage.expanded_bytes, g, g);
      transient = std::max(transient, stage.transient_bytes());
      int64_t base = 0;
      for (int part : {stage.expand, stage.spatial, stage.project})
        if (part >= 0) base += macs(graph, graph.nodes[part]);
      stage.macs = base;
      stage.extra_macs = std::max<int64_t>(0, needs.stage_macs[s - segment.first] - base);
      plan->macs += stage.macs;
      plan->extra_macs += stage.extra_macs;
      plan->cycles += stage_cycles(graph, stage, count_steps(graph, stage)) + far_cycles(graph, *plan, segment, s);
    }
    add(Buffer::kScratch, g, transient, g, g);
    // The input dies here, row by row, while the output grows: it may slide over it.
    const int in = plan->stages[segment.first].input, out = plan->stages[segment.last - 1].output;
    if (plan->stages[segment.first].load < 0 && plan->values[in].kind == Placement::kArena && last_use[in] == g)
      slid.push_back({g, in, out, needs.slide});
  }
  for (const GraphInput& in : graph.inputs) {
    int readers = 0, rows = graph.values[in.value].shape.height;
    for (int g = 0; g <= last_segment; g++)
      for (int s = plan->segments[g].first; s < plan->segments[g].last; s++)
        if (plan->stages[s].load == in.value ||
            (plan->stages[s].input == in.value && plan->values[in.value].kind == Placement::kExternal)) {
          rows = s == plan->segments[g].first && !readers ? source_rows[g] : graph.values[in.value].shape.height;
          readers++;
        }
    plan->input_rows.push_back(rows);
  }
  if (!share) {
    for (Buffer& b : plan->buffers) {
      b.offset = plan->peak_bytes;
      plan->peak_bytes += b.bytes;
    }
    plan->lower_bound_bytes = plan->peak_bytes;
  } else {
    auto place_buffers = [&](std::vector<Buffer>* buffers, int64_t* bound) {
      std::vector<Block> blocks;
      std::vector<Slide> slides;
      for (const Buffer& b : *buffers) blocks.push_back({b.bytes, b.first, b.last});
      auto find = [&](int value, int segment) {  // the block that holds the value in that segment
        for (int i = 0;; i++) {
          const Buffer& b = (*buffers)[i];
          if (b.kind == Buffer::kValue && b.index == value && b.first <= segment && segment <= b.last) return i;
        }
      };
      for (const SlidOver& s : slid)
        slides.push_back({find(s.output, s.segment), find(s.input, s.segment), s.distance});
      const int64_t peak = place(&blocks, slides);
      *bound = placement_bound(blocks, slides);
      for (size_t i = 0; i < blocks.size(); i++) (*buffers)[i].offset = blocks[i].offset;
      return peak;
    };
    plan->peak_bytes = place_buffers(&plan->buffers, &plan->lower_bound_bytes);
    if (plan->peak_bytes > plan->lower_bound_bytes && !slid.empty()) {
      // Values slid over slide down themselves, one after the other, until no room is left: let them move up in
      // between.
      std::vector<Buffer> apart = plan->buffers;
      for (const SlidOver& s : slid)
        for (size_t i = 0; i < apart.size(); i++) {
          if (apart[i].kind != Buffer::kValue || apart[i].index != s.input || apart[i].first >= s.segment) continue;
          Buffer moved = apart[i];
          moved.first = s.segment;
          apart[i].last = s.segment - 1;
          apart.push_back(moved);
          break;
        }
      int64_t bound;
      const int64_t peak = place_buffers(&apart, &bound);
      if (peak < plan->peak_bytes) {
        plan->peak_bytes = peak;
        plan->buffers = std::move(apart);
      }
    }
  }
  for (const Buffer& b : plan->buffers) {
    if (b.kind == Buffer::kExpanded) plan->stages[b.index].expanded_offset = b.offset;
    if (b.kind == Buffer::kValue || b.kind == Buffer::kRing) {
      Placement& placed = plan->values[b.index];
      const bool born =
          plan->segments[b.first].first <= producer[b.index] && producer[b.index] < plan->segments[b.first].last;
      if (born)
        placed.offset = b.offset;
      else
        placed.moved_offset = b.offset, placed.moved_before = b.first;
    }
    if (b.kind != Buffer::kScratch) continue;
    for (int s = plan->segments[b.index].first; s < plan->segments[b.index].last; s++) {
      Stage& stage = plan->stages[s];
      int64_t at = b.offset;
      if (!stage.keep) stage.expanded_offset = at, at += stage.expanded_bytes;
      stage.spatial_offset = at;
      stage.patch_offset = at + stage.spatial_bytes;
    }
  }
  for (Placement& placed : plan->values) {
    if (placed.moved_before == INT_MAX) continue;
    if (placed.moved_offset == placed.offset)
      placed.moved_before = INT_MAX;
    else
      plan->moved_bytes += graph.values[&placed - plan->values.data()].bytes();
  }
}

// The whole output in one strip. `chunk` channels and `step` rows at a time where the stage has a spatial part.
void set_whole(const Graph& graph, Stage* stage, int chunk, int step) {
  stage->rows = graph.values[stage->output].shape.height;
  stage->keep = false;
  stage->chunk = stage->bottleneck() ? std::min(chunk, expanded_channels(graph, *stage)) : 0;
  stage->step = std::min(step, is_global(graph, *stage) ? graph.values[stage->input].shape.height : stage->rows);
  size_scratch(graph, stage);
}

// The cheapest chunk and step of a whole map whose scratch fits.
void set_fast(const Graph& graph, Stage* stage, int64_t budget) {
  set_whole(graph, stage, kPanel, 1);
  if (!stage->bottleneck()) return;
  const int channels = expanded_channels(graph, *stage), height = graph.values[stage->input].shape.height;
  Stage best = *stage;
  double cheapest = INFINITY;
  for (int step = 1, last = 0; step != last; last = step, step = std::min(2 * step, height)) {
    Stage s = *stage;
    set_whole(graph, &s, kPanel, step);
    const StepCounts counts = count_steps(graph, s);
    for (int chunk = kPanel; chunk <= channels; chunk += kPanel) {
      if (round_up(ceil_div(channels, ceil_div(channels, chunk)), kPanel) != chunk) continue;  // uneven chunks
      set_whole(graph, &s, chunk, step);
      if (round_up(s.transient_bytes(), kArenaAlign) > budget) break;
      const double cycles = stage_cycles(graph, s, counts);
      if (cycles < cheapest) cheapest = cycles, best = s;
    }
  }
  *stage = best;
}

// Bytes alive in a segment.
int64_t live_bytes(const Plan& plan, int segment, bool with_scratch = true) {
  int64_t live = 0;
  for (const Buffer& b : plan.buffers)
    if (b.first <= segment && segment <= b.last && (with_scratch || b.kind != Buffer::kScratch)) live += b.bytes;
  return live;
}

// The stages, each a segment of its own.
Plan one_by_one(Schedule schedule, std::vector<Stage> stages) {
  Plan plan;
  plan.schedule = schedule;
  plan.stages = std::move(stages);
  for (int s = 0; s < int(plan.stages.size()); s++) plan.segments.push_back({s, s + 1});
  return plan;
}

std::vector<Stage> in_least_memory_order(const Graph& graph, const std::vector<Stage>& stages) {
  std::vector<int64_t> scratch;
  for (const Stage& s : stages) scratch.push_back(round_up(s.transient_bytes(), kArenaAlign));
  std::vector<Stage> ordered;
  for (int s : least_memory_order(graph, stages, scratch).stages) ordered.push_back(stages[s]);
  return ordered;
}

// Every node a stage, whole.
Plan simple_plan(const Graph& graph, Schedule schedule, int threads) {
  std::vector<Stage> stages = make_stages(graph, Fusion::kNone, threads);
  for (Stage& s : stages) set_whole(graph, &s, 1 << 30, 1 << 30);
  const bool naive = schedule == Schedule::kNaive;
  Plan plan = one_by_one(schedule, naive ? stages : in_least_memory_order(graph, stages));
  lay_out(graph, &plan, !naive);
  return plan;
}

// Stages in the order that needs the least memory, each with the least scratch that it can do with.
std::vector<Stage> ordered_stages(const Graph& graph, Fusion fusion, int threads, const std::vector<bool>& apart) {
  std::vector<Stage> stages = make_stages(graph, fusion, threads, apart);
  for (Stage& s : stages) set_whole(graph, &s, kPanel, 1);
  return in_least_memory_order(graph, stages);
}

// Every stage a segment of its own, with the least scratch. A block that as one operator would need more than `most`
// bytes, because of its scratch, is left in its nodes.
Plan stagewise_plan(const Graph& graph, Schedule schedule, Fusion fusion, int threads, int64_t most) {
  std::vector<bool> apart(graph.nodes.size(), false);
  for (;;) {
    Plan plan = one_by_one(schedule, ordered_stages(graph, fusion, threads, apart));
    lay_out(graph, &plan, true);
    bool again = false;
    for (int s = 0; s < int(plan.stages.size()) && plan.peak_bytes > most; s++) {
      const Stage& stage = plan.stages[s];
      if (!stage.bottleneck() || live_bytes(plan, s) <= most) continue;
      for (int node : {stage.expand, stage.spatial, stage.project})
        if (node >= 0) apart[node] = again = true;
    }
    if (!again) return plan;
  }
}

// The same with, for each stage, the fastest chunk and step that its headroom allows: what an arena of `most` bytes
// has, less what is alive beside it, and no more than stays in the cache. `cycles`: without a bound on the arena, and
// without what values beyond the cache cost.
Plan faster(const Graph& graph, const Plan& plan, int64_t most, double* cycles = nullptr) {
  Plan fast = plan;
  for (int s = 0; s < int(fast.stages.size()); s++) {
    Stage& stage = fast.stages[s];
    const int64_t headroom = most - live_bytes(plan, s, false);
    set_fast(graph, &stage, kScratchInCache * stage.patches);
    if (cycles) *cycles += stage_cycles(graph, stage, count_steps(graph, stage));
    if (round_up(stage.transient_bytes(), kArenaAlign) > headroom) set_fast(graph, &stage, headroom);
  }
  lay_out(graph, &fast, true);
  return fast.peak_bytes <= most ? fast : plan;
}

// Every block one operator. `bytes`: the arena without a limit, which for speed is a thirty-second more than it could
// be.
Plan fused_plan(const Graph& graph, int threads, int64_t limit, int64_t layerwise, int64_t* bytes) {
  const Plan plan = stagewise_plan(graph, Schedule::kFused, Fusion::kBlocks, threads, layerwise);
  const Plan fast = faster(graph, plan, std::max(plan.peak_bytes, std::min(layerwise, plan.peak_bytes / 32 * 33)));
  *bytes = fast.peak_bytes;
  return limit == INT64_MAX ? fast : faster(graph, plan, std::max(limit, plan.peak_bytes));
}

// The paper's operator: each block split `chunks` ways over its whole map.
Plan chunked_plan(const Graph& graph, int threads, int chunks) {
  Plan plan = one_by_one(Schedule::kFused, ordered_stages(graph, Fusion::kBlocks, threads, {}));
  for (Stage& s : plan.stages)
    set_whole(graph, &s, round_up(ceil_div(std::max(1, expanded_channels(graph, s)), chunks), kPanel), INT_MAX);
  lay_out(graph, &plan, true);
  return plan;
}

// Segments of any length, row by row. The search counts bytes without placing them; where the placement of a choice
// does not fit, the search is run again for less.
class Streamer {
 public:
  Streamer(const Graph& graph, int threads, bool recompute, int64_t most)
      : graph_(graph),
        stages_(ordered_stages(graph, Fusion::kAnyExpansion, threads, {})),
        search_(graph, stages_, recompute, most) {
    smallest_.schedule = Schedule::kStreamed;
    smallest_.stages = stages_;
    smallest_.segments = search_.smallest(&smallest_.stages, &counted_);
  }

  // The smallest plan, of those the cheapest found. Empty where nothing fits.
  Plan least() {
    Plan best;
    if (smallest_.segments.empty()) return best;
    for (double more : {1.0, 1.01, 1.03, 1.06}) {
      Plan plan = attempt(int64_t(double(counted_) * more));
      if (smaller(plan, best)) best = std::move(plan);
      if (!best.segments.empty() && best.peak_bytes <= counted_) break;
    }
    lay_out(graph_, &smallest_, true);
    if (smaller(smallest_, best)) best = smallest_;
    // A stage that sees nothing but padding lets those before it idle, and the search counts their rings: any plan may
    // be smaller.
    for (const Stage& s : stages_) {
      if (strip_rows(graph_, s, 0, graph_.values[s.output].shape.height).end > 0) continue;
      Plan plan = attempt(INT64_MAX);
      return smaller(plan, best) ? plan : best;
    }
    return best;
  }

  // The cheapest plan of at most `limit` bytes, if one is found.
  Plan within(int64_t limit) const {
    Plan plan;
    for (int64_t counted = limit, tries = 0; tries < 4 && counted_ >= 0 && counted >= counted_; tries++) {
      plan = attempt(counted);
      if (plan.segments.empty() || plan.peak_bytes <= limit) return plan;
      counted -= plan.peak_bytes - limit;
    }
    return {};
  }

 private:
  Plan attempt(int64_t counted) const {
    Plan plan;
    plan.schedule = Schedule::kStreamed;
    plan.stages = stages_;
    plan.segments = search_.cheapest(counted, &plan.stages);
    if (!plan.segments.empty()) lay_out(graph_, &plan, true);
    return plan;
  }

  static bool smaller(const Plan& plan, const Plan& than) {
    return !plan.segments.empty() && (than.segments.empty() || plan.peak_bytes < than.peak_bytes);
  }

  const Graph& graph_;
  const std::vector<Stage> stages_;
  const SegmentSearch search_;
  Plan smallest_;
  int64_t counted_;  // its bytes by the search's count
};

// The cheapest plan of at most `limit` bytes, or else the least; never larger than the fused one, which takes
// `fused_bytes`.
Plan streamed_plan(const Graph& graph, const PlanOptions& options, int64_t limit, int64_t fused_bytes,
                   const Plan& fused) {
  Plan alone, fast;
  if (options.schedule == Schedule::kAuto) {
    // Stages one by one, the stem fused too. Where memory hardly slows them no search is needed. Values beyond the
    // cache are a reason for one on one thread only: several divide the few rows of a strip badly.
    alone = stagewise_plan(graph, Schedule::kStreamed, Fusion::kAnyExpansion, options.threads, fused_bytes);
    double cycles = 0;
    fast = faster(graph, alone, fused_bytes, &cycles);
    if (options.threads > 1)
      for (int s = 0; s < int(fast.stages.size()); s++) cycles += far_cycles(graph, fast, {s, s + 1}, s);
    if (fast.peak_bytes <= limit && fast.cycles <= kNearFastest * cycles) return fast;
  }
  Streamer streamer(graph, options.threads, options.recompute, fused_bytes);
  Plan plan = streamer.within(limit);
  if (plan.segments.empty()) plan = streamer.least();
  if (plan.segments.empty()) plan = fused;
  if (options.schedule != Schedule::kAuto) return plan;
  for (const Plan& other : {alone, fast, fused})
    if (plan.peak_bytes > limit ? other.peak_bytes < plan.peak_bytes
                                : other.peak_bytes <= limit && other.cycles < plan.cycles)
      plan = other;
  return plan;
}

[[noreturn]] void unsupported(const Node& node, const std::string& why) {
  Error error(ErrorKind::kUnsupported, "node '" + node.name + "' (" + op_name(node.op) + "): " + why);
  error.node = node.name;
  error.op = op_name(node.op);
  throw error;
}

[[noreturn]] void refuse(const Plan& least, int64_t limit) {
  Error error(ErrorKind::kMemoryLimit, "the " + std::string(schedule_name(least.schedule)) +
                                           " schedule needs an arena of at least " + std::to_string(least.peak_bytes) +
                                           " bytes, the limit is " + std::to_string(limit));
  error.needed = uint64_t(least.peak_bytes);
  error.limit = uint64_t(limit);
  throw error;
}

}  // namespace

const char* schedule_name(Schedule schedule) { return kScheduleNames[int(schedule)]; }

Schedule schedule_from_name(const std::string& name) {
  for (int i = 0; i < 5; i++)
    if (name == kScheduleNames[i]) return Schedule(i);
  throw Error(ErrorKind::kArgument,
              "unknown schedule '" + name + "'; known are naive, layerwise, fused, streamed and auto");
}

Plan make_plan(const Graph& graph, const PlanOptions& options) {
  for (const Node& node : graph.nodes) {
    if (node.y.kernel > kMaxKernel)
      unsupported(node, "its kernel has more than " + std::to_string(kMaxKernel) + " rows");
    if (node.weight_dtype != DType::kNone && node.weight_dtype != DType::kFloat32)
      unsupported(node, "float16 and int8 weights come later, this build runs float32");
  }
  for (const Value& value : graph.values)
    if (value.type.dtype != DType::kFloat32)
      throw Error(ErrorKind::kUnsupported, "value '" + value.name + "': this build runs float32 values only");

  const int64_t limit = options.least ? 0 : options.memory_limit < 0 ? INT64_MAX : options.memory_limit;
  int64_t fused_bytes;
  const Plan naive = simple_plan(graph, Schedule::kNaive, options.threads);
  const Plan layerwise = simple_plan(graph, Schedule::kLayerwise, options.threads);
  Plan fused = fused_plan(graph, options.threads, limit, layerwise.peak_bytes, &fused_bytes);
  if (options.chunks) fused = chunked_plan(graph, options.threads, options.chunks);

  Plan plan;
  if (options.schedule == Schedule::kNaive) plan = naive;
  if (options.schedule == Schedule::kLayerwise) plan = layerwise;
  if (options.schedule == Schedule::kFused || options.chunks) plan = fused;
  if (plan.segments.empty()) plan = streamed_plan(graph, options, std::min(limit, fused_bytes), fused_bytes, fused);
  plan.naive_bytes = naive.peak_bytes;
  plan.layerwise_bytes = layerwise.peak_bytes;
  plan.fused_bytes = fused_bytes;
  if (!options.least && plan.peak_bytes > limit) refuse(plan, limit);
  return plan;
}

}  // namespace mbinfer
