// A piece of work on one node, and what every operator's function tells its kernel alike. Nothing here knows of steps,
// strips or threads.
#pragma once

#include <algorithm>

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
  const Plan* plan = nullptr;                     // where the values lie that it gathers, in a segment
  int segment = 0;
  int64_t ahead_from = 0;  // bytes of a call's weights from which on they are asked for before they are used
};

// An input of a node that gathers values, or joins two.
inline View gathered(const Task& task, size_t input) {
  View view = value_view(task.graph, *task.plan, task.node.inputs[input], task.segment);
  view.memory = task.out.memory;
  return view;
}

inline const Value& input_of(const Task& task) { return task.graph.values[task.node.inputs[0]]; }
inline const Value& output_of(const Task& task) { return task.graph.values[task.node.output]; }
inline const Kernels& kernels_of(const Task& task) { return task.kernels.of(output_of(task).type.dtype); }

// Calls make(row, x, pixels) for runs of pixels: rows that follow one another in memory, as joined(row) says of all
// that is read and written, are one run.
template <class Joined, class Make>
void by_run(const Task& w, Joined&& joined, Make&& make) {
  const int width = w.out.width;
  for (int p = w.begin; p < w.end;) {
    const int row = w.makes.begin + p / width, x = p % width;
    const int last = std::min(w.makes.end, joined(row));
    const int pixels = std::min(w.end, (last - w.makes.begin) * width) - p;
    make(row, x, pixels);
    p += pixels;
  }
}

// Calls make(row, x0, x1) for what there is of each row.
template <class Make>
void by_row(const Task& w, Make&& make) {
  by_run(w, [](int row) { return row + 1; }, [&](int row, int x, int pixels) { make(row, x, x + pixels); });
}

// What the weights of `inputs` inputs of a tap take: rows of the packed weights, and inputs with those that fill them
// up.
inline int rows_of(const Node& node, int inputs) { return ceil_div(inputs, node.row_inputs()); }
inline int filled_up(const Node& node, int inputs) { return round_up(inputs, node.row_inputs()); }

ActivationArgs activation(const Node& node, int panel);  // from the node's panel `panel` on

// What a node's kernel makes: what a table is asked about, where there is one.
const Type& made_by(const Task& task, const Node& node);

// A node whose halves are rounded away from a number: its kernel takes that one for the zero point of both types, which
// are the same, and a factor that is larger by less than any other fraction of kMaxHalved numbers, or of weights of 10
// bits, needs to be rounded up.
constexpr auto kBeyondHalf = 1 + 1.0f / (1 << 21);

template <class Args>
void round_halves(const Task& task, Args* args) {
  if (task.node.halves_from < 0) return;
  args->in_type.zero_point = args->out_type.zero_point = task.node.halves_from;
  args->in_type.scale *= kBeyondHalf;
}

const void* bias_of(const Task& task, int panel);  // of the node's panel

// What is done to its finished sums, from panel `panel` of the node on; and where what is added to them lies, from
// pixel `x` of row `row` on.
Finish finish_of(const Task& task, int panel);
const char* residual_of(const Task& task, int row, int x, int panel);

}  // namespace mbinfer
