// Breadth-first over the sets of stages already run: two orders of the same set leave the same values alive, so only
// the better one is kept. A chain has one set on each level; where a level has more than kBeam, the search is no longer
// exact.
#include "plan/order.h"

#include <algorithm>
#include <map>

#include "plan/stages.h"

namespace mbinfer {
namespace {

constexpr size_t kBeam = 1024;

struct State {
  std::vector<bool> done;
  int64_t live = 0, peak = 0;
  int parent = -1, stage = -1;  // index in the previous level
};

}  // namespace

Order least_memory_order(const Graph& graph, const std::vector<Stage>& stages, const std::vector<int64_t>& scratch) {
  const int count = int(stages.size());
  std::vector<std::vector<int>> readers(graph.values.size());
  std::vector<int> producer(graph.values.size(), -1);
  for (int s = 0; s < count; s++) {
    producer[stages[s].output] = s;
    for (int v : {stages[s].input, stages[s].residual})
      if (v >= 0 && stages[s].load < 0 && (readers[v].empty() || readers[v].back() != s)) readers[v].push_back(s);
  }
  auto bytes = [&](int v) { return round_up(graph.values[v].bytes(), kArenaAlign); };

  Order order;
  order.exact = true;
  std::vector<std::vector<State>> levels(1);
  levels[0].push_back({std::vector<bool>(count, false), 0, 0, -1, -1});
  for (int level = 0; level < count; level++) {
    std::vector<State> next;
    std::map<std::vector<bool>, int> seen;
    for (int i = 0; i < int(levels[level].size()); i++) {
      const State& state = levels[level][i];
      for (int s = 0; s < count; s++) {
        auto ready = [&](int v) { return v < 0 || producer[v] < 0 || stages[s].load == v || state.done[producer[v]]; };
        if (state.done[s] || !ready(stages[s].input) || !ready(stages[s].residual)) continue;
        State after = state;
        after.done[s] = true;
        after.parent = i;
        after.stage = s;
        after.live += bytes(stages[s].output);
        after.peak = std::max(state.peak, after.live + scratch[s]);
        auto release = [&](int v) {
          if (v < 0 || producer[v] < 0 || stages[s].load == v || graph.values[v].is_output) return;
          for (int r : readers[v])
            if (!after.done[r]) return;
          after.live -= bytes(v);
        };
        release(stages[s].input);
        if (stages[s].residual != stages[s].input) release(stages[s].residual);
        auto found = seen.find(after.done);
        if (found == seen.end()) {
          seen[after.done] = int(next.size());
          next.push_back(std::move(after));
        } else if (after.peak < next[found->second].peak) {
          next[found->second] = std::move(after);
        }
      }
    }
    if (next.size() > kBeam) {
      order.exact = false;
      std::stable_sort(next.begin(), next.end(), [](const State& a, const State& b) {
        return a.peak != b.peak ? a.peak < b.peak : a.live < b.live;
      });
      next.resize(kBeam);
    }
    levels.push_back(std::move(next));
  }
  const State* state = &levels[count][0];
  for (const State& other : levels[count])
    if (other.peak < state->peak) state = &other;
  order.peak_bytes = state->peak;
  for (int level = count; level > 0; level--) {
    order.stages.push_back(state->stage);
    state = &levels[level - 1][state->parent];
  }
  std::reverse(order.stages.begin(), order.stages.end());
  return order;
}

}  // namespace mbinfer
