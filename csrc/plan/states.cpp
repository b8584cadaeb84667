#include "plan/states.h"

#include <algorithm>

namespace mbinfer {

// Topological: a state waits for those whose next values lie over it. There is no circle: what lies over a state is
// larger than it, or has more pixels, but for rows of its own memory, which homes.cpp leaves to it alone.
std::vector<int> states_in_order(const Graph& graph, const Homes& homes) {
  const std::vector<State>& states = graph.states;
  auto waits = [&](size_t state, size_t other) {
    return state != other && homes.overlap(graph, states[other].next, states[state].value);
  };
  std::vector<int> blocked(states.size(), 0), order;
  for (size_t i = 0; i < states.size(); i++)
    for (size_t other = 0; other < states.size(); other++) blocked[i] += waits(i, other);
  for (size_t i = 0; i < states.size(); i++)
    if (!blocked[i]) order.push_back(int(i));
  for (size_t at = 0; at < order.size(); at++)
    for (size_t i = 0; i < states.size(); i++)
      if (waits(i, size_t(order[at])) && --blocked[i] == 0) order.push_back(int(i));
  if (order.size() < states.size()) throw Error(ErrorKind::kInternal, "states that wait for one another");
  return order;
}

Carry carry_of(const Graph& graph, const Plan& plan, const State& state) {
  const int after = int(plan.segments.size());
  return {value_view(graph, plan, state.value, after), value_view(graph, plan, state.next, after)};
}

}  // namespace mbinfer
