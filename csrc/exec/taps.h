// Convolutions of any window, as calls of the matrix kernel: which pixels of the input meet which rows of weights.
#pragma once

#include "exec/task.h"

namespace mbinfer {

class Convolution {
 public:
  explicit Convolution(const Task& task);
  // Output pixels [x0, x1) of a row, or of such rows as even_rows() finds alike.
  void make(Rows rows, int x0, int x1);
  bool joins_rows() const { return !sums_wait_here_; }

 private:
  // Panels that read the same channels of some pixels, in a row or one below the other, which see the same taps
  // [kx0, kx1) of the window.
  struct Run {
    int x, pixels;
    bool down;
    int kx0, kx1;
    Range panels;
    int channel;  // of the input, the first that the panels read
  };

  GemmArgs shared_arguments() const;
  Range inside(int x0, int x1) const;  // of these pixels of a row, those whose taps all lie inside
  void begin_at(int row);
  void pixels(int x, int count, bool down);
  void multiply(const Run& run);
  void multiply(const Run& run, char* sums);
  void tell(const Run& run, char* sums);

  const Task& task_;
  const Node& node_;
  const Window& window_;
  const Value &in_, &out_;
  const Kernels& kernels_;
  const int sum_bytes_, element_bytes_;
  const PanelChannels read_;
  const int inputs_, tap_rows_;  // of a tap: filled up to whole rows of weights, and these rows
  const bool whole_rows_;        // a kernel row's channels follow one another in memory
  const bool sums_wait_here_;    // between calls, and not in the output
  GemmArgs args_;
  Finish finish_;
  int finish_panel_;  // of which it is
  const void* rows_[kMaxKernel];
  int row_ = 0;
};

}  // namespace mbinfer
