// The parts of stages: for each operator a function that makes one piece. None of them knows of steps, strips or
// threads.
#pragma once

#include "kernels/kernels.h"
#include "plan/views.h"

namespace mbinfer {

struct Task {  // what to make, and of what
  const Graph& graph;
  const KernelTable& kernels;
  const Node& node;
  const Node* add;                                // an addition to what it makes, or null
  Window y, x;                                    // the node's
  int in_height = 1, in_width = 1;                // of its input
  View in = {}, out = {}, sums = {}, added = {};  // from the first of `channels` and of `panels`
  Rows reads = {}, makes = {};                    // rows of the input and of the output
  int begin = 0, end = 0;                         // pixels of the rows that it makes, counted row by row
  Range panels = {};                              // of the node's output
  Range channels = {};                            // of its input
  bool starts = true, ends = true;                // sums begin at the bias; they are finished
  Type in_type = {};                              // of a conversion: what the caller holds, or another value's
  const Recipe* recipe = nullptr;                 // of a conversion of a picture
};

void make_part(const Task& task);

// Multiply-adds, or what takes as long, of one output element of a node without weights.
int work_per_element(const Node& node);

// Output pixels [x0, x1) of one row of any convolution. rows: its rows of the input from `in.first_column` on, null
// outside.
void conv_row(const Task& task, const void* const* rows, int row, int x0, int x1);

// What the weights of `inputs` inputs of a tap take: rows of the packed weights, and inputs with those that fill them
// up.
inline int rows_of(const Node& node, int inputs) { return ceil_div(inputs, node.row_inputs()); }
inline int filled_up(const Node& node, int inputs) { return round_up(inputs, node.row_inputs()); }

const void* bias_of(const Task& task, int panel);  // of the node's panel

// What is done to its finished sums, pixel `x` of row `row` first, panel `panel` of the node first.
Finish finish_of(const Task& task, int row, int x, int panel);

}  // namespace mbinfer
