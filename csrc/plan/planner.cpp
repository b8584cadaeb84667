// make_plan: which plans of a schedule are made and compared.
#include <algorithm>
#include <climits>
#include <optional>
#include <utility>

#include "plan/again.h"
#include "plan/automatic.h"
#include "plan/cost.h"
#include "plan/fused.h"
#include "plan/layout.h"
#include "plan/sharing.h"

namespace mbinfer {
namespace {

constexpr const char* kScheduleNames[] = {"naive", "layerwise", "fused", "streamed", "auto"};

// Every node a stage, in the file's order, and no two buffers in the same bytes.
Draft naive_draft(const Graph& graph, const StageRules& rules, Work* work) {
  const auto order = std::make_shared<const StageOrder>(StageOrder{Fusion::kNone, rules, {}, {}});
  return whole_draft(graph, Schedule::kNaive, order, order->stages(graph), 1, work);
}

int64_t naive_bytes(const Graph& graph, const StageRules& rules) {
  int64_t bytes = 0;
  Stages stages = make_stages(graph, Fusion::kNone, rules);
  const Lives lives(graph, stages, rules.homes);
  bytes += lives.state_room_bytes();
  for (int s = 0; s < int(stages.size()); s++) {
    Stage& stage = stages[size_t(s)];
    set_whole(graph, &stage, INT_MAX, INT_MAX);
    bytes += round_up(stage.transient_bytes(), kArenaAlign);
    if (lives.begins(stage, s)) bytes += lives.bytes(stage.output);
  }
  return bytes;
}

// Every node a stage, whole, one after the other in the order that needs the least memory.
Candidate layerwise_draft(const Graph& graph, const StageRules& rules, Work* work) {
  return Stagewise(graph, Schedule::kLayerwise, {Fusion::kNone, rules, {}, {}}, true, work).smallest();
}

[[noreturn]] void unsupported(const Node& node, const std::string& why) {
  Error error(ErrorKind::kUnsupported, "node '" + node.name + "' (" + op_name(node.op) + "): " + why);
  error.node = node.name;
  error.op = op_name(node.op);
  throw error;
}

void check_supported(const Graph& graph) {
  for (const Node& node : graph.nodes)
    if (node.y.kernel > kMaxKernel)
      unsupported(node, "its kernel has more than " + std::to_string(kMaxKernel) + " rows");
}

[[noreturn]] void refuse(Schedule schedule, int64_t needed, int64_t limit) {
  Error error(ErrorKind::kMemoryLimit, "the " + std::string(schedule_name(schedule)) +
                                           " schedule needs an arena of at least " + std::to_string(needed) +
                                           " bytes, the limit is " + std::to_string(limit));
  error.needed = uint64_t(needed);
  error.limit = uint64_t(limit);
  throw error;
}

}  // namespace

const char* schedule_name(Schedule schedule) { return kScheduleNames[int(schedule)]; }

Schedule schedule_from_name(const std::string& name) {
  std::string known;
  for (Schedule schedule : kSchedules) {
    if (name == schedule_name(schedule)) return schedule;
    known += (known.empty() ? "" : ", ") + std::string(schedule_name(schedule));
  }
  throw Error(ErrorKind::kArgument, "unknown schedule '" + name + "'; known are " + known);
}

namespace {

int64_t limit_of(const PlanOptions& options) {
  return options.least ? 0 : options.memory_limit < 0 ? INT64_MAX : options.memory_limit;
}

// The best plan of those that were tried, as a draft, and what is said of the network and of the making of all.
struct Tried {
  Candidate plan;
  int64_t naive_bytes = INT64_MAX, layerwise_bytes = INT64_MAX, fused_bytes = INT64_MAX;
  unsigned shortcuts = 0;
  int64_t work = 0;
};

// elsewhere: bytes next to which a larger plan is of no use.
Tried tried(const Graph& graph, const PlanOptions& options, const Homes& homes, int64_t twice_from, int64_t elsewhere) {
  const StageRules rules = {options.threads, homes, twice_from};
  const int64_t limit = limit_of(options);
  Work work(cost_model(options.isa));
  Candidate taken = layerwise_draft(graph, rules, &work);
  const int64_t layerwise_bytes = taken->peak_bytes;
  const double layerwise_cycles = taken->cycles;
  int64_t fused_bytes = 0;
  {
    std::optional<Stagewise> blocks(
        blocks_within(graph, Schedule::kFused, Fusion::kBlocks, rules, taken->peak_bytes, &work));
    const Fused fused(&*blocks, limit, taken, options.threads);
    if (int(blocks->stages().size()) > kWindow) blocks.reset();  // of a long network they would take much memory
    fused_bytes = fused.unlimited()->peak_bytes;
    if (options.schedule != Schedule::kLayerwise) taken.reset();
    if (!options.chunks && options.schedule == Schedule::kFused)
      taken = fused.within_limit();
    else if (!options.chunks && (options.schedule == Schedule::kStreamed || options.schedule == Schedule::kAuto)) {
      Automatic search(graph, options, rules, fused, blocks ? &*blocks : nullptr, limit, elsewhere, &work);
      blocks.reset();
      taken = search.best();
    }
  }
  // Blocks of small maps may take longer as one operator than node by node, and save nothing.
  if (options.schedule == Schedule::kAuto && taken && taken->peak_bytes >= layerwise_bytes &&
      taken->cycles > layerwise_cycles)
    taken = layerwise_draft(graph, rules, &work);

  if (options.chunks)
    taken = candidate(chunked_draft(graph, rules, options.chunks, &work));
  else if (options.schedule == Schedule::kNaive)
    taken = candidate(naive_draft(graph, rules, &work));
  return {taken, naive_bytes(graph, rules), layerwise_bytes, fused_bytes, work.shortcuts, work.spent};
}

// Of plans with and without values inside of others, under a limit: the faster one of those that fit, or the smaller;
// without one the smaller, which the automatic schedule takes only where it saves more bytes than it costs time.
bool better(const Draft& plan, const Draft& than, const PlanOptions& options) {
  const int64_t limit = limit_of(options);
  if (limit == INT64_MAX && options.schedule == Schedule::kAuto)
    return double(plan.peak_bytes) * plan.cycles < double(than.peak_bytes) * than.cycles;
  const bool fits = plan.peak_bytes <= limit && limit < INT64_MAX;
  if (fits != (than.peak_bytes <= limit && limit < INT64_MAX)) return fits;
  if (fits && plan.cycles != than.cycles) return plan.cycles < than.cycles;
  if (plan.peak_bytes != than.peak_bytes) return plan.peak_bytes < than.peak_bytes;
  return plan.cycles < than.cycles;
}

// What that is, once the least is asked for and a plan is known.
int64_t enough(const PlanOptions& options, const Candidate& best) {
  return options.least && best ? best->peak_bytes : INT64_MAX;
}

// Keeps the better one of two plans, and what both say of the network and of their making.
void take_better(const Tried& other, const PlanOptions& options, Tried* best) {
  if (!best->plan || better(*other.plan, *best->plan, options)) best->plan = other.plan;
  best->naive_bytes = std::min(best->naive_bytes, other.naive_bytes);
  best->layerwise_bytes = std::min(best->layerwise_bytes, other.layerwise_bytes);
  best->fused_bytes = std::min(best->fused_bytes, other.fused_bytes);
  best->shortcuts |= other.shortcuts;
  best->work += other.work;
}

// Where memory is short, what several read may be made again and not held. The smallest plans come first: next to them
// a larger one need not be finished.
void try_again(const Graph& graph, const PlanOptions& options, const Homes& homes, Tried* best) {
  const bool searched = options.schedule == Schedule::kStreamed || options.schedule == Schedule::kAuto;
  if (!searched || options.chunks || limit_of(options) == INT64_MAX) return;
  const std::vector<int64_t> sizes = held_sizes(graph, options);
  for (auto bytes = sizes.rbegin(); bytes != sizes.rend(); ++bytes) {
    Tried again = tried(graph, options, homes, *bytes, enough(options, best->plan));
    again.naive_bytes = again.layerwise_bytes = again.fused_bytes = INT64_MAX;  // of other stages than those schedules'
    take_better(again, options, best);
  }
}

// The plan of the draft that was taken: only one is ever made whole.
Plan whole_plan(const Graph& graph, const PlanOptions& options, const Tried& best) {
  Work work(cost_model(options.isa));
  Plan plan = finish(graph, *best.plan, &work);
  plan.naive_bytes = best.naive_bytes;
  plan.layerwise_bytes = best.layerwise_bytes;
  plan.fused_bytes = best.fused_bytes;
  plan.shortcuts = best.shortcuts | work.shortcuts;
  plan.work = best.work + work.spent;
  return plan;
}

}  // namespace

Plan make_plan(const Graph& graph, const PlanOptions& options) {
  check_supported(graph);
  const std::vector<Homes> homes = homes_to_try(graph);
  Tried best;
  try_again(graph, options, homes[0], &best);
  for (const Homes& each : homes)
    take_better(tried(graph, options, each, INT64_MAX, enough(options, best.plan)), options, &best);
  if (!options.least && best.plan->peak_bytes > limit_of(options))
    refuse(options.schedule, best.plan->peak_bytes, limit_of(options));
  Plan plan = whole_plan(graph, options, best);
  if (options.schedule == Schedule::kAuto && !options.least)
    widen_patches(graph, std::min(limit_of(options), plan.peak_bytes + plan.peak_bytes / kWiderPatches), &plan);
  share_out(graph, options, &plan);
  return plan;
}

}  // namespace mbinfer
