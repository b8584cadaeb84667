// The order of stages that needs the least memory: M(G) of the MobileNetV2 paper, section 5.1.
#pragma once

#include <vector>

#include "plan/homes.h"
#include "plan/plan.h"
#include "plan/work.h"

namespace mbinfer {

// Bytes that a stage needs beside the values alive: ordinarily, and where its input is read for the last time, over
// which its output may lie then (below 0: it needs less than both values).
struct StageScratch {
  int64_t beside = 0, over_input = 0;
};

// The stages' indices in that order. Values on the caller's side count nothing.
PageVector<int> least_memory_order(const Graph& graph, const Stages& stages, const Homes& homes,
                                   const PageVector<StageScratch>& scratch, Work* work);

}  // namespace mbinfer
