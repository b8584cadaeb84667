// A plan while it is weighed against others: what was chosen, and what came of it. All else follows from that, the
// stages too, and is made once, for the plan that is taken: drafts are of some tens of bytes a stage, plans of
// hundreds.
#pragma once

#include <memory>
#include <vector>

#include "plan/lives.h"
#include "plan/placing.h"
#include "plan/plan.h"
#include "plan/stages.h"
#include "plan/work.h"

namespace mbinfer {

// How a list of stages is made again: fused so, and in this order.
struct StageOrder {
  Fusion fusion;
  StageRules rules;
  std::vector<bool> apart;  // nodes that are not fused
  PageVector<int> order;    // of the stages that make_stages() gives

  Stages stages(const Graph& graph) const;
};

// Moves stage order[i] to place i.
void put_in_order(const PageVector<int>& order, Stages* stages);

struct Split {  // what is chosen of a stage, in a word: drafts of networks of thousands of stages are compared
  Split() : rows(0), step(0), panels(0), keep(false), ends(false) {}
  Split(int rows, int chunk, int step, bool keep)
      : rows(unsigned(rows)), step(unsigned(step)), panels(unsigned(chunk / kPanel)), keep(keep), ends(false) {}
  uint64_t rows : 20, step : 20, panels : 20, keep : 1;
  uint64_t ends : 1;  // a segment
  int chunk() const { return int(panels) * kPanel; }
  bool operator==(const Split& o) const {
    return rows == o.rows && step == o.step && panels == o.panels && keep == o.keep && ends == o.ends;
  }
};

static_assert(sizeof(Split) == 8, "a word");

struct Draft {
  Schedule schedule = Schedule::kFused;
  std::shared_ptr<const StageOrder> order;
  PageVector<Split> splits;  // by stage; none: there is no such plan
  int64_t peak_bytes = 0;
  double cycles = 0;
  int64_t extra_macs = 0;  // done again
  Placed placed;

  bool none() const { return splits.empty(); }
};

using Candidate = std::shared_ptr<const Draft>;  // one of those that are compared

void apply(const Split& split, Stage* stage);

Plan finish(const Graph& graph, const Draft& draft, Work* work);

// Sets the bytes and cycles of the plan that it would be. stages: those of its order; they are laid out where they are.
void weigh(const Graph& graph, const Lives& lives, Draft* draft, Stages* stages, Work* work);

}  // namespace mbinfer
