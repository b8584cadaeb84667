// Runs one strip of one stage on one thread. Every thread of a session runs the same strips and steps in the same order,
// takes its share of each part, and meets the others at a barrier after it.
#pragma once

#include "exec/session.h"
#include "plan/rows.h"

namespace mbinfer {

class Runner {
 public:
  Runner(Session& session, int thread);
  void strip(int stage, int r0, int r1, StageTime* times);

 private:
  // Rows of float32 pixels, in a ring of `rows` rows.
  struct View {
    float* base;
    int rows, width;
    ptrdiff_t row_stride, stride;  // floats from row to row and from pixel to pixel
    float* row(int r) const { return base + r % rows * row_stride; }
  };
  struct Part {  // a thread's share of `total`
    int begin, end;
  };

  View view(int value) const;
  Part share(int total, int grain) const;

  void step(const Stage& stage, const Step& step, int r0);
  void load(const Stage& stage, int r0, int r1);
  void pointwise(const Node& node, View in, int in_row, View out, int out_row, int rows, int k0, int k, int panel0, int panels,
                 const float* bias, const Epilogue* epilogue, const View* residual);
  void conv(const Stage& stage, const Node& node, View out, int t0, int t1, Epilogue epilogue);
  void conv_row(const Node& node, const float* const* rows, int in_width, ptrdiff_t in_stride, float* out, ptrdiff_t out_stride,
                int x0, int x1, Epilogue epilogue);
  void spatial(const Stage& stage, const Step& step, int r0, View in, View out, int channel, int panels);
  void add(const Stage& stage, int t0, int t1);

  Session& session_;
  const Graph& graph_;
  const Plan& plan_;
  const KernelTable& kernels_;
  const int thread_, threads_;
};

}  // namespace mbinfer
