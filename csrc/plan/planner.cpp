// make_plan: which plans of a schedule are made and compared.
#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "plan/again.h"
#include "plan/cost.h"
#include "plan/layout.h"
#include "plan/rows.h"
#include "plan/sharing.h"
#include "plan/stages.h"
#include "plan/stagewise.h"
#include "plan/streamed.h"

namespace mbinfer {
namespace {

constexpr const char* kScheduleNames[] = {"naive", "layerwise", "fused", "streamed", "auto"};

// Of two plans the one to take under a limit: one that fits, and of those the faster; otherwise the smaller.
bool better(const Draft& plan, const Draft& than, int64_t limit) {
  if (plan.none() || than.none()) return !plan.none();
  if ((plan.peak_bytes <= limit) != (than.peak_bytes <= limit)) return plan.peak_bytes <= limit;
  return plan.peak_bytes <= limit ? plan.cycles < than.cycles : plan.peak_bytes < than.peak_bytes;
}

using Candidate = std::shared_ptr<const Draft>;

// `known`: one that may have come out the same, which is then held once.
Candidate candidate(Draft draft, const Candidate& known = {}) {
  if (known && same_choices(draft, *known)) return known;
  return std::make_shared<const Draft>(std::move(draft));
}

// The best of the plans offered under a limit, and the smallest.
struct Offers {
  int64_t limit;
  Candidate best, least;

  void offer(const Candidate& plan) {
    if (!best || better(*plan, *best, limit)) best = plan;
    offer_small(plan);
  }
  void offer_small(const Candidate& plan) {
    if (!least || better(*plan, *least, 0)) least = plan;
  }
};

// Every node a stage, in the file's order, and no two buffers in the same bytes.
Plan naive_plan(const Graph& graph, const StageRules& rules, const CostModel& costs) {
  Plan plan;
  plan.schedule = Schedule::kNaive;
  plan.stages = make_stages(graph, Fusion::kNone, rules);
  for (int s = 0; s < int(plan.stages.size()); s++) {
    set_whole(graph, &plan.stages[size_t(s)], INT_MAX, INT_MAX);
    plan.segments.push_back({s, s + 1});
  }
  lay_out_apart(graph, rules.homes, &plan, costs);
  return plan;
}

int64_t naive_bytes(const Graph& graph, const StageRules& rules) {
  int64_t bytes = 0;
  PageVector<Stage> stages = make_stages(graph, Fusion::kNone, rules);
  const Lives lives(graph, stages, rules.homes);
  for (int s = 0; s < int(stages.size()); s++) {
    Stage& stage = stages[size_t(s)];
    set_whole(graph, &stage, INT_MAX, INT_MAX);
    bytes += round_up(stage.transient_bytes(), kArenaAlign);
    if (lives.begins(stage, s)) bytes += lives.bytes(stage.output);
  }
  return bytes;
}

// Every node a stage, whole, one after the other in the order that needs the least memory.
Draft layerwise_draft(const Graph& graph, const StageRules& rules, Work* work) {
  return Stagewise(graph, Schedule::kLayerwise, {Fusion::kNone, rules, {}, {}}, true, work).smallest();
}

// Blocks fused as far as `fusion` goes. One that as an operator would need more than `most` bytes is left in its nodes.
Stagewise blocks_within(const Graph& graph, Schedule schedule, Fusion fusion, const StageRules& rules, int64_t most,
                        Work* work) {
  std::vector<bool> apart(graph.nodes.size(), false);
  for (int tries = 0;; tries++) {
    Stagewise blocks(graph, schedule, {fusion, rules, apart, {}}, false, work);
    bool again = false;
    for (int s = 0; s < int(blocks.stages().size()) && blocks.counted() > most && tries < kMostTries; s++) {
      const Stage& stage = blocks.stages()[size_t(s)];
      if (!stage.bottleneck() || blocks.counted(s) <= most) continue;
      for (const Part& part : stage.parts) apart[size_t(part.node)] = again = true;
    }
    if (!again) return blocks;
  }
}

// Offers plans of blocks in few bytes: the fastest that the largest need of a block leaves, and, where the placement of
// that takes more, the smallest way of every block.
void offer_small(Stagewise* blocks, Offers* offers) {
  const Candidate plan = candidate(blocks->fastest(blocks->counted(), true));
  offers->offer_small(plan);
  if (plan->peak_bytes > blocks->counted()) offers->offer_small(candidate(blocks->smallest(), plan));
}

// Every block one operator. The drafts are made at once, so that what they are made of is gone when others are.
class Fused {
 public:
  Fused(const Graph& graph, const StageRules& rules, int64_t limit, const Candidate& layerwise, Work* work)
      : limit_(limit) {
    Stagewise blocks = blocks_within(graph, Schedule::kFused, Fusion::kBlocks, rules, layerwise->peak_bytes, work);
    Offers offers{0, {}, {}};
    offer_small(&blocks, &offers);
    least_ = offers.least;
    if (layerwise->peak_bytes < least_->peak_bytes) {  // never worse
      Draft plan = *layerwise;
      plan.schedule = Schedule::kFused;
      least_ = candidate(std::move(plan));
    }
    // Without a limit it may take, for speed, a thirty-second more than with the least scratch.
    const int64_t lean = std::min(layerwise->peak_bytes, blocks.least_scratch().peak_bytes / 32 * 33);
    const int64_t most = std::max(least_->peak_bytes, lean);
    unlimited_ = candidate(blocks.fastest(most, false), least_);
    if (better(*least_, *unlimited_, most)) unlimited_ = least_;
    if (unlimited_->peak_bytes < least_->peak_bytes) least_ = unlimited_;
    if (limit == INT64_MAX) return;
    limited_ = candidate(blocks.fastest(limit, false), least_);
    if (limited_->peak_bytes < least_->peak_bytes) limited_ = least_;
  }

