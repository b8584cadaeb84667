// Operators over windows of pixels: convolutions, dense layers and pools.
#pragma once

#include "exec/task.h"

namespace mbinfer {

void conv(const Task& task);
void depthwise(const Task& task);
void max_pool(const Task& task);
void avg_pool(const Task& task);
void global_avg_pool(const Task& task);

// Any convolution, row by row.
void conv_rows(const Task& task);

// The rows of the input that a window over one output row sees, from the view's first column on; null outside.
void window_rows(const Task& task, int row, const void** rows);

// Where output rows from `row` on end, at `end` at most, that lie at one distance in memory, as all rows do that they
// see, of which none is outside; no more than `row`: that one sees rows outside, or such that a ring's end cuts.
int even_rows(const Task& task, int row, int end);

}  // namespace mbinfer
