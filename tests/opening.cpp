// What opening a session takes: `opening FILE LIMIT [SCHEDULE]` prints the bytes of the arena, the most bytes that were
// in use by malloc and by anonymous pages until the session was open, those that are resident then, and seconds of the
// CPU. LIMIT as in mbi_options. Built and run by test_opening.py; the C library is glibc.
#include <malloc.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <ctime>

#include "mbinfer.h"

namespace {

long in_use = 0, most = 0;

void add(long bytes) {
  in_use += bytes;
  if (in_use > most) most = in_use;
}

void* counted(void* block) {
  if (block) add(long(malloc_usable_size(block)) + 8);  // and its header
  return block;
}

constexpr size_t kPage = 4096;
struct {  // anonymous maps
  void* at;
  size_t bytes;
} maps[256];

}  // namespace

extern "C" {
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_memalign(size_t, size_t);
void __libc_free(void*);
void* malloc(size_t size) noexcept { return counted(__libc_malloc(size)); }
void* calloc(size_t count, size_t size) noexcept { return counted(__libc_calloc(count, size)); }
int posix_memalign(void** block, size_t align, size_t size) noexcept {
  *block = counted(__libc_memalign(align, size));
  return *block ? 0 : 12;
}
void free(void* block) noexcept {
  if (block) in_use -= long(malloc_usable_size(block)) + 8;
  __libc_free(block);
}
void* mmap(void* at, size_t bytes, int protection, int flags, int file, off_t offset) noexcept {
  void* map = reinterpret_cast<void*>(syscall(SYS_mmap, at, bytes, protection, flags, file, offset));
  if (file >= 0 || map == MAP_FAILED) return map;
  for (auto& m : maps)
    if (!m.at) {
      m = {map, (bytes + kPage - 1) / kPage * kPage};
      add(long(m.bytes));
      return map;
    }
  std::abort();
}
int munmap(void* at, size_t bytes) noexcept {
  for (auto& m : maps)
    if (m.at == at) in_use -= long(m.bytes), m.at = nullptr;
  return int(syscall(SYS_munmap, at, bytes));
}
}

static long resident() {
  long pages = 0;
  if (FILE* file = std::fopen("/proc/self/statm", "r")) {
    if (std::fscanf(file, "%*d %ld", &pages) != 1) pages = 0;
    std::fclose(file);
  }
  return pages * sysconf(_SC_PAGESIZE);
}

static double seconds() { return double(std::clock()) / CLOCKS_PER_SEC; }

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  mbi_options options;
  mbi_options_init(&options, sizeof options);
  options.memory_limit = std::atoll(argv[2]);
  if (argc > 3) options.schedule = argv[3];
  const long resident_before = resident(), before = in_use;
  most = in_use;
  const double start = seconds();
  mbi_session* session;
  if (mbi_session_open(argv[1], &options, &session)) return std::fprintf(stderr, "%s\n", mbi_last_error()->message), 1;
  std::printf("{\"arena\": %lld, \"most\": %ld, \"resident\": %ld, \"seconds\": %f}\n",
              static_cast<long long>(mbi_session_plan(session)->peak_bytes), most - before,
              resident() - resident_before, seconds() - start);
  mbi_session_close(session);
  return in_use > before + 4096;  // what the C library keeps
}
