// Threads that run one function together, take pieces of work from one another and meet at barriers. Between runs they
// sleep, after a short while; inside a run they spin, because a step takes microseconds. Threads inherit the caller's
// CPU set, and leave the CPU that the caller runs on to it.
#pragma once

#include <sched.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

namespace mbinfer {

class ThreadPool {
 public:
  explicit ThreadPool(int threads);
  ~ThreadPool();
  int threads() const { return threads_; }

  // Calls body(0) here and body(1 .. threads - 1) on the others; returns when all have returned.
  template <class Body>
  void run(Body& body) {
    run_raw([](void* context, int thread) { (*static_cast<Body*>(context))(thread); }, &body);
  }

  // Inside run(): waits until every thread has come here. What was written before is visible after.
  void barrier();

  // Inside run(): how many pieces of the share of thread `whose` were taken before this one, since the last barrier.
  int take(int whose) { return taken_[size_t(whose)].count.fetch_add(1, std::memory_order_relaxed); }

 private:
  using Function = void (*)(void*, int);
  void run_raw(Function function, void* context);
  void leave_to_caller(int cpu);
  void work(int thread);
  void stop();

  const int threads_;
  cpu_set_t allowed_;
  int callers_cpu_ = -1;
  Function function_ = nullptr;
  void* context_ = nullptr;
  struct alignas(64) Taken {  // a cache line each
    std::atomic<int> count{0};
  };

  std::atomic<unsigned> epoch_{0}, arrived_{0}, phase_{0};
  std::vector<Taken> taken_;
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::thread> workers_;
};

}  // namespace mbinfer
