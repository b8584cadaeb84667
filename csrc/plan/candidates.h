// Plans that compete: drafts, of which the best and the smallest are kept.
#pragma once

#include <memory>
#include <utility>

#include "plan/draft.h"

namespace mbinfer {

// Of two plans the one to take under a limit: one that fits, and of those the faster; otherwise the smaller.
inline bool better(const Draft& plan, const Draft& than, int64_t limit) {
  if (plan.none() || than.none()) return !plan.none();
  if ((plan.peak_bytes <= limit) != (than.peak_bytes <= limit)) return plan.peak_bytes <= limit;
  return plan.peak_bytes <= limit ? plan.cycles < than.cycles : plan.peak_bytes < than.peak_bytes;
}

inline Candidate candidate(Draft draft) { return std::make_shared<const Draft>(std::move(draft)); }

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

}  // namespace mbinfer
