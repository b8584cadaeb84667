// Where the rows lie that a part reads and writes, and which channels it takes of them. The executor and the checker of
// plans ask here, so that what is checked is what runs.
#pragma once

#include <cstddef>

#include "plan/rows.h"

namespace mbinfer {

struct View {              // rows of pixels, whole or a ring
  char* memory = nullptr;  // the arena, or an array of the caller's
  int64_t base = 0;        // in it: row `first`, column `first_column`
  int first = 0, rows = 1;
  ptrdiff_t row_stride = 0, pixel_stride = 0;  // bytes
  int first_column = 0, width = 0;

  int64_t offset(int row, int column) const {
    const int at = row - first;  // most often inside, and a division takes as long as a small piece of work
    return base + (at < rows ? at : at % rows) * row_stride + (column - first_column) * pixel_stride;
  }
  char* at(int row, int column = 0) const { return memory + offset(row, column); }
  // The first row after `row` that does not lie one row's distance behind the one before it.
  int wrap(int row) const { return row + rows - (row - first) % rows; }
  // The first row after `row` whose pixel 0 does not come right after the last pixel of the row before it.
  int joined(int row) const { return row_stride == width * pixel_stride ? wrap(row) : row + 1; }
};

// A value in the arena, while a segment runs.
View value_view(const Graph& graph, const Plan& plan, int value, int segment);

// Panels of its output that a part makes in a step, and channels of its input that it reads.
Range made_panels(const Graph& graph, const Stage& stage, int part, int chunk);
Range read_channels(const Graph& graph, const Stage& stage, int part, int chunk);

// The rows that part `part` hands to the next one in a step, from the first channel that the step makes.
View ring_view(const Graph& graph, const Stage& stage, int part, const Step& step);

// What a part reads and writes in a step, from the first channel of read_channels() and made_panels(); a patch that is
// handed over within a pass is made by patch_view().
View input_view(const Graph& graph, const Plan& plan, int stage, int part, const Step& step, int segment);
View output_view(const Graph& graph, const Plan& plan, int stage, int part, const Step& step, int segment);
// The second value that a part reads: the gate of a product inside a block, what the last part adds; -1: none.
inline int added_value(const Stage& stage, int part) {
  return stage.gate >= 0 && part == stage.through ? stage.gate : part == stage.last() ? stage.residual : -1;
}
View added_view(const Graph& graph, const Plan& plan, int stage, int part, const Step& step, int segment);
// Where its sums wait: by themselves, or in the output_view() `out`.
View sums_view(const Graph& graph, const Stage& stage, int part, const View& out);

// Of an input that is converted for one convolution: a ring of as many rows as one of its rows sees, and some columns.
View patch_view(const Graph& graph, const Stage& stage, int part, Range columns, int copy);

}  // namespace mbinfer
