// Runs the strips of a plan on one thread. Every thread of a session goes through the same strips, steps and passes in
// the same order; a pass is done when its pieces are, whoever made them.
#pragma once

#include "exec/machine.h"
#include "exec/parts.h"
#include "exec/thread_pool.h"

namespace mbinfer {

struct StageTime {
  double seconds = 0;
};

struct Input {  // of the graph, as the caller holds it: whole, or a ring of the rows that were pulled
  View view;
  Type type = {};
  const Recipe* recipe = nullptr;  // where it is a picture
};

struct RowPuller {  // rows of the only input, one by one
  void (*pull)(void* context, int upto) = nullptr;
  void* context = nullptr;
};

struct Run {  // what all threads of a run share
  const Graph& graph;
  const Plan& plan;
  const KernelTable& kernels;
  const Machine& machine;
  char* arena;
  const Input* inputs;  // of the graph, in its order
  RowPuller puller;
};

class Runner {
 public:
  Runner(const Run& run, ThreadPool::Member& member) : run_(run), graph_(run.graph), plan_(run.plan), member_(member) {}
  void enter(int segment);  // moves the values that change their place before it
  void strip(int stage, int r0, int r1, Rows steps, StageTime* times);  // times: null, or where to add what it took

 private:
  struct Pieces {  // of a pass
    int total, grain, count;
    int edge(int piece) const;
  };

  void step(int stage, const Step& step);
  Pieces cut(const Stage& stage, const Step& step, const Pass& pass) const;
  int64_t work(const Stage& stage, const Step& step, int part) const;
  void make(int stage, const Step& step, const Pass& pass, int begin, int end);
  void make_patches(int stage, const Step& step, const Pass& pass, int begin, int end);
  void make_patches(const Stage& stage, int part, Rows rows, Range columns, int left, Task* convert, Task* conv);
  int64_t ahead_from(const Stage& stage, Rows makes) const;
  Task task_of(int stage, const Step& step, const Pass& pass, int part, int begin, int end) const;

  const Run& run_;
  const Graph& graph_;
  const Plan& plan_;
  ThreadPool::Member& member_;
  int segment_ = 0;
};

}  // namespace mbinfer
