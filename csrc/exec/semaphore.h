// A counting semaphore, because one that other threads wait at can be set up anew in the child of a fork, where
// condition variables and mutexes cannot.
#pragma once

#include <semaphore.h>
#include <time.h>

#include <cerrno>
#include <cstdint>

namespace mbinfer {

class Semaphore {
 public:
  explicit Semaphore(unsigned count = 0) { reset(count); }
  Semaphore(const Semaphore&) = delete;
  ~Semaphore() { sem_destroy(&semaphore_); }

  // Forgets who waits.
  void reset(unsigned count) { sem_init(&semaphore_, 0, count); }
  void post() { sem_post(&semaphore_); }
  void wait() {
    while (sem_wait(&semaphore_) && errno == EINTR) {
    }
  }
  bool wait_for(int64_t nanoseconds) {
    timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += time_t((until.tv_nsec + nanoseconds) / 1000000000);
    until.tv_nsec = long((until.tv_nsec + nanoseconds) % 1000000000);
    int failed;
    while ((failed = sem_timedwait(&semaphore_, &until)) && errno == EINTR) {
    }
    return !failed;
  }

 private:
  sem_t semaphore_;
};

}  // namespace mbinfer
