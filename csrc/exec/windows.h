// Operators over windows of pixels: convolutions, dense layers and pools.
#pragma once

#include "exec/task.h"

namespace mbinfer {

void conv(const Task& task);
void depthwise(const Task& task);
void max_pool(const Task& task);
void avg_pool(const Task& task);
void global_avg_pool(const Task& task);

// Output pixels [x0, x1) of one row of any convolution. rows: its rows of the input from `in.first_column` on, null
// outside.
void conv_row(const Task& task, const void* const* rows, int row, int x0, int x1);

}  // namespace mbinfer
