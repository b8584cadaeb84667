// Plans in which every stage is a segment of its own: layer by layer, or one fused block after the other.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "pages.h"
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
  double cycles;
  int32_t scratch_lines, overlap_lines;  // of kArenaAlign bytes: thousands of ways are held

  int64_t scratch() const { return scratch_lines * kArenaAlign; }  // bytes
  // Bytes of its output that may lie over its input, where that is read for the last time.
  int64_t overlap() const { return overlap_lines * kArenaAlign; }
};

// Sets a stage to run over its whole map, `chunk` channels and `step` rows at a time where it goes in steps.
void set_whole(const Graph& graph, Stage* stage, int chunk, int step);

// How many strips, and steps, a map may be cut into: all its rows, but for very many or very high maps.
int strips_allowed(const Graph& graph, const Stages& stages);

// Stages whole, one after the other, each block split `chunks` ways. stages: those of the order.
Draft whole_draft(const Graph& graph, Schedule schedule, std::shared_ptr<const StageOrder> order, Stages stages,
                  int chunks, Work* work);

// The stages, in the order that needs the least memory when each runs the way that needs the least; the drafts of
// them are few choices of ways, and one that is chosen again is weighed once.
class Stagewise {
 public:
  // order: how stages are fused; their order is found. whole: in one step each, as kernels would be called one after
  // the other; otherwise in every way. known: whose ways are those of stages that both have, or null.
  Stagewise(const Graph& graph, Schedule schedule, StageOrder order, bool whole, Work* work,
            const Stagewise* known = nullptr);

  const Stages& stages() const { return stages_; }
  const std::shared_ptr<const StageOrder>& order() const { return order_; }
  Stages take_stages() { return std::move(stages_); }  // after which it is of no more use

  // Bytes that some stage needs even in its smallest way, before placement.
  int64_t counted() const { return counted_; }
  int64_t counted(int stage) const { return live_[size_t(stage)] + smallest(stage); }

  // Each stage in its smallest way, and in the one of least scratch.
  Candidate smallest();
  Candidate least_scratch();

  // Each stage in its fastest way of those that stay in the cache and, beside the values alive, in `most` bytes.
  // `over`: an output that lies over its stage's input counts for less.
  Candidate fastest(int64_t most, bool over);
  // The smallest that `fastest` finds of at most so many cycles, counted without placing anything.
  Candidate smallest_of(double cycles);
  double fastest_cycles() const;  // with no bound on bytes, and without what values beyond the cache cost

 private:
  struct Ways {  // of a stage, by rising cycles
    const Way *first, *last;
    const Way* begin() const { return first; }
    const Way* end() const { return last; }
  };
  Ways ways(int stage) const {
    const Way* first = ways_.data() + first_way_[size_t(stage)];
    return {first, first + way_count_[size_t(stage)]};
  }
  void find_stages(StageOrder order, const Stagewise* known);
  PageVector<Way> ways_of(const Stage& stage, const Homes& homes) const;
  int64_t bytes(int stage, const Way& way) const;  // beside the values alive
  int64_t smallest(int stage) const;               // the least of them
  double cycles_within(int64_t most) const;
  const Way& fastest_way(int stage, int64_t most, bool over) const;
  template <class WayOf>
  Candidate with(WayOf&& way_of);

  const Graph& graph_;
  const Schedule schedule_;
  std::shared_ptr<const StageOrder> order_;
  Stages stages_;
  int strips_ = 0;  // that a map is cut into at most
  const bool whole_;
  Work* work_;
  PageVector<Way> ways_;
  std::vector<int> first_way_;       // by stage
  std::vector<uint16_t> way_count_;  // by stage
  std::optional<Lives> lives_;
  PageVector<int64_t> live_;  // by stage: bytes of the values alive
  int64_t counted_ = 0;
  std::vector<std::weak_ptr<const Draft>> known_;
};

}  // namespace mbinfer
