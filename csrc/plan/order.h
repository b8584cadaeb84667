// The order of stages that needs the least memory: M(G) of the MobileNetV2 paper, section 5.1.
#pragma once

#include <cstdint>
#include <vector>

#include "plan/plan.h"

namespace mbinfer {

struct Order {
  std::vector<int> stages;
  int64_t peak_bytes = 0;  // values alive plus scratch, before placement
  bool exact = false;      // no other order needs less
};

// `scratch[s]`: what stage s needs beside its values. Values on the caller's side count nothing.
Order least_memory_order(const Graph& graph, const std::vector<Stage>& stages, const std::vector<int64_t>& scratch);

}  // namespace mbinfer
