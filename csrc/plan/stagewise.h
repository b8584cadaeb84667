// Plans in which every stage is a segment of its own: layer by layer, or one fused block after the other.
#pragma once

#include <vector>

#include "plan/draft.h"
#include "plan/lives.h"
#include "plan/order.h"
#include "plan/plan.h"
#include "plan/stages.h"
#include "plan/work.h"

namespace mbinfer {

// One way to run a stage over its whole map.
struct Way {
  int chunk, step;
  int64_t scratch;  // bytes
  int64_t overlap;  // bytes of its output that may lie over its input, where that is read for the last time
  double cycles;
};

// Sets a stage to run over its whole map, `chunk` channels and `step` rows at a time where it goes in steps.
void set_whole(const Graph& graph, Stage* stage, int chunk, int step);

// How many strips, and steps, a map may be cut into: all its rows, but for very many or very high maps.
int strips_allowed(const Graph& graph, const std::vector<Stage>& stages);

// The stages, in the order that needs the least memory when each runs the way that needs the least; the drafts of
// them are few choices of ways.
class Stagewise {
 public:
  // whole: in one step each, as kernels would be called one after the other; otherwise in every way.
  Stagewise(const Graph& graph, Schedule schedule, std::vector<Stage> stages, bool whole, Work* work);

  const std::vector<Stage>& stages() const { return *stages_; }
  const StageList& list() const { return stages_; }

  // Bytes that some stage needs even in its smallest way, before placement.
  int64_t counted() const { return counted_; }
  int64_t counted(int stage) const { return live_[size_t(stage)] + smallest_[size_t(stage)]; }

  // Each stage in its smallest way, and in the one of least scratch.
  Draft smallest() const;
  Draft least_scratch() const;

  // Each stage in its fastest way of those that stay in the cache and, beside the values alive, in `most` bytes.
  // `over`: an output that lies over its stage's input counts for less.
  Draft fastest(int64_t most, bool over) const;
  double fastest_cycles() const;  // with no bound on bytes, and without what values beyond the cache cost

 private:
  std::vector<Way> ways_of(const Stage& stage, int strips) const;
  int64_t bytes(int stage, const Way& way) const;  // beside the values alive
  const Way& fastest_way(int stage, int64_t most, bool over) const;
  Draft with(const std::vector<const Way*>& ways) const;

  const Graph& graph_;
  const Schedule schedule_;
  StageList stages_;
  const bool whole_;
  Work* work_;
  std::vector<std::vector<Way>> ways_;  // by stage
  std::vector<Life> lives_;
  std::vector<int64_t> live_;      // by stage: bytes of the values alive
  std::vector<int64_t> smallest_;  // by stage: the least bytes beside them
  int64_t counted_ = 0;
};

}  // namespace mbinfer
