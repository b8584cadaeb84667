#include "plan/automatic.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "plan/cost.h"

namespace mbinfer {

Automatic::Automatic(const Graph& graph, const PlanOptions& options, const StageRules& rules, const Fused& fused,
                     const Stagewise* known, int64_t limit, int64_t elsewhere, Work* work)
    : graph_(graph),
      options_(options),
      rules_(rules),
      fused_(fused),
      limit_(limit),
      elsewhere_(elsewhere),
      work_(work),
      automatic_(options.schedule == Schedule::kAuto),
      most_((automatic_ && fused.faster() ? fused.faster() : fused.unlimited())->peak_bytes),
      blocks_(blocks_within(graph, Schedule::kStreamed, Fusion::kAnyExpansion, rules, most_, work, known)) {}

Candidate Automatic::best() {
  Candidate fast;
  if (automatic_) {
    fast = blocks_->fastest(most_, false);
    if (is_enough(*fast)) return unlimited() ? smallest_of(fast) : fast;
  }
  Offers others = one_by_one(fast);
  fast.reset();
  const bool searched_whole = int(blocks_->stages().size()) <= kWindow;
  Streamer search = streamer();
  Candidate plan = fastest_of(&search);
  if ((automatic_ || plan->none()) && better(*others.best, *plan, limit_)) plan = others.best;
  if (automatic_ && unlimited() && searched_whole) plan = smallest_of(plan, others.best, &search);
  return no_more_than_least(std::move(plan), &others, &search);
}

// Whether memory hardly slows the stages one by one: then no search is needed. Values beyond the cache are a reason
// for one on one thread only: several divide the few rows of a strip badly.
bool Automatic::is_near_fastest(const Draft& plan) const {
  double cycles = blocks_->fastest_cycles();
  if (options_.threads > 1)
    for (const Stage& s : blocks_->stages())
      cycles +=
          (!graph_.values[s.input].held_by_caller() ? whole_value_cycles(work_->costs, graph_.values[s.input]) : 0) +
          whole_value_cycles(work_->costs, graph_.values[s.output]);
  return plan.cycles <= kNearFastest * cycles;
}

// Whether the fastest plan of stages one by one is taken without a search. Without a limit a search may still find a
// smaller one, where threads share strips well enough and the network is searched as a whole.
bool Automatic::is_enough(const Draft& fast) const {
  if (!unlimited()) return fast.peak_bytes <= std::min(limit_, most_) && is_near_fastest(fast);
  const bool too_long = !one_window();
  if ((options_.threads == 1 && !too_long) || !is_near_fastest(fast)) return false;
  if (too_long) work_->shortcuts |= kSegmentShortcut;
  return true;
}

// Plans of stages one by one. fast: the fastest of them, for the automatic schedule.
Offers Automatic::one_by_one(const Candidate& fast) {
  Offers offers{limit_, {}, {}};
  if (automatic_) {
    offers.offer(fast);
    if (fused_.faster()) offers.offer(fused_.faster());
    if (unlimited() && one_window())
      blocks_bytes_ = blocks_->counted();
    else
      offer_small(&*blocks_, &offers);
    if (limit_ < most_) offers.offer(fused_.limited());
  }
  offers.offer(fused_.unlimited());
  offers.offer_small(fused_.least());
  if (automatic_ && unlimited()) offers.best = smallest_of(offers.best);
  return offers;
}

// The smallest plan of blocks one by one, which is of use only next to a plan of as many bytes: by then the blocks have
// been given to the search, and are made again. Thousands of them would take too much memory beside it, and are offered
// at once.
void Automatic::offer_small_blocks(Offers* offers) {
  if (!blocks_bytes_) return;
  Stagewise blocks(blocks_within(graph_, Schedule::kStreamed, Fusion::kAnyExpansion, rules_, most_, work_));
  offer_small(&blocks, offers);
  blocks_bytes_ = 0;
}

// The smallest plan, of those that are found, that takes hardly longer than the fastest: of stages one by one ...
Candidate Automatic::smallest_of(const Candidate& fastest) {
  const double cycles = kNearFastest * fastest->cycles;
  const Candidate plan = blocks_->smallest_of(cycles);
  return plan->cycles <= cycles && plan->peak_bytes < fastest->peak_bytes ? plan : fastest;
}

// ... or joined into segments.
Candidate Automatic::smallest_of(const Candidate& fastest, const Candidate& one_by_one, Streamer* streamer) {
  const double cycles = kNearFastest * fastest->cycles;
  const Candidate& known = one_by_one->cycles <= cycles ? one_by_one : fastest;
  const Candidate plan = candidate(streamer->smallest_of(cycles, known->peak_bytes));
  return plan->none() ? known : plan;
}

// The search takes every block as one operator.
Streamer Automatic::streamer() {
  const std::vector<bool>& apart = blocks_->order()->apart;
  if (std::find(apart.begin(), apart.end(), true) != apart.end()) {
    blocks_.reset();
    blocks_.emplace(graph_, Schedule::kStreamed, StageOrder{Fusion::kAnyExpansion, rules_, {}, {}}, false, work_);
  }
  const std::shared_ptr<const StageOrder> order = blocks_->order();
  Stages stages = blocks_->take_stages();
  blocks_.reset();
  return Streamer(graph_, order, std::move(stages), options_.recompute, most_, work_);
}

// A search that is cut short leaves out ways of many bytes and of few alike; within less it looks at fewer.
Candidate Automatic::fastest_of(Streamer* streamer) {
  int64_t asked = std::min(limit_, most_);
  Candidate plan = candidate(options_.least ? Draft() : streamer->within(asked));
  for (int tries = 0; tries < kMostTries && !options_.least && work_->shortcuts & kSegmentShortcut; tries++) {
    asked = plan->none() ? asked / 4 * 3 : plan->peak_bytes / 2;
    const Candidate less = candidate(streamer->within(asked));
    if (less->none() || (!plan->none() && !better(*less, *plan, limit_))) break;
    plan = less;
  }
  return plan;
}

// The plan, or the least one where it does not fit, or takes more than that.
Candidate Automatic::no_more_than_least(Candidate plan, Offers* one_by_one, Streamer* streamer) {
  const bool fits = plan->peak_bytes <= limit_ && !plan->none();
  if (!fits || plan->peak_bytes >= blocks_bytes_) offer_small_blocks(one_by_one);
  if (fits && plan->peak_bytes >= one_by_one->least->peak_bytes) return plan;
  const int64_t known = fits ? plan->peak_bytes : one_by_one->least->peak_bytes;
  // Mostly there is one of half the bytes, whatever its placement wastes: then this one takes no less than the least.
  if (fits && streamer->fits(known / 2)) return plan;
  const Draft& small = streamer->smallest(known);
  if (fits && !small.none() && plan->peak_bytes >= small.peak_bytes) return plan;
  if (!fits) plan.reset();
  offer_small_blocks(one_by_one);
  one_by_one->best.reset();
  const Candidate least = candidate(streamer->least(known, elsewhere_));
  const Candidate& smaller = better(*one_by_one->least, *least, 0) ? one_by_one->least : least;
  return plan && plan->peak_bytes >= smaller->peak_bytes ? plan : smaller;
}

}  // namespace mbinfer
