// Whether a model opens in so many bytes: `opening_limit SMALL FILE LIMIT BYTES [THREADS]` opens and closes SMALL, so
// that the C library has what it keeps, then lets the process have BYTES more of private memory (RLIMIT_DATA: heap and
// anonymous pages) and opens FILE. LIMIT as in mbi_options. Prints the bytes of the arena, or fails. Built and run by
// test_opening.py; the system is Linux.
#include <sys/resource.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "mbinfer.h"

namespace {

mbi_session* opened(const char* path, const char* limit, int threads) {
  mbi_options options;
  mbi_options_init(&options, sizeof options);
  options.memory_limit = std::atoll(limit);
  options.threads = threads;
  mbi_session* session = nullptr;
  if (mbi_session_open(path, &options, &session)) std::fprintf(stderr, "%s\n", mbi_last_error()->message);
  return session;
}

// Bytes that RLIMIT_DATA counts.
rlim_t private_bytes() {
  std::FILE* status = std::fopen("/proc/self/status", "r");
  char line[256];
  rlim_t kib = 0;
  while (status && std::fgets(line, sizeof line, status))
    if (!std::strncmp(line, "VmData:", 7)) kib = rlim_t(std::atoll(line + 7));
  if (status) std::fclose(status);
  return kib * 1024;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5 && argc != 6) return 2;
  const int threads = argc > 5 ? std::atoi(argv[5]) : 1;
  mbi_session_close(opened(argv[1], argv[3], threads));
  const rlim_t most = private_bytes() + rlim_t(std::atoll(argv[4]));
  const rlimit bytes = {most, most};
  if (setrlimit(RLIMIT_DATA, &bytes)) return 3;
  mbi_session* session = opened(argv[2], argv[3], threads);
  if (!session) return 1;
  std::printf("%lld\n", static_cast<long long>(mbi_session_plan(session)->peak_bytes));
  mbi_session_close(session);
  return 0;
}
