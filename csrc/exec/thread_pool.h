// Threads that make the pieces of one pass after another together. A pass is done when its pieces are done, whoever
// made them: the thread that calls run() can finish everything alone, and a worker that comes late skips the passes
// that are done and joins at the next.
//
// The pieces of all passes are counted as they are made, in one word, and every thread knows where its pass begins and
// ends in that count: the one that adds the last piece lets the others go on by that alone. Pieces are taken from
// shares, one for each thread, by compare-and-swap on a word that holds where the pass begins, so that a thread that
// was away cannot take a piece of a pass that is over. A thread that has taken a piece is waited for; no other is.
#pragma once

#include <pthread.h>
#include <sched.h>

#include <atomic>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "exec/semaphore.h"

namespace mbinfer {

// How many forks lie between this process and the one that asked first. Cheap.
unsigned fork_count();

class ThreadPool {
 public:
  class Member;

  // Asked on the calling thread between passes, every 50 ms or so; true ends the run. It may throw.
  struct Poll {
    bool (*stop)(void* context);
    void* context;
  };

  // Starts threads - 1 workers; unless `oversubscribe`, no more than the CPUs of this thread's affinity mask can run
  // beside it. They block signals, and leave the CPU that the caller runs on to it.
  explicit ThreadPool(int threads, bool oversubscribe = false);
  ~ThreadPool();
  int threads() const { return threads_; }

  // Calls body(member) here and on the workers that come in time. Returns true when the passes are done, not when the
  // workers have returned: see Member::joined(). False: stop() or the poll ended it.
  template <class Body>
  bool run(const Body& body, Poll poll = {}) {
    return run_raw([](const void* body, Member& member) { (*static_cast<const Body*>(body))(member); }, &body, poll);
  }

  // The run that is going on, if any, ends before its next pass: all further passes make nothing. Async-signal-safe.
  void stop() { stop_.store(true, std::memory_order_relaxed); }

 private:
  // 64 bits never wrap. With 32, a thread would have to sleep through 16 million pieces of one run at one instruction.
  using Word = std::conditional_t<std::atomic<uint64_t>::is_always_lock_free, uint64_t, uint32_t>;
  static constexpr int kCountBits = 8;  // of a word of a share: pieces taken of it; above them where the pass begins
  static constexpr Word kPiece = 2;     // what a piece adds to the progress, whose last bit says that the run ends

  struct alignas(64) Share {  // a cache line each
    std::atomic<Word> taken{0};
  };
  static Word no_pieces(Word pass) { return pass / kPiece << kCountBits; }  // taken yet
  struct Worker {
    ThreadPool* pool = nullptr;
    int thread = 0;
    pthread_t handle;
    Semaphore wake;
    std::atomic<int> asleep{0};  // a word: not every CPU exchanges bytes
  };
  using Function = void (*)(const void* body, Member& member);

  bool run_raw(Function function, const void* body, Poll poll);
  void start();
  void quit();
  int choose_team();
  void leave_to_caller(const cpu_set_t& allowed);
  void open(int team);
  void close();
  void keep_account(const Member& caller, int64_t took);
  static void* work(void* worker);
  bool join(unsigned* seen);
  void sleep(Worker& worker, unsigned seen);

  const int threads_;
  const bool oversubscribe_;
  unsigned forks_;  // of this process when the workers were started: after another one there are none
  std::vector<Worker> workers_;
  int started_ = 0;  // of them
  cpu_set_t callers_mask_;
  int callers_cpu_ = -1;
  int64_t alone_until_ = 0;                           // by the monotonic clock: until then the caller runs alone
  int64_t alone_time_ = INT64_MAX / 2, balance_ = 0;  // nanoseconds: of a run without workers; saved by them

  // Of the run that is going on; written while the gate is closed.
  Function function_ = nullptr;
  const void* body_ = nullptr;
  std::atomic<int> team_{1};

  // gate_: epoch << 16 | open << 15 | workers between join and joined().
  alignas(64) std::atomic<unsigned> gate_{0};
  std::atomic<bool> quit_{false};
  // The pieces that were made, and whether the run ends with the pass of the last of them.
  alignas(64) std::atomic<Word> progress_{0};
  std::atomic<Word> base_{0};  // where the first pass of the run begins
  std::atomic<bool> stop_{false};
  std::vector<Share> shares_;
};

// A thread's part in one run.
class ThreadPool::Member {
 public:
  int thread() const { return thread_; }  // 0 is the one that called run()
  int team() const { return team_; }      // how many threads to cut work for

  // The body calls it when it has copied what it needs of the caller's. From then on run() may return, and another run
  // begin, while a worker is still on its way through the passes. Outside of pieces it may read only what no run
  // changes. In a piece everything is as the caller of run() has it.
  void joined();

  // Makes pieces [0, pieces) of the next pass, each once, by make(piece), on whichever thread takes it, and returns
  // when all are made. All threads call it with the same arguments, in the same order. At most 255 pieces for each
  // thread of the team; `make` may not throw.
  template <class Make>
  void parallel_for(int pieces, Make&& make) {
    if (pieces <= 0 || !begin_pass(pieces)) return;
    if (team_ == 1) return make_alone(pieces, make);
    int made = 0, taken_over = 0;
    for (int i = 0; i < team_; i++) {
      // With a piece each, the others have mostly begun theirs by now, and to look would take their cache lines away.
      if (i == 1 && pieces <= team_ && !others_late_ && ends_soon(pieces, &made)) return;
      const int whose = (thread_ + i) % team_, first = first_piece(pieces, whose);
      const int count = first_piece(pieces, whose + 1) - first;
      for (int n; (n = take(whose, count)) < count; made++, taken_over += i > 0) {
        if (poll_.stop) ask_caller(pieces, made);
        make(first + n);
      }
    }
    others_late_ = taken_over > 0;
    end_pass(pieces, made);
  }

  // A pass of one piece that only the calling thread makes; this one may throw, which ends the run.
  template <class Make>
  void on_caller(Make&& make) {
    if (!begin_pass(1)) return;
    if (thread_ > 0) return end_pass(1, 0);
    try {
      make();
    } catch (...) {  // also when the system unwinds a thread that has to end
      drop_pass(1, 0);
      throw;
    }
    end_pass(1, 1);
  }

  // The run has ended before its last pass.
  bool stopped() const { return stopped_; }

 private:
  friend class ThreadPool;
  Member(ThreadPool& pool, int thread, int team, Poll poll);
  int first_piece(int pieces, int thread) const { return int((int64_t(pieces) * thread + team_ - 1) / team_); }
  template <class Make>
  void make_alone(int pieces, Make& make) {
    for (int piece = 0; piece < pieces; piece++) {
      taken_ = piece + 1;
      if (poll_.stop) ask_caller(pieces, piece);
      make(piece);
    }
    go_on(pieces);
  }
  bool begin_pass(int pieces);
  bool is_over(int pieces) const;
  void report(int made);
  bool ends_soon(int pieces, int* made);
  void end_pass(int pieces, int made);
  void go_on(int pieces);
  int take(int whose, int count);
  void ask_caller(int pieces, int made);
  void drop_pass(int pieces, int made);

  ThreadPool& pool_;
  const int thread_, team_;
  const Poll poll_;
  const Word base_;
  Word pass_;  // where the next one begins
  bool joined_, stopped_ = false;
  bool others_late_ = false;  // pieces of theirs were left when this thread last looked
  int taken_ = 0;             // in a team of one
  int64_t next_poll_ = 0;
  int64_t made_ = 0, pieces_ = 0, waited_ = 0;  // nanoseconds
};

}  // namespace mbinfer
