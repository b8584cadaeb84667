#include "exec/thread_pool.h"

#include <signal.h>
#include <time.h>

#include <algorithm>
#include <system_error>

#include "exec/pause.h"

namespace mbinfer {
namespace {

constexpr unsigned kOpen = 1u << 15, kJoining = kOpen - 1, kEpoch = 1u << 16;
constexpr int64_t kMicrosecond = 1000, kMillisecond = 1000 * kMicrosecond;
constexpr int64_t kLookout = 100 * kMicrosecond;   // a worker looks out for the next run: waking it takes as long
constexpr int64_t kPatience = 300 * kMicrosecond;  // who waits within a run gives the CPU away, then sleeps
constexpr int kGlance = 64;  // times: who has made its piece looks so often whether the others have made theirs
constexpr int64_t kNap = 50 * kMicrosecond;
constexpr int64_t kPollEvery = 50 * kMillisecond;  // Python may take 5 ms to answer
constexpr int64_t kMostCredit = 10 * kMillisecond;
constexpr size_t kStack = size_t(128) << 10;  // workers call kernels, which take 20 KiB, and nothing of the user's

int64_t now(clockid_t clock = CLOCK_MONOTONIC) {
  timespec time;
  clock_gettime(clock, &time);
  return int64_t(time.tv_sec) * 1000 * kMillisecond + time.tv_nsec;
}

// Spins for some microseconds, what a step's imbalance takes; then gives the CPU to whoever has work, which on a busy
// machine may be the thread that is waited for; then sleeps, because what is waited for may be a camera. Returns how
// long it took, 0 if it only spun.
template <class Done>
int64_t spin_until(Done&& done) {
  for (int i = 0; i < 256; i++) {
    if (done()) return 0;
    pause_cpu();
  }
  const int64_t start = now();
  int64_t waited = 0;
  for (; !done(); waited = now() - start) {
    const timespec nap = {0, kNap};
    waited < kPatience ? void(sched_yield()) : void(nanosleep(&nap, nullptr));
  }
  return waited;
}

std::atomic<unsigned> forks{0};

// Signals that a thread causes itself stay, and those of profilers.
void block_signals(sigset_t* before) {
  sigset_t blocked;
  sigfillset(&blocked);
  for (int own : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS, SIGPROF}) sigdelset(&blocked, own);
  pthread_sigmask(SIG_BLOCK, &blocked, before);
}

}  // namespace

unsigned fork_count() {
  static const int registered = pthread_atfork(nullptr, nullptr, [] { forks.fetch_add(1); });
  return static_cast<void>(registered), forks.load(std::memory_order_relaxed);
}

ThreadPool::ThreadPool(int threads, bool oversubscribe)
    : threads_(threads), oversubscribe_(oversubscribe), shares_(size_t(threads)) {
  CPU_ZERO(&callers_mask_);
  int workers = threads - 1;
  cpu_set_t allowed;
  if (!oversubscribe && !sched_getaffinity(0, sizeof allowed, &allowed))
    workers = std::min(workers, CPU_COUNT(&allowed) - 1);
  workers_ = std::vector<Worker>(size_t(workers));
  start();
  if (started_ < workers) {  // those that started have to end before the pool goes
    quit();
    throw std::system_error(EAGAIN, std::generic_category(), "cannot start " + std::to_string(workers) + " threads");
  }
}

ThreadPool::~ThreadPool() { quit(); }

void ThreadPool::start() {
  forks_ = fork_count();
  started_ = 0;
  sigset_t signals;
  pthread_attr_t attributes;
  if (pthread_attr_init(&attributes)) return;
  pthread_attr_setstacksize(&attributes, kStack);
  block_signals(&signals);
  for (Worker& worker : workers_) {
    worker.pool = this;
    worker.thread = started_ + 1;
    // Thread-local variables lie on the stack as well, and a program may have more of them than that.
    if (pthread_create(&worker.handle, &attributes, work, &worker) &&
        pthread_create(&worker.handle, nullptr, work, &worker))
      break;
    started_++;
  }
  pthread_sigmask(SIG_SETMASK, &signals, nullptr);
  pthread_attr_destroy(&attributes);
}

void ThreadPool::quit() {
  if (forks_ != fork_count()) return;  // the workers are the parent's
  quit_ = true;
  for (int i = 0; i < started_; i++) workers_[size_t(i)].wake.post();
  for (int i = 0; i < started_; i++) pthread_join(workers_[size_t(i)].handle, nullptr);
}

// How many threads to cut the work of a run for: more than there are CPUs would only take turns.
int ThreadPool::choose_team() {
  if (forks_ != fork_count()) {  // in the child of a fork: forget the workers, and what they were at, and start others
    gate_ = 0;
    for (Worker& worker : workers_) {
      worker.wake.reset(0);
      worker.asleep = 0;
    }
    start();
  }
  if (started_ == 0) return 1;
  if (oversubscribe_) return started_ + 1;
  if (alone_until_ && now() < alone_until_) return 1;
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed)) return started_ + 1;
  const int team = std::min(started_ + 1, CPU_COUNT(&allowed));
  if (team > 1) leave_to_caller(allowed);
  return team;
}

