// Operators that pick: of each row the largest channels or the best boxes, which become one pixel.
#pragma once

#include "exec/task.h"

namespace mbinfer {

void argmax(const Task& task);
void candidates(const Task& task);
void nms(const Task& task);

}  // namespace mbinfer
