// A session: one model, one plan, one arena. After construction nothing is allocated.
#pragma once

#include <exception>
#include <memory>

#include "exec/thread_pool.h"
#include "kernels/kernels.h"
#include "model/reader.h"
#include "plan/plan.h"

namespace mbinfer {

struct SessionOptions {
  PlanOptions plan;
  std::string isa;  // "": the fastest
};

struct Picture {  // one input: contiguous HWC, float32 (normalised already) or uint8 (normalised by the model's recipe)
  const void* data;
  DType dtype;
};

// Rows of an image as they arrive: writes row `row` (0, 1, 2 ... in order, width * channels elements) to `to`. An
// exception ends the run and is passed on.
struct RowSource {
  void (*pull)(void* context, int row, void* to);
  void* context;
};

struct StageTime {
  double seconds = 0;
};

class Session {
 public:
  Session(std::shared_ptr<const Model> model, const SessionOptions& options);

  const Graph& graph() const { return model_->graph; }
  const Plan& plan() const { return plan_; }
  const KernelTable& kernels() const { return kernels_; }
  int threads() const { return pool_.threads(); }

  // inputs, outputs: in the graph's order. Outputs are float32, contiguous HWC. `times`: null, or one entry for each
  // stage to add to. Error(kShape) where an input's dtype does not suit the model. Callers on several threads wait in
  // turn.
  void run(const Picture* inputs, float* const* outputs, StageTime* times = nullptr);

  // The same for a model with one input whose rows are pulled one by one: plan().input_rows of them are held, in a
  // buffer beside the arena that the first call allocates. All rows are pulled, those that no stage reads too.
  void run_rows(DType dtype, RowSource rows, float* const* outputs);

  // Error(kArgument) on the thread that is inside run or run_rows: a source of rows cannot run its own session.
  void check_not_inside() const;

  const uint8_t* arena() const { return arena_.get(); }
  bool canaries_intact() const;

 private:
  friend class Runner;

  std::shared_ptr<const Model> model_;
  Plan plan_;
  const KernelTable& kernels_;
  ThreadPool pool_;
  struct Free {
    void operator()(uint8_t* p) const;
  };
  std::unique_ptr<uint8_t, Free> arena_;
  std::mutex running_;
  void check_input(size_t input, DType dtype) const;
  void execute(float* const* outputs, StageTime* times);
  void pull(int upto);  // on thread 0: rows of the pulled input, until `upto` are there

  RowSource source_ = {nullptr, nullptr};  // during run_rows
  std::vector<uint8_t> pulled_rows_;       // its ring
  int pulled_ = 0;
  std::exception_ptr failure_;              // of the source
  std::atomic<std::thread::id> runner_;     // the thread inside run()
  std::vector<Picture> pictures_;           // by value: what the caller gave, during run
  std::vector<std::vector<int>> produced_;  // by thread: rows made, by stage
};

}  // namespace mbinfer
