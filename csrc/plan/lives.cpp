#include "plan/lives.h"

#include <algorithm>

namespace mbinfer {

std::vector<Life> lives_of(const Graph& graph, const std::vector<Stage>& stages) {
  std::vector<Life> lives(graph.values.size());
  for (int s = 0; s < int(stages.size()); s++) {
    lives[size_t(stages[s].output)].maker = s;
    for_each_read(stages[s], [&](int v) {
      Life& life = lives[size_t(v)];
      if (!life.readers++) life.first_reader = s;
      life.last_reader = s;
    });
  }
  for (const GraphOutput& out : graph.outputs) {
    Life& life = lives[size_t(out.value)];
    life.last_reader = kCaller;
    if (life.first_reader < 0) life.first_reader = kCaller;
  }
  return lives;
}

std::vector<int64_t> live_bytes(const Graph& graph, const std::vector<Stage>& stages, const std::vector<Life>& lives) {
  std::vector<int64_t> live(stages.size() + 1, 0);
  for (size_t v = 0; v < lives.size(); v++) {
    const Life& life = lives[v];
    if (life.maker < 0) continue;
    const int64_t bytes = round_up(graph.values[v].bytes(), kArenaAlign);
    live[size_t(life.maker)] += bytes;
    const size_t after =
        life.last_reader == kCaller ? stages.size() : size_t(std::max(life.maker, life.last_reader)) + 1;
    live[after] -= bytes;
  }
  for (size_t s = 1; s < live.size(); s++) live[s] += live[s - 1];
  live.pop_back();
  return live;
}

}  // namespace mbinfer
