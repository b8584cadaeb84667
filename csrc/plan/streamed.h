// The streamed schedule: where to cut the network into segments, and the strips, chunks and rings inside each.
#pragma once

#include "plan/plan.h"

namespace mbinfer {

// Sets rows, chunk, step and keep of `stages` (in the order in which they run) and returns the segments: the cheapest whose
// memory is at most `limit` bytes by the search's own count, or, for limit 0, the smallest. Empty: nothing fits.
std::vector<Segment> choose_segments(const Graph& graph, int64_t limit, std::vector<Stage>* stages);

}  // namespace mbinfer
