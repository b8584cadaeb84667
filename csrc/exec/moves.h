// Operators that move numbers and compute nothing.
#pragma once

#include "exec/task.h"

namespace mbinfer {

void concat(const Task& task);
void stack(const Task& task);
void slice(const Task& task);
void shuffle(const Task& task);
void depth_to_space(const Task& task);

}  // namespace mbinfer
