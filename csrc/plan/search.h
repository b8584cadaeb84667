// The streamed schedule: where to cut the network into segments, and the strips, chunks and rings inside each.
#pragma once

#include <memory>

#include "plan/plan.h"

namespace mbinfer {

// Over the ways to run `stages`, in the order in which they stand, by the search's own count of bytes, which places
// nothing.
class SegmentSearch {
 public:
  // recompute: strips may expand rows again. most: bytes that no answer exceeds.
  SegmentSearch(const Graph& graph, const std::vector<Stage>& stages, bool recompute, int64_t most);
  ~SegmentSearch();

  // Both set rows, chunk, step and keep of `stages` and return the segments. Empty: nothing fits.
  std::vector<Segment> smallest(std::vector<Stage>* stages, int64_t* bytes) const;  // at any cost
  std::vector<Segment> cheapest(int64_t limit, std::vector<Stage>* stages) const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mbinfer
