// Plans of blocks that run one after the other, each as one operator: the scheme of the MobileNetV2 paper.
#pragma once

#include <cstdint>

#include "plan/candidates.h"
#include "plan/stagewise.h"

namespace mbinfer {

// Blocks fused as far as `fusion` goes. One that as an operator would need more than `most` bytes is left in its nodes.
// known: as of Stagewise.
Stagewise blocks_within(const Graph& graph, Schedule schedule, Fusion fusion, const StageRules& rules, int64_t most,
                        Work* work, const Stagewise* known = nullptr);

// Offers plans of blocks in few bytes: the fastest that the largest need of a block leaves, and, where the placement of
// that takes more, the smallest way of every block.
void offer_small(Stagewise* blocks, Offers* offers);

// The fused schedule. The drafts are made at once, and need the blocks no more.
class Fused {
 public:
  // layerwise: a plan of no blocks, which it is never worse than. blocks: within the bytes of that one.
  Fused(Stagewise* blocks, int64_t limit, const Candidate& layerwise, int threads);

  const Candidate& least() const { return least_; }  // no plan of any limit takes less
  const Candidate& unlimited() const { return unlimited_; }
  // The fastest way of every block of at most the limit's bytes; it may take more.
  const Candidate& limited() const { return limited_; }
  Candidate within_limit() const;
  // The plan of no blocks, where it is much faster, as on narrow maps, of which few rows of a block are few pixels; or
  // null.
  const Candidate& faster() const { return faster_; }

 private:
  const int64_t limit_;
  Candidate least_, unlimited_, limited_, faster_;
};

// Each block split `chunks` ways over its whole map.
Draft chunked_draft(const Graph& graph, const StageRules& rules, int chunks, Work* work);

}  // namespace mbinfer
