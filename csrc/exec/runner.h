// Runs one strip of one stage on one thread. Every thread of a run goes through the same strips and steps in the same
// order; each part of a step is a pass of the thread pool.
#pragma once

#include "exec/session.h"
#include "plan/rows.h"

namespace mbinfer {

class Runner {
 public:
  Runner(Session& session, ThreadPool::Member& member);
  void enter(int segment);                                  // moves the values that change their place before it
  void strip(int stage, int r0, int r1, StageTime* times);  // times: null, or where to add what it took

 private:
  // Rows of float32 pixels, in a ring of `rows` rows.
  struct View {
    float* base;
    int rows, width;
    ptrdiff_t row_stride, stride;  // floats from row to row and from pixel to pixel
    float* row(int r) const { return base + r % rows * row_stride; }
    View from(int channel) const { return {base + channel, rows, width, row_stride, stride}; }
  };
  struct Part {  // a range of panels, pixels or rows
    int begin, end;
  };

  struct Channels {  // of a 1x1 convolution's input
    int first, count;
    bool from_bias;  // start at the bias, not at the sums in the output
  };

  View view(int value) const;
  int source_rows() const;
  template <class Make>
  void in_pieces(bool alone, int total, int grain, int64_t work, Make&& make);
  int64_t work(const Node& node, int pixels, int panels) const;  // multiply-adds, of so many of its outputs

  void step(const Stage& stage, const Step& step, int r0);
  bool shares_rows(const Stage& stage, Rows made) const;
  void load(const Stage& stage, int r0, int r1);
  // Each of these is a pass, cut into pieces for the threads; or, `alone`, part of a piece.
  void pointwise(const Node& node, View in, View out, Rows made, Channels channels, Part panels, const Finish* epilogue,
                 const View* residual, bool alone = false);
  void conv(const Stage& stage, const Node& node, View in, View out, Rows made, Part panels, Finish epilogue,
            const View* residual);
  const float* patch_row(const Stage& stage, const Node& node, int ky, int iy, int x0, int x1);
  void conv_row(const Node& node, const float* const* rows, ptrdiff_t in_stride, float* out, ptrdiff_t out_stride,
                int x0, int x1, Part panels, Finish epilogue);
  void spatial(const Stage& stage, const Step& step, int r0, View in, View out, int channel, int panels,
               bool alone = false);
  void add(const Stage& stage, Rows made);

  Session& session_;
  const Graph& graph_;
  const Plan& plan_;
  const KernelTable& table_;
  const Kernels& kernels_;
  ThreadPool::Member& member_;
  const Picture* const pictures_;  // by value; this thread's copy
  const bool pulls_;               // rows of the input come one by one
  const int threads_;
  int segment_ = 0;
};

}  // namespace mbinfer