  const Candidate& least() const { return least_; }  // no plan of any limit takes less
  const Candidate& unlimited() const { return unlimited_; }
  // The fastest way of every block of at most the limit's bytes; it may take more.
  const Candidate& limited() const { return limited_; }

  Candidate within_limit() const {
    if (limit_ == INT64_MAX) return unlimited_;
    Offers offers{limit_, {}, {}};
    for (const Candidate& plan : {least_, unlimited_, limited_}) offers.offer(plan);
    return offers.best;
  }

 private:
  const int64_t limit_;
  Candidate least_, unlimited_, limited_;
};

// The paper's operator: each block split `chunks` ways over its whole map.
Plan chunked_plan(const Graph& graph, const StageRules& rules, int chunks, Work* work) {
  Plan plan;
  plan.schedule = Schedule::kFused;
  plan.stages = Stagewise(graph, Schedule::kFused, {Fusion::kBlocks, rules, {}, {}}, false, work).take_stages();
  for (int s = 0; s < int(plan.stages.size()); s++) {
    Stage& stage = plan.stages[size_t(s)];
    set_whole(graph, &stage, round_up(ceil_div(std::max(1, expanded_channels(graph, stage)), chunks), kPanel), INT_MAX);
    plan.segments.push_back({s, s + 1});
  }
  lay_out(graph, rules.homes, Lives(graph, plan.stages, rules.homes), &plan, work);
  return plan;
}

// The streamed schedule, and the automatic one, for which plans of stages one by one compete with it. The cheapest plan
// of at most `limit` bytes that is found, or else the least; none takes less than that one.
class Streamed {
 public:
  Streamed(const Graph& graph, const PlanOptions& options, const StageRules& rules, const Fused& fused, Work* work)
      : graph_(graph),
        options_(options),
        rules_(rules),
        fused_(fused),
        work_(work),
        most_(fused.unlimited()->peak_bytes),
        blocks_(blocks_within(graph, Schedule::kStreamed, Fusion::kAnyExpansion, rules, most_, work)) {}

