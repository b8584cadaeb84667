// Threads that run one function together and meet at barriers. Between runs they sleep, after a short while; inside a run
// they spin, because a step takes microseconds. Threads inherit the caller's CPU set, and leave the CPU that the caller runs on to it.
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
  std::atomic<unsigned> epoch_{0}, arrived_{0}, phase_{0};
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::thread> workers_;
};

}  // namespace mbinfer
