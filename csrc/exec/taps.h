// Convolutions of any window, as calls of the matrix kernel: which pixels of the input meet which rows of weights.
#pragma once

#include "exec/task.h"

namespace mbinfer {

class Convolution {
 public:
  explicit Convolution(const Task& task);
  void make(int row, int x0, int x1);  // output pixels [x0, x1) of a row

 private:
  // Panels that read the same channels of some neighbouring pixels, which see the same taps [kx0, kx1) of the window.
  struct Run {
    int x, pixels;
    int kx0, kx1;
    Range panels;
    int channel;  // of the input, the first that the panels read
  };

  GemmArgs shared_arguments() const;
  void pixels(int x, int count);
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
  GemmArgs args_;
  Finish finish_;
  int finish_panel_;  // of which it is
  const void* rows_[kMaxKernel];
  int row_ = 0;
};

}  // namespace mbinfer
