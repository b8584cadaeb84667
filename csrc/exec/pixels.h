// Operators that make each pixel of the same pixel of their inputs, or of those next to it: arithmetic, normalisation,
// conversions, resizing.
#pragma once

#include "exec/task.h"

namespace mbinfer {

void add(const Task& task);
void mul(const Task& task);
void sub(const Task& task);
void max(const Task& task);
void min(const Task& task);
void div(const Task& task);
void resize(const Task& task);
void softmax(const Task& task);
void norm(const Task& task);
void lookup(const Task& task);
void convert(const Task& task);

// What the table has for the numbers of `in`, which may be what is made.
void look_up(const Task& task, const View& in, const void* table);

}  // namespace mbinfer