  Candidate within(int64_t limit) {
    const bool automatic = options_.schedule == Schedule::kAuto;
    Offers one_by_one{limit, {}, {}};
    if (automatic) {
      const Candidate fast = candidate(blocks_->fastest(most_, false));
      const bool too_long = int(blocks_->stages().size()) > kWindow;
      if (limit == INT64_MAX && (options_.threads > 1 || too_long) && is_near_fastest(*fast)) {
        if (too_long) work_->shortcuts |= kSegmentShortcut;
        return smallest_of(fast);
      }
      if (limit < INT64_MAX && fast->peak_bytes <= std::min(limit, most_) && is_near_fastest(*fast)) return fast;
      one_by_one.offer(fast);
      offer_small(&*blocks_, &one_by_one);
      if (limit < most_) one_by_one.offer(fused_.limited());
    }
    one_by_one.offer(fused_.unlimited());
    one_by_one.offer_small(fused_.least());
    if (automatic && limit == INT64_MAX) one_by_one.best = smallest_of(one_by_one.best);

    take_every_block();
    const std::shared_ptr<const StageOrder> order = blocks_->order();
    PageVector<Stage> stages = blocks_->take_stages();
    const bool searched_whole = int(stages.size()) <= kWindow;
    blocks_.reset();
    Streamer streamer(graph_, order, std::move(stages), options_.recompute, most_, work_);
    int64_t asked = std::min(limit, most_);
    Candidate plan = candidate(options_.least ? Draft() : streamer.within(asked));
    // A search that is cut short leaves out ways of many bytes and of few alike; within less it looks at fewer.
    for (int tries = 0; tries < kMostTries && !options_.least && work_->shortcuts & kSegmentShortcut; tries++) {
      asked = plan->none() ? asked / 4 * 3 : plan->peak_bytes / 2;
      const Candidate less = candidate(streamer.within(asked));
      if (less->none() || (!plan->none() && !better(*less, *plan, limit))) break;
      plan = less;
    }
    if ((automatic || plan->none()) && better(*one_by_one.best, *plan, limit)) plan = one_by_one.best;
    if (automatic && limit == INT64_MAX && searched_whole) plan = smallest_of(plan, one_by_one.best, &streamer);
    const bool fits = plan->peak_bytes <= limit && !plan->none();
    if (fits && plan->peak_bytes >= one_by_one.least->peak_bytes) return plan;
    const int64_t known = fits ? plan->peak_bytes : one_by_one.least->peak_bytes;
    // Mostly a plan of half the bytes shows that this one takes no less than the least, and is found sooner.
    const bool half = fits && !streamer.smallest(known / 2).none();
    const Draft& small = half ? streamer.smallest(known / 2) : streamer.smallest(known);
    if (fits && !small.none() && plan->peak_bytes >= small.peak_bytes) return plan;
    if (!fits) plan.reset();
    one_by_one.best.reset();
    const Candidate least = candidate(streamer.least(known));
    const Candidate& smaller = better(*one_by_one.least, *least, 0) ? one_by_one.least : least;
    return plan && plan->peak_bytes >= smaller->peak_bytes ? plan : smaller;
  }

 private:
  // Whether memory hardly slows the stages one by one: then no search is needed. Values beyond the cache are a reason
  // for one on one thread only: several divide the few rows of a strip badly.
  bool is_near_fastest(const Draft& plan) const {
    double cycles = blocks_->fastest_cycles();
    if (options_.threads > 1)
      for (const Stage& s : blocks_->stages())
        cycles +=
            (graph_.values[s.input].producer >= 0 ? whole_value_cycles(work_->costs, graph_.values[s.input]) : 0) +
            whole_value_cycles(work_->costs, graph_.values[s.output]);
    return plan.cycles <= kNearFastest * cycles;
  }

  // The smallest plan, of those that are found, that takes hardly longer than the fastest: of stages one by one ...
  Candidate smallest_of(const Candidate& fastest) {
    const double cycles = kNearFastest * fastest->cycles;
    const Candidate plan = candidate(blocks_->smallest_of(cycles), fastest);
    return plan->cycles <= cycles && plan->peak_bytes < fastest->peak_bytes ? plan : fastest;
  }
  // ... or joined into segments.
  Candidate smallest_of(const Candidate& fastest, const Candidate& one_by_one, Streamer* streamer) {
    const double cycles = kNearFastest * fastest->cycles;
    const Candidate& known = one_by_one->cycles <= cycles ? one_by_one : fastest;
    const Candidate plan = candidate(streamer->smallest_of(cycles, known->peak_bytes));
    return plan->none() ? known : plan;
  }

  // The search takes every block as one operator.
  void take_every_block() {
    const std::vector<bool>& apart = blocks_->order()->apart;
    if (std::find(apart.begin(), apart.end(), true) == apart.end()) return;
    blocks_.reset();
    blocks_.emplace(graph_, Schedule::kStreamed, StageOrder{Fusion::kAnyExpansion, rules_, {}, {}}, false, work_);
  }

