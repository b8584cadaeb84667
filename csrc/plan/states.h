// States: values that outlive a run. What holds one lives in the arena throughout, from run to run, and no stage writes
// to it. After the last stage each state becomes what the run left in its next value: a copy, or, where that lies some
// rows further on in the same memory, a move of these rows, which slide over those that are not needed any more. A run
// that ends early has changed no state.
#pragma once

#include "plan/homes.h"
#include "plan/views.h"

namespace mbinfer {

// The states in an order in which none becomes its next value while another one still has to be read from its place.
std::vector<int> states_in_order(const Graph& graph, const Homes& homes);

// Where the pixels of a state lie, and those of what it becomes.
struct Carry {
  View to, from;
};
Carry carry_of(const Graph& graph, const Plan& plan, const State& state);

}  // namespace mbinfer
