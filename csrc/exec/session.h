// A session: one model, one plan, one arena. After construction nothing is allocated.
#pragma once

#include <memory>
#include <thread>

#include "exec/float_mode.h"
#include "exec/runner.h"
#include "exec/thread_pool.h"
#include "kernels/kernels.h"
#include "model/reader.h"
#include "pages.h"
#include "plan/plan.h"

namespace mbinfer {

struct SessionOptions {
  PlanOptions plan;
  std::string isa;             // "": the fastest
  bool plan_only = false;      // no arena and no threads: run and run_rows are refused
  bool oversubscribe = false;  // start threads for which there is no CPU, too: for tests
};

constexpr int kMaxThreads = 256, kMaxChunks = 65536;

// Error(kArgument) where a number is out of its range, or options do not go together. 0 chunks: the planner chooses.
void check_options(const SessionOptions& options);

// One input: contiguous HWC, of the dtype that the model says, uint8 where it has a recipe; or float32, real numbers
// that are normalised already.
struct Picture {
  const void* data;
  DType dtype;
};

// Rows of an image as they arrive: writes row `row` (0, 1, 2 ... in order, width * channels elements) to `to`. An
// exception ends the run and is passed on.
struct RowSource {
  void (*pull)(void* context, int row, void* to);
  void* context;
};

class Session {
 public:
  Session(std::shared_ptr<const Model> model, const SessionOptions& options);

  const Graph& graph() const { return model_->graph; }
  const Plan& plan() const { return plan_; }
  const KernelTable& kernels() const { return kernels_; }
  int threads() const { return threads_; }

  // A thread's turn at running the session, for as long as it lives: others wait. Error(kArgument) on the thread that
  // is inside of a run (a source of rows cannot run its own session), and where the run that goes on has waited for a
  // row for two seconds, as it does if the row is to come from this turn. `poll` is asked while it waits and while it
  // runs; Error(kStopped) where it says so.
  class Turn {
   public:
    explicit Turn(Session& session, ThreadPool::Poll poll = {});
    Turn(const Turn&) = delete;
    ~Turn();

   private:
    friend class Session;
    Session& session_;
    const ThreadPool::Poll poll_;
  };

  // inputs, outputs: in the graph's order. Outputs are contiguous HWC, of the dtype that the model says. `times`: null,
  // or one entry for each stage to add to. Error(kShape) where an input's dtype does not suit the model;
  // Error(kStopped) after interrupt(): nothing is written then.
  void run(const Turn& turn, const Picture* inputs, void* const* outputs, StageTime* times = nullptr);
  void run(const Picture* inputs, void* const* outputs) { run(Turn(*this), inputs, outputs); }

  // The same for a model with one input whose rows are pulled one by one: plan().input_rows of them are held, in a
  // buffer beside the arena that the first call allocates. All rows are pulled, those that no stage reads too.
  void run_rows(const Turn& turn, DType dtype, RowSource rows, void* const* outputs);
  void run_rows(DType dtype, RowSource rows, void* const* outputs) { run_rows(Turn(*this), dtype, rows, outputs); }

  // Makes the states what they were at first. A run that ends early, stopped or by an error, leaves them as they were
  // before it.
  void reset(const Turn& turn);
  void reset() { reset(Turn(*this)); }

  // Ends the run that is going on, if any. Async-signal-safe.
  void interrupt() { pool_.stop(); }

  const uint8_t* arena() const { return arena_; }
  bool canaries_intact() const;

 private:
  void after_fork();
  void check_ready() const;
  void check_input(size_t input, DType dtype) const;
  void write_states();  // their first content
  void carry_states();  // what the run that ends left of them
  void execute(void* const* outputs, StageTime* times, ThreadPool::Poll poll);
  void make_passes(ThreadPool::Member& member, StageTime* times);
  void pull(int upto);  // on the calling thread: rows of the pulled input, until `upto` are there

  std::shared_ptr<const Model> model_;
  const KernelTable& kernels_;
  const Machine& machine_ = machine();  // asked as a session opens: a run reads no files and allocates nothing
  Plan plan_;
  Pages block_;  // the arena between two canaries
  uint8_t* arena_ = nullptr;
  std::vector<Recipe> recipes_;  // of each input, with its factor

  Semaphore turn_{1};
  std::atomic<std::thread::id> running_thread_;  // whose turn it is
  std::atomic<unsigned> forks_;                  // of this process when that was last true
  std::atomic<unsigned> row_in_pull_{0};         // the row that its source is asked for, from 1 on

  // Of the run that is going on.
  RowSource source_ = {nullptr, nullptr};  // during run_rows
  std::vector<uint8_t> pulled_rows_;       // its ring
  int pulled_ = 0;
  FloatMode::Word callers_mode_ = 0;
  std::vector<std::vector<Input>> inputs_;  // by thread, a copy each: what the caller gave

  const int threads_;
  std::vector<std::vector<int>> produced_;  // by thread: rows made, by stage
  ThreadPool pool_;                         // last: its threads may look at all of the above until it goes
};

}  // namespace mbinfer