  const Graph& graph_;
  const PlanOptions& options_;
  const StageRules& rules_;
  const Fused& fused_;
  Work* work_;
  const int64_t most_;
  std::optional<Stagewise> blocks_;
};

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

Plan planned(const Graph& graph, const PlanOptions& options, const Homes& homes, int64_t twice_from = INT64_MAX) {
  const StageRules rules = {options.threads, homes, twice_from};
  const int64_t limit = limit_of(options);
  Work work(cost_model(options.isa));
  Candidate taken = candidate(layerwise_draft(graph, rules, &work));
  const int64_t layerwise_bytes = taken->peak_bytes;
  const double layerwise_cycles = taken->cycles;
  int64_t fused_bytes = 0;
  {
    const Fused fused(graph, rules, limit, taken, &work);
    fused_bytes = fused.unlimited()->peak_bytes;
    if (options.schedule != Schedule::kLayerwise) taken.reset();
    if (!options.chunks && options.schedule == Schedule::kFused)
      taken = fused.within_limit();
    else if (!options.chunks && (options.schedule == Schedule::kStreamed || options.schedule == Schedule::kAuto))
      taken = Streamed(graph, options, rules, fused, &work).within(limit);
  }
  // Blocks of small maps may take longer as one operator than node by node, and save nothing.
  if (options.schedule == Schedule::kAuto && taken && taken->peak_bytes >= layerwise_bytes &&
      taken->cycles > layerwise_cycles)
    taken = candidate(layerwise_draft(graph, rules, &work));

  const int64_t all = naive_bytes(graph, rules);
  Plan plan;
  if (options.chunks)
    plan = chunked_plan(graph, rules, options.chunks, &work);
  else if (options.schedule == Schedule::kNaive)
    plan = naive_plan(graph, rules, work.costs);
  else
    plan = finish(graph, *taken, &work);
  plan.shortcuts = work.shortcuts;
  plan.work = work.spent;
  plan.naive_bytes = all;
  plan.layerwise_bytes = layerwise_bytes;
  plan.fused_bytes = fused_bytes;
  return plan;
}

// Of plans with and without values inside of others, under a limit: the faster one of those that fit, or the smaller;
// without one the smaller, which the automatic schedule takes only where it saves more bytes than it costs time.
bool better(const Plan& plan, const Plan& than, const PlanOptions& options) {
  const int64_t limit = limit_of(options);
  if (limit == INT64_MAX && options.schedule == Schedule::kAuto)
    return double(plan.peak_bytes) * plan.cycles < double(than.peak_bytes) * than.cycles;
  const bool fits = plan.peak_bytes <= limit && limit < INT64_MAX;
  if (fits != (than.peak_bytes <= limit && limit < INT64_MAX)) return fits;
  if (fits && plan.cycles != than.cycles) return plan.cycles < than.cycles;
  return plan.peak_bytes < than.peak_bytes;
}

// Keeps the better one of two plans, and what both say of the network and of their making.
void take_better(Plan plan, const PlanOptions& options, Plan* best) {
  if (better(plan, *best, options)) std::swap(plan, *best);
  best->naive_bytes = std::min(best->naive_bytes, plan.naive_bytes);
  best->layerwise_bytes = std::min(best->layerwise_bytes, plan.layerwise_bytes);
  best->fused_bytes = std::min(best->fused_bytes, plan.fused_bytes);
  best->shortcuts |= plan.shortcuts;
  best->work += plan.work;
}

// Where memory is short, what several read may be made again and not held.
void try_again(const Graph& graph, const PlanOptions& options, const Homes& homes, Plan* best) {
  const bool searched = options.schedule == Schedule::kStreamed || options.schedule == Schedule::kAuto;
  if (!searched || options.chunks || limit_of(options) == INT64_MAX) return;
  for (int64_t bytes : held_sizes(graph, options)) {
    Plan plan = planned(graph, options, homes, bytes);
    plan.naive_bytes = best->naive_bytes;
    plan.layerwise_bytes = best->layerwise_bytes;
    plan.fused_bytes = best->fused_bytes;
    take_better(std::move(plan), options, best);
  }
}

}  // namespace

Plan make_plan(const Graph& graph, const PlanOptions& options) {
  check_supported(graph);
  const std::vector<Homes> homes = homes_to_try(graph);
  Plan best = planned(graph, options, homes[0]);
  for (size_t i = 1; i < homes.size(); i++) take_better(planned(graph, options, homes[i]), options, &best);
  try_again(graph, options, homes[0], &best);
  if (!options.least && best.peak_bytes > limit_of(options))
    refuse(options.schedule, best.peak_bytes, limit_of(options));
  share_out(graph, options, &best);
  return best;
}

}  // namespace mbinfer
