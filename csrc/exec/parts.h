// The parts of stages: which function makes a piece of each operator.
#pragma once

#include "exec/task.h"

namespace mbinfer {

void make_part(const Task& task);

// Multiply-adds, or what takes as long, of one output element of a node without weights.
int work_per_element(const Node& node);

}  // namespace mbinfer
