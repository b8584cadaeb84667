// What a search knows at the cuts of its window, where one segment ends and the next one begins.
#pragma once

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "common.h"

namespace mbinfer {

// Cut n lies before stage n; the last one is the end of the window.
class Cuts {
  static constexpr double kRounding = 1 + 1e-9;  // of sums of cycles in another order

 public:
  // The best way found to run the stages before a cut: its cycles, or, at any cost, the bytes of its largest segment,
  // and its last segment: first stage and options.
  struct Reached {
    double cost = INFINITY;
    int from = -1;
    std::vector<int> options;
  };

  explicit Cuts(int count) : count_(count) {}

  // A search begins. least(stage): its fewest cycles; INFINITY where nothing fits.
  template <class Least>
  void start(bool at_any_cost, Least&& least) {
    at_any_cost_ = at_any_cost;
    bound_ = INFINITY;
    reached_.assign(size_t(count_) + 1, {});
    reached_[0].cost = 0;
    most_after_.assign(size_t(count_) + 1, INFINITY);
    most_after_.back() = 0;
    least_after_.assign(size_t(count_) + 1, 0);
    for (int s = count_ - 1; s >= 0; s--) least_after_[size_t(s)] = least_after_[size_t(s) + 1] + least(s);
  }

  // alone(stage): its cycles as a segment alone; INFINITY where it fits in none.
  template <class Alone>
  void end_alone(Alone&& alone) {
    for (int s = count_ - 1; s >= 0; s--) most_after_[size_t(s)] = most_after_[size_t(s) + 1] + alone(s);
  }

  // A plan that takes so many cycles is known: others have to be better.
  void bound(double cycles) { bound_ = cycles * kRounding; }
  bool beyond_bound(double cycles) const { return cycles > bound_; }

  double cost(int cut) const { return reached_[size_t(cut)].cost; }
  double least_after(int cut) const { return least_after_[size_t(cut)]; }  // no plan has fewer cycles
  double most_after(int cut) const { return most_after_[size_t(cut)]; }    // some plan has no more

  // Whether a plan may have a segment that begins with stage a.
  bool may_begin(int a) const { return cost(a) < INFINITY && cost(a) + least_after(a) <= bound_; }

  // Most cycles of a segment from stage a to stage b that may be part of a plan.
  double most_cycles(int a, int b) const { return bound_ - cost(a) - least_after(b + 1); }

  // Most cycles of stage b in a segment from stage a on: with more, even the cheapest ways of all other stages would
  // make it cost more than a plan that is known.
  double most_of_stage(int a, int b) const {
    if (at_any_cost_) return INFINITY;
    const double others = cost(a) + least_after(a) - least_after(b) + least_after(b + 1);
    return bound_ * kRounding - others;
  }

  // A better way to the cut after stage b. One that ends with every later stage alone is a plan.
  void reach(int b, Reached way) {
    reached_[size_t(b) + 1] = std::move(way);
    if (!at_any_cost_) bound_ = std::min(bound_, (cost(b + 1) + most_after(b + 1)) * kRounding);
  }

  bool has_plan() const { return reached_.back().from >= 0; }
  double best() const { return reached_.back().cost; }

  // each(segment, end) for the segments of the plan, the last one first.
  template <class Each>
  void for_each_segment(Each&& each) const {
    for (int end = count_; end > 0; end = reached_[size_t(end)].from) each(reached_[size_t(end)], end);
  }

 private:
  const int count_;
  bool at_any_cost_ = false;
  std::vector<Reached> reached_;  // by cut
  std::vector<double> least_after_, most_after_;
  double bound_ = INFINITY;  // cycles of a plan that is known
};

}  // namespace mbinfer
