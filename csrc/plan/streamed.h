// The streamed schedule: where to cut the network into segments, and the strips, chunks and rings inside each.
#pragma once

#include "plan/plan.h"

namespace mbinfer {

// Sets rows, chunk, step and keep of `stages` (in the order in which they run) and returns the segments: the cheapest whose
// memory is at most `limit` bytes by the search's own count, or, at any cost, some that are. Empty: nothing fits.
std::vector<Segment> choose_segments(const Graph& graph, int64_t limit, bool at_any_cost, std::vector<Stage>* stages);

// The smallest limit for which choose_segments() finds segments at any cost, if there is one up to `limit`; otherwise -1.
int64_t least_limit(const Graph& graph, int64_t limit, const std::vector<Stage>& stages);

}  // namespace mbinfer
