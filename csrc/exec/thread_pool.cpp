#include "exec/thread_pool.h"

#include <pthread.h>

#include <chrono>

namespace mbinfer {
namespace {

inline void pause_cpu() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__) || (defined(__arm__) && __ARM_ARCH >= 7)
  asm volatile("yield");
#endif
}

// Spins for some microseconds, what a step's imbalance takes; then gives the CPU to whoever has work, which on a busy
// machine may be the thread that is waited for.
template <class Done>
void spin_until(Done&& done) {
  for (unsigned i = 0; !done(); i++) {
    if (i < 256)
      pause_cpu();
    else
      std::this_thread::yield();
  }
}

// How long a worker looks out for the next run before it sleeps: waking it takes as long.
constexpr std::chrono::microseconds kLookout(100);

}  // namespace

ThreadPool::ThreadPool(int threads) : threads_(threads), taken_(size_t(threads)) {
  if (sched_getaffinity(0, sizeof allowed_, &allowed_)) CPU_ZERO(&allowed_);
  try {
    for (int t = 1; t < threads; t++) workers_.emplace_back([this, t] { work(t); });
  } catch (...) {  // the system has no more threads: those that started have to end before their handles go
    stop();
    throw;
  }
}

ThreadPool::~ThreadPool() { stop(); }

void ThreadPool::stop() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

// A worker that wakes on the caller's CPU stays there for a millisecond or two, which is longer than a small network
// takes.
void ThreadPool::leave_to_caller(int cpu) {
  if (cpu == callers_cpu_ || cpu < 0 || CPU_COUNT(&allowed_) < threads_) return;
  callers_cpu_ = cpu;
  cpu_set_t others = allowed_;
  CPU_CLR(cpu, &others);
  for (std::thread& worker : workers_)
    pthread_setaffinity_np(worker.native_handle(), sizeof others, &others);  // a wish: it may fail
}

void ThreadPool::run_raw(Function function, void* context) {
  if (threads_ == 1) return function(context, 0);
  leave_to_caller(sched_getcpu());
  {
    std::lock_guard<std::mutex> lock(mutex_);
    function_ = function;
    context_ = context;
    epoch_.fetch_add(1, std::memory_order_release);
  }
  wake_.notify_all();
  function(context, 0);
  barrier();
}

void ThreadPool::work(int thread) {
  for (unsigned seen = 0;; seen++) {
    const auto sleep_at = std::chrono::steady_clock::now() + kLookout;
    spin_until([&] {
      return stop_ || epoch_.load(std::memory_order_acquire) != seen || std::chrono::steady_clock::now() > sleep_at;
    });
    {
      std::unique_lock<std::mutex> lock(mutex_);
      wake_.wait(lock, [&] { return stop_ || epoch_ != seen; });
      if (stop_) return;
    }
    function_(context_, thread);
    barrier();
  }
}

void ThreadPool::barrier() {
  if (threads_ == 1) return;
  const unsigned phase = phase_.load(std::memory_order_acquire);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == unsigned(threads_)) {
    arrived_.store(0, std::memory_order_relaxed);
    for (Taken& taken : taken_) taken.count.store(0, std::memory_order_relaxed);
    phase_.store(phase + 1, std::memory_order_release);
  } else {
    spin_until([&] { return phase_.load(std::memory_order_acquire) != phase; });
  }
}

}  // namespace mbinfer
