#include "plan/streamed.h"

#include <algorithm>
#include <utility>

#include "plan/rows.h"

namespace mbinfer {
namespace {

bool smaller(const Draft& plan, const Draft& than) {
  return !plan.none() && (than.none() || plan.peak_bytes < than.peak_bytes);
}

// A stage that sees nothing but padding lets those before it idle, and the search counts their rings.
bool sees_padding_only(const Graph& graph, const Stage& stage) {
  return strip_rows(graph, stage, 0, graph.values[stage.output].shape.height).end <= 0;
}

int64_t multiply_adds_again(const Graph& graph, double share) {
  double all = 0;
  for (const Node& node : graph.nodes) all += double(macs(graph, node));
  return all > 0 ? int64_t(std::min(all * share, 9e18)) : 0;  // any share of nothing is nothing
}

}  // namespace

Streamer::Streamer(const Graph& graph, std::shared_ptr<const StageOrder> order, Stages stages, double recompute,
                   int64_t most, Work* work)
    : graph_(graph),
      work_(work),
      order_(std::move(order)),
      stages_(std::move(stages)),
      most_(most),
      most_again_(multiply_adds_again(graph, recompute)),
      lives_(graph, stages_, order_->rules.homes),
      search_(graph, stages_, lives_, work->costs, most_again_ > 0, most, work) {}

const Draft& Streamer::smallest(int64_t known) {
  if (smallest_.order && (!smallest_.none() || known <= known_)) return smallest_;
  known_ = known;
  smallest_.schedule = Schedule::kStreamed;
  smallest_.order = order_;
  search_.smallest(known, &smallest_.splits, &counted_);
  if (!smallest_.none()) weigh(graph_, lives_, &smallest_, &stages_, work_);
  return smallest_;
}

Draft Streamer::least(int64_t known, int64_t elsewhere) {
  Draft best;
  if (smallest(known).none() && smallest(INT64_MAX).none()) return best;
  bool overcounted = false;
  for (const Stage& s : stages_) overcounted = overcounted || sees_padding_only(graph_, s);
  if (!overcounted && counted_ > elsewhere) return best;
  for (double more : {1.0, 1.01, 1.03, 1.06}) {
    Draft plan = attempt(int64_t(double(counted_) * more));
    if (smaller(plan, best)) best = std::move(plan);
    if (!best.none() && best.peak_bytes <= counted_) break;
    if (allowed(smallest_) && smallest_.peak_bytes <= counted_) break;  // no other one takes less
  }
  if (allowed(smallest_) && smaller(smallest_, best)) best = smallest_;
  if (best.none()) return least_of_few(known);
  if (!overcounted && best.peak_bytes <= counted_) return best;
  Draft plan = attempt(INT64_MAX);  // any plan may be smaller
  return smaller(plan, best) ? plan : best;
}

Draft Streamer::within(int64_t limit) {
  for (int64_t counted = limit, tries = 0; tries < kMostTries && counted > 0; tries++) {
    Draft plan = attempt(counted);
    if (plan.none() || plan.peak_bytes <= limit) return plan;
    counted -= plan.peak_bytes - limit;
  }
  return {};
}

// Each time in fewer bytes than what was found last takes, which is mostly less than was allowed: to find some plan is
// a tenth of the work of seeing that there is none. In as few bytes as some plan takes, the cheapest one is placed.
Draft Streamer::smallest_of(double cycles, int64_t bytes) {
  Draft best;
  int64_t least = bytes;  // of a plan that is known
  double known = cycles;  // of that one
  const int64_t spent_before = work_->spent;
  int tries = 0;
  for (double step : kSmallestSteps)
    for (bool fits = true; fits && tries < kSmallestTries; tries++) {
      if (work_->spent - spent_before > kSmallestWork) {
        work_->shortcuts |= kSegmentShortcut;
        break;
      }
      int64_t takes = 0;
      double takes_cycles = cycles;
      Draft plan = any(int64_t(double(least) / step), &takes_cycles, kSmallestSearch, &takes);
      fits = !plan.none();
      if (fits) least = takes, known = takes_cycles, best = std::move(plan);
    }
  if (!best.none()) {
    Draft plan = found(search_, least, known, kSmallestSearch);
    if (!plan.none()) best = std::move(plan);
  } else {  // where every try was cut short, one may take all of the work (DeepLabv3-V2@513 in int8: 588 KiB of 2,382)
    best = found(search_, bytes / 4, cycles, kSearchWork);
  }
  if (best.none()) return best;
  weigh(graph_, lives_, &best, &stages_, work_);
  if (!allowed(best)) best = attempt(least, cycles);
  return best.cycles <= cycles && best.peak_bytes < bytes ? best : Draft();
}

// By bisection, at the highest price; then, in as many bytes, the fastest.
Draft Streamer::least_of_few(int64_t known) {
  Draft best;
  int64_t low = counted_, high = known;
  for (int tries = 0; tries < kLeastTries && high - low >= kArenaAlign; tries++) {
    const int64_t counted = tries ? int64_t(std::sqrt(double(low) * double(high))) : high;
    Draft plan = attempt_at(kPrices[std::size(kPrices) - 1], counted);
    if (allowed(plan) && (best.none() || plan.peak_bytes <= best.peak_bytes)) {
      high = std::min(counted, plan.peak_bytes);
      best = std::move(plan);
    } else if (tries) {
      low = counted;
    }
  }
  if (best.none()) return best;
  Draft plan = attempt(best.peak_bytes);
  return allowed(plan) && plan.peak_bytes <= best.peak_bytes && plan.cycles < best.cycles ? plan : best;
}

Draft Streamer::attempt(int64_t counted, double cycles) {
  Draft plan = attempt_at(0, counted, cycles);
  for (double price : kPrices) {
    if (plan.none() || allowed(plan)) return plan;
    plan = attempt_at(price, counted, cycles);
  }
  return allowed(plan) ? plan : Draft();
}

Draft Streamer::attempt_at(double price, int64_t counted, double cycles) {
  if (price > 0 && price != price_) {
    CostModel costs = work_->costs;
    costs.again = price_ = price;
    priced_.reset();
    priced_.reset(new SegmentSearch(graph_, stages_, lives_, costs, true, most_, work_));
  }
  // A plan that may be costs no more than that, but one of far more cycles than the smallest plan.
  if (price > 0 && !smallest_.none()) cycles = std::min(cycles, 2 * smallest_.cycles);
  Draft plan = found(price > 0 ? *priced_ : search_, counted, cycles + price * double(most_again_), kSearchWork);
  if (!plan.none()) weigh(graph_, lives_, &plan, &stages_, work_);
  return plan.cycles <= cycles ? plan : Draft();
}

bool Streamer::fits(int64_t counted) const {
  int64_t takes = 0;
  double cycles = INFINITY;
  return !any(counted, &cycles, kSearchWork, &takes).none();
}

Draft Streamer::any(int64_t counted, double* cycles, int64_t work, int64_t* takes) const {
  Draft plan;
  plan.schedule = Schedule::kStreamed;
  plan.order = order_;
  search_.any(counted, cycles, work, &plan.splits, takes);
  return plan;
}

Draft Streamer::found(const SegmentSearch& search, int64_t counted, double cost, int64_t work) const {
  Draft plan;
  plan.schedule = Schedule::kStreamed;
  plan.order = order_;
  search.cheapest(counted, cost, work, &plan.splits);
  return plan;
}

}  // namespace mbinfer
