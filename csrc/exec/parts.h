// The parts of stages: which function makes a piece of each operator.
#pragma once

#include "exec/task.h"

namespace mbinfer {

void make_part(const Task& task);

// The last of it: where the node, or what is added to it, has a table, what that has for the numbers that were made.
void look_up_made(const Task& task);

// Multiply-adds, or what takes as long, of one output element of a node without weights.
int work_per_element(const Node& node);

}  // namespace mbinfer
