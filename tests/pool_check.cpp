// The thread pool by itself: every piece once, every pass after the one before, whoever comes late; and what ends a
// run.
#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <thread>
#include <vector>

#include "exec/thread_pool.h"
#include "replaceable.h"

using namespace mbinfer;

#ifdef MBINFER_REPLACEABLE
static int joins = 0;  // of this process; some C libraries hang where a thread is its parent's, glibc does not

#pragma GCC visibility push(default)  // as the C library's own
extern "C" int pthread_join(pthread_t thread, void** result) {
  static const auto join = reinterpret_cast<int (*)(pthread_t, void**)>(dlsym(RTLD_NEXT, "pthread_join"));
  joins++;
  return join(thread, result);
}
#pragma GCC visibility pop
#else
[[maybe_unused]] static int joins = 0;
#endif

namespace {

constexpr int kPasses = 40, kMost = 24;

int failed = 0;

void judge(bool ok, const char* what) {
  if (!ok && ++failed <= 20) std::printf("FAILED %s\n", what);
}

uint32_t random_bits(uint32_t* state) {
  *state ^= *state << 13;
  *state ^= *state >> 17;
  *state ^= *state << 5;
  return *state;
}

int pieces_of(int pass) { return 1 + pass * 7 % kMost; }

// What passes write; plain integers, so that ThreadSanitizer sees whether passes are in order.
struct Work {
  int made[kPasses][kMost] = {};
  int serial = 0;
  std::atomic<int> helped{0};  // pieces made by workers
};

// Each piece reads all of the pass before. Threads sleep now and then: before the run lets go of them, between passes,
// with a piece in hand.
void passes(ThreadPool::Member& member, Work* work, uint32_t seed) {
  uint32_t state = seed * 2654435761u + uint32_t(member.thread()) + 1;
  auto dawdle = [&](uint32_t odds) {
    if (random_bits(&state) % odds == 0) usleep(random_bits(&state) % 300);
  };
  if (member.thread()) dawdle(4);
  member.joined();
  for (int pass = 0; pass < kPasses; pass++) {
    dawdle(20);
    member.parallel_for(pieces_of(pass), [&](int piece) {
      int before = 0;
      for (int i = 0; pass > 0 && i < pieces_of(pass - 1); i++) before += work->made[pass - 1][i];
      judge(before == (pass > 0 ? pieces_of(pass - 1) : 0), "a pass began before the one before was done");
      dawdle(member.thread() ? 50 : 10);
      work->helped += member.thread() > 0;
      work->made[pass][piece]++;
    });
    if (pass % 8 == 3)
      member.on_caller([&] {
        judge(member.thread() == 0, "serial work on a worker");
        work->serial++;
      });
  }
}

void check_whole(const Work& work) {
  int wrong = work.serial != kPasses / 8;
  for (int pass = 0; pass < kPasses; pass++)
    for (int piece = 0; piece < kMost; piece++) wrong += work.made[pass][piece] != (piece < pieces_of(pass));
  judge(!wrong, "a piece was made twice, or not at all");
}

// One run after the other, without a pause: workers that were left behind meet the passes of the next one.
void check_runs(int threads, int runs) {
  ThreadPool pool(threads, true);
  int helped = 0;
  for (int run = 0; run < runs; run++) {
    Work work;
    Work* all = &work;
    const uint32_t seed = uint32_t(run);
    judge(pool.run([all, seed](ThreadPool::Member& member) { passes(member, all, seed); }),
          "a run says it was stopped");
    check_whole(work);
    helped += work.helped;
  }
  judge(threads == 1 || runs < 50 || helped > 0, "no worker ever came");
}

// Ends the run in pass `last`, by an exception of the caller's or by stop(). Everything is in arguments, because the
// body itself goes when the run does.
void stopping_passes(ThreadPool::Member& member, ThreadPool* pool, Work* work, int last, bool throws) {
  member.joined();
  for (int pass = 0; pass < kPasses; pass++) {
    if (throws && pass == last) member.on_caller([] { throw 7; });
    member.parallel_for(kMost, [&](int piece) {
      if (!throws && pass == last && piece == kMost / 2) pool->stop();
      work->made[pass][piece]++;
    });
  }
}

// A run that is stopped in a piece makes all of that pass and no later one; then the pool goes on.
void check_stop(int threads) {
  ThreadPool pool(threads, true);
  for (int at = 0; at < 2 * kPasses; at++) {
    Work work;
    const int last = at / 2;
    const bool throws = at % 2;
    bool thrown = false;
    auto body = [pool = &pool, work = &work, last, throws](ThreadPool::Member& member) {
      stopping_passes(member, pool, work, last, throws);
    };
    try {
      const bool whole = pool.run(body);
      judge(!whole || last == kPasses - 1, "a run that was stopped says that it was not");
    } catch (int code) {
      thrown = code == 7;
    }
    judge(thrown == throws, "an exception of the caller's is lost");
    const int end = throws ? last : last + 1;
    int wrong = 0;
    for (int pass = 0; pass < kPasses; pass++)
      for (int piece = 0; piece < kMost; piece++) wrong += work.made[pass][piece] != (pass < end);
    judge(!wrong, "a run that was stopped made other passes than those before");
  }
}

struct Asked {
  int times = 0, stop_at = 0;
  bool throws = false;
};

void check_poll(int threads) {
  ThreadPool pool(threads, true);
  for (const bool throws : {false, true}) {
    Asked asked;
    asked.stop_at = 2, asked.throws = throws;
    const ThreadPool::Poll poll = {[](void* context) {
                                     Asked& asked = *static_cast<Asked*>(context);
                                     if (++asked.times < asked.stop_at) return false;
                                     if (asked.throws) throw 8;
                                     return true;
                                   },
                                   &asked};
    bool thrown = false;
    try {
      judge(!pool.run(
                [](ThreadPool::Member& member) {
                  member.joined();
                  for (int pass = 0; pass < 1000000 && !member.stopped(); pass++)
                    member.parallel_for(kMost, [](int) { usleep(20); });
                },
                poll),
            "the poll does not stop the run");
    } catch (int code) {
      thrown = code == 8;
    }
    judge(thrown == throws && asked.times == 2, "the poll is asked again, or its exception is lost");
  }
  check_runs(threads, 3);
}

// Fewer workers than asked for where there are no CPUs for them: this machine may have any number.
void check_team() {
  cpu_set_t all, one;
  if (sched_getaffinity(0, sizeof all, &all)) return;
  CPU_ZERO(&one);
  for (int cpu = 0; cpu < CPU_SETSIZE && !CPU_COUNT(&one); cpu++)
    if (CPU_ISSET(cpu, &all)) CPU_SET(cpu, &one);
  int team = 0;
  auto body = [&team](ThreadPool::Member& member) { member.thread() ? 0 : team = member.team(); };
  ThreadPool pool(256);
  pool.run(body);
  judge(team >= 1 && team <= CPU_COUNT(&all), "a team of more threads than CPUs");
  sched_setaffinity(0, sizeof one, &one);
  pool.run(body);
  sched_setaffinity(0, sizeof all, &all);
  judge(team == 1, "a team of more than one on one CPU");
}

#if !defined(__SANITIZE_THREAD__)  // which ends a process that starts threads after a fork

// Whether every worker enters a run that waits for them.
void check_all_come(ThreadPool* pool) {
  const int workers = pool->threads() - 1;
  std::atomic<int> come{0};
  pool->run([&](ThreadPool::Member& member) {
    if (member.thread()) return void(come++);
    for (int naps = 0; come < workers && naps < 50000; naps++) usleep(200);
  });
  judge(come == workers, "workers do not come");
}

[[noreturn]] void leave_child() {
  std::fflush(stdout);
  _exit(failed ? 1 : 0);
}

template <class Body>
pid_t fork_child(const Body& body) {
  std::fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    body();
    leave_child();
  }
  return child;
}