// A worker that wakes on the caller's CPU stays there for a millisecond or two, which is longer than a small network
// takes.
void ThreadPool::leave_to_caller(const cpu_set_t& allowed) {
  const int cpu = sched_getcpu();
  if (cpu < 0 || (cpu == callers_cpu_ && CPU_EQUAL(&allowed, &callers_mask_))) return;
  callers_cpu_ = cpu;
  callers_mask_ = allowed;
  cpu_set_t others = allowed;
  CPU_CLR(cpu, &others);
  for (int i = 0; i < started_; i++)  // a wish: it may fail
    pthread_setaffinity_np(workers_[size_t(i)].handle, sizeof others, &others);
}

void ThreadPool::open(int team) {
  team_ = team;
  const Word base = (progress_.load(std::memory_order_relaxed) | 1) + 1;  // no run before began here
  for (int i = 0; i < team; i++) shares_[size_t(i)].taken.store(no_pieces(base), std::memory_order_relaxed);
  base_.store(base, std::memory_order_relaxed);
  progress_.store(base, std::memory_order_release);
  // Sequentially consistent, as sleep() is: a worker sees the gate open, or is seen asleep.
  gate_.store(((gate_.load(std::memory_order_relaxed) & ~(kEpoch - 1)) + kEpoch) | kOpen);
  for (int i = 0; i < team - 1; i++) {
    Worker& worker = workers_[size_t(i)];
    if (worker.asleep.load() && worker.asleep.exchange(0)) worker.wake.post();
  }
}

void ThreadPool::close() {
  gate_.fetch_and(~kOpen);
  // In the child of a fork nobody comes in any more.
  spin_until([&] { return !(gate_.load(std::memory_order_acquire) & kJoining) || forks_ != fork_count(); });
}

bool ThreadPool::run_raw(Function function, const void* body, Poll poll) {
  stop_.store(false, std::memory_order_relaxed);
  const int team = choose_team();
  struct Closing {
    ThreadPool* pool;
    ~Closing() {
      if (pool) pool->close();
    }
  } closing = {nullptr};
  const int64_t start = started_ ? now() : 0;
  if (team > 1) {
    function_ = function;
    body_ = body;
    open(team);
    closing.pool = this;
  }
  Member caller(*this, 0, team, poll);
  function(body, caller);
  if (started_) keep_account(caller, now() - start);
  return !caller.stopped_;
}

// Beside other programs the caller may wait longer for workers that are off their CPU, a piece in hand, than their help
// saves. An account of both says when it is better off alone, for eight times as long as was lost: thus at most an
// eighth of the time is.
void ThreadPool::keep_account(const Member& caller, int64_t took) {
  if (caller.stopped_) return;
  // What one thread takes: the least seen of late, because a run may be long for many reasons.
  const int64_t busy = took - caller.waited_;
  if (caller.team_ == 1 || caller.made_ > 0) {
    const double rest = caller.team_ == 1 ? 1 : double(caller.pieces_) / double(caller.made_);
    alone_time_ = std::min(int64_t(double(busy) * rest), alone_time_ + alone_time_ / 16 + 1);
  }
  if (caller.team_ == 1) return;
  balance_ = std::min(kMostCredit, balance_ + std::max(alone_time_ - took, -caller.waited_));
  if (balance_ >= 0) return;
  alone_until_ = now() - 8 * balance_;
  balance_ = 0;
}

void* ThreadPool::work(void* opaque) {
  Worker& worker = *static_cast<Worker*>(opaque);
  ThreadPool& pool = *worker.pool;
  for (unsigned seen = 0; !pool.quit_;) {
    if (pool.join(&seen)) {
      Member member(pool, worker.thread, pool.team_, {});
      if (worker.thread < pool.team_) pool.function_(pool.body_, member);
      member.joined();
    } else {
      pool.sleep(worker, seen);
    }
  }
  return nullptr;
}

// Enters the run that is going on, if it is not the one of the epoch that was seen last.
bool ThreadPool::join(unsigned* seen) {
  unsigned gate = gate_.load(std::memory_order_acquire);
  do {
    if (!(gate & kOpen) || gate / kEpoch == *seen) return false;
  } while (!gate_.compare_exchange_weak(gate, gate + 1, std::memory_order_acquire));
  *seen = gate / kEpoch;
  return true;
}

