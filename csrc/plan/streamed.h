// The streamed schedule: where to cut the network into segments, and the strips, chunks and rings inside each.
#pragma once

#include "plan/plan.h"

namespace mbinfer {

struct Search {
  int64_t limit;
  bool recompute;            // strips may expand rows again
  bool at_any_cost = false;  // look for the least bytes, not the least cycles
};

// Sets rows, chunk, step and keep of `stages` (in the order in which they run) and returns the segments: the cheapest whose
// memory is at most `limit` bytes by the search's own count. Empty: nothing fits.
std::vector<Segment> choose_segments(const Graph& graph, const Search& search, std::vector<Stage>* stages);

// The smallest limit for which choose_segments() finds segments, if there is one up to search.limit; otherwise -1.
int64_t least_limit(const Graph& graph, const Search& search, const std::vector<Stage>& stages);

}  // namespace mbinfer