void judge_child(pid_t child, const char* what) {
  int status = 0;
  waitpid(child, &status, 0);
  judge(WIFEXITED(status) && WEXITSTATUS(status) == 0, what);
}

// The child has threads again, its parent's pool goes on, and both end.
void check_fork() {
  ThreadPool pool(3, true);
  for (int again = 0; again < 3; again++) {
    auto run = [&pool] {
      Work work;
      Work* all = &work;
      pool.run([all](ThreadPool::Member& member) { passes(member, all, 5); });
      check_whole(work);
    };
    if (again) run();
    judge_child(fork_child([&] {
                  run();
                  check_all_come(&pool);
                  run();
                  pool.~ThreadPool();
                }),
                "a child that runs and closes its parent's pool");
    judge_child(fork_child([&] {
                  joins = 0;
                  pool.~ThreadPool();
                  judge(joins == 0, "a child joins its parent's threads");
                }),
                "a child that closes its parent's pool");
    run();
  }
}

// In the middle of a run, before a worker said that it joined: the child, where that one is not, ends the run.
void check_fork_in_a_run() {
  ThreadPool pool(2, true);
  std::atomic<bool> come{false}, forked{false};
  int made = 0;
  pid_t child = -1;
  pool.run([&](ThreadPool::Member& member) {
    if (member.thread()) {
      come = true;
      while (!forked) usleep(200);
      return;
    }
    member.on_caller([&] {
      while (!come) usleep(200);
      std::fflush(stdout);
      if (!(child = fork())) alarm(60);
      forked = child != 0;
    });
    member.parallel_for(kMost, [&](int) { made++; });
  });
  judge(made == kMost, "pieces of a run that was forked in are lost");
  check_all_come(&pool);
  if (child == 0) {
    pool.~ThreadPool();
    leave_child();
  }
  judge_child(child, "a child that was forked in the middle of a run");
}

// By a thread beside the one that runs: the child's new workers do not enter the run that was going on, which nobody
// ends.
void check_fork_beside_a_run() {
  constexpr int kThreads = 9;
  ThreadPool pool(kThreads, true);
  std::atomic<int> entered{0};
  std::atomic<bool> forked{false};
  std::thread other([&] {
    pool.run([&](ThreadPool::Member&) {
      entered++;
      while (!forked) usleep(200);
    });
  });
  while (entered < kThreads) usleep(200);
  const pid_t child = fork_child([&] {
    for (int runs = 0; runs < 3; runs++) check_all_come(&pool);
    judge(entered == kThreads, "a child's worker enters its parent's run");
    pool.~ThreadPool();
  });
  forked = true;
  other.join();
  judge_child(child, "a child that was forked beside a run");
}
#endif

}  // namespace

int main() {
  for (int threads : {1, 2, 3, 8}) {
    check_runs(threads, 50);
    check_stop(threads);
  }
  check_poll(1);
  check_poll(3);
  check_team();
#if !defined(__SANITIZE_THREAD__)
  check_fork();
  check_fork_in_a_run();
  for (int again = 0; again < 5; again++) check_fork_beside_a_run();
#endif
  std::printf("%d failed\n", failed);
  return failed != 0;
}