// Until there is a run to join, or none to come.
void ThreadPool::sleep(Worker& worker, unsigned seen) {
  auto called = [&] {
    const unsigned gate = gate_.load();
    return quit_ || ((gate & kOpen) && gate / kEpoch != seen && worker.thread < team_);
  };
  const int64_t sleep_at = now() + kLookout;
  bool tired = false;
  spin_until([&] { return called() || (tired = now() > sleep_at); });
  if (!tired) return;
  worker.asleep = 1;
  if (!called() || !worker.asleep.exchange(0)) worker.wake.wait();
}

ThreadPool::Member::Member(ThreadPool& pool, int thread, int team, Poll poll)
    : pool_(pool),
      thread_(thread),
      team_(team),
      poll_(poll),
      base_(pool.base_.load(std::memory_order_relaxed)),
      pass_(base_),
      joined_(thread == 0) {}

void ThreadPool::Member::joined() {
  if (!joined_) pool_.gate_.fetch_sub(1, std::memory_order_release);
  joined_ = true;
}

// False: nothing to do in the next pass, because it is done or the run is over.
bool ThreadPool::Member::begin_pass(int pieces) {
  if (stopped_) return false;
  if (team_ == 1) return !(stopped_ = pool_.stop_.load(std::memory_order_relaxed));
  // A worker that was away for long may find the pieces of another run.
  const Word progress = pool_.progress_.load(std::memory_order_acquire);
  stopped_ = progress == (pass_ | 1) || pool_.base_.load(std::memory_order_relaxed) != base_;
  if (stopped_) return false;
  if (!is_over(pieces)) return true;
  pass_ += Word(pieces) * kPiece;
  return false;
}

bool ThreadPool::Member::is_over(int pieces) const {
  using Signed = std::make_signed_t<Word>;
  return Signed(pool_.progress_.load(std::memory_order_acquire) - (pass_ + Word(pieces) * kPiece)) >= 0;
}

// One of the next pass's pieces of thread `whose`, or `count` if none is left.
int ThreadPool::Member::take(int whose, int count) {
  using Signed = std::make_signed_t<Word>;
  if (team_ == 1) return taken_ < count ? taken_++ : count;
  std::atomic<Word>& share = pool_.shares_[size_t(whose)].taken;
  const Word none = no_pieces(pass_);
  Word word = share.load(std::memory_order_relaxed);
  for (;;) {
    const Signed taken = std::max<Signed>(0, Signed(word - none));  // of a pass before: none; of a later one: all
    if (taken >= count) return count;
    if (share.compare_exchange_weak(word, none + Word(taken) + 1, std::memory_order_relaxed)) return int(taken);
  }
}

// Adds pieces to the progress. That the run ends is said with them, never between two passes, where some threads would
// go on and others not.
void ThreadPool::Member::report(int made) {
  if (!made) return;
  made_ += made;
  const Word more = Word(made) * kPiece;
  if (!pool_.stop_.load(std::memory_order_relaxed)) {
    pool_.progress_.fetch_add(more, std::memory_order_acq_rel);
    return;
  }
  Word word = pool_.progress_.load(std::memory_order_relaxed);
  while (!pool_.progress_.compare_exchange_weak(word, (word + more) | 1, std::memory_order_acq_rel)) {
  }
}

// Whether the pass is over, or is in a moment; *made is reported.
bool ThreadPool::Member::ends_soon(int pieces, int* made) {
  report(*made);
  *made = 0;
  for (int i = 0; i < kGlance; i++) {
    if (is_over(pieces)) return go_on(pieces), true;
    pause_cpu();
  }
  return false;
}

void ThreadPool::Member::end_pass(int pieces, int made) {
  if (team_ > 1) {
    report(made);
    waited_ += spin_until([&] { return is_over(pieces); });
  }
  go_on(pieces);
}

void ThreadPool::Member::go_on(int pieces) {
  taken_ = 0;
  pass_ += Word(pieces) * kPiece;
  pieces_ += pieces;
}

// With a piece in hand, so that the pass cannot end before what is asked is answered.
void ThreadPool::Member::ask_caller(int pieces, int made) {
  const int64_t time = now(CLOCK_MONOTONIC_COARSE);  // hardly dearer than a load, and good to 10 ms
  if (next_poll_ == 0) next_poll_ = time + kPollEvery;
  if (time < next_poll_) return;
  next_poll_ = time + kPollEvery;
  try {
    if (poll_.stop(poll_.context)) pool_.stop();
  } catch (...) {
    drop_pass(pieces, made);
    throw;
  }
}

// Ends the run with this pass, of which this thread has made some pieces and holds another: takes what is left, makes
// nothing of it, and waits for what others make.
void ThreadPool::Member::drop_pass(int pieces, int made) {
  pool_.stop();
  int dropped = 1;
  for (int whose = 0; pieces > 1 && whose < team_; whose++) {
    const int count = first_piece(pieces, whose + 1) - first_piece(pieces, whose);
    while (take(whose, count) < count) dropped++;
  }
  end_pass(pieces, made + dropped);
}

}  // namespace mbinfer
