#include "plan/lives.h"

#include <algorithm>
#include <utility>

namespace mbinfer {

Lives::Lives(const Graph& graph, const Stages& stages, const Homes& homes)
    : graph_(graph), homes_(homes), stages_(stages.size()), lives_(graph.values.size()) {
  for (int v = 0; v < int(lives_.size()); v++)
    if (home(v) != v) lives_[size_t(home(v))].shared = true;
  for (const State& state : graph.states) lives_[size_t(home(state.value))].maker = kLastRun;
  for (int s = 0; s < int(stages.size()); s++) {
    Life& made = lives_[size_t(home(stages[s].output))];
    if (made.maker < 0) made.maker = s;
    for_each_read(graph, stages[s], [&](int v) {
      Life& life = lives_[size_t(home(v))];
      if (life.last_reader != s) life.readers++;
      life.last_reader = s;
    });
  }
  for (const GraphOutput& out : graph.outputs) lives_[size_t(home(out.value))].last_reader = kCaller;
  for (const State& state : graph.states)
    for (int v : {state.value, state.next}) lives_[size_t(home(v))].last_reader = kCaller;
}

bool Lives::reads_beside(const Stage& stage, int in) const {
  bool beside = false;
  for_each_read(graph_, stage, [&](int v) { beside = beside || (v != in && home(v) == home(in)); });
  return beside;
}

bool Lives::frees_input(const Stage* segment, int first, int count) const {
  const int in = segment[0].input, last = first + count - 1;
  const Life& life = of(in);
  if (life.maker < 0 || life.last_reader < first || life.last_reader > last) return false;
  return begins(segment[count - 1], last) &&
         (!life.shared || std::none_of(segment, segment + count, [&](const Stage& s) { return reads_beside(s, in); }));
}

PageVector<int64_t> Lives::live_bytes() const {
  PageVector<int64_t> live(stages_ + 1, 0);
  for (size_t v = 0; v < lives_.size(); v++) {
    const Life& life = lives_[v];
    if (life.maker < 0) continue;
    const int64_t bytes = round_up(graph_.values[v].bytes(), kArenaAlign);
    live[life.maker == kLastRun ? 0 : size_t(life.maker)] += bytes;
    const size_t after = life.last_reader == kCaller ? stages_ : size_t(std::max(life.maker, life.last_reader)) + 1;
    live[after] -= bytes;
  }
  for (size_t s = 1; s < live.size(); s++) live[s] += live[s - 1];
  live.pop_back();
  return live;
}

Homes homes_of(const Plan& plan) {
  PageVector<Home> homes;
  homes.reserve(plan.values.size());
  for (const Placement& placed : plan.values) homes.push_back(placed.home);
  return Homes(std::move(homes));
}

}  // namespace mbinfer
