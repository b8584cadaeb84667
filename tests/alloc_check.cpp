// Memory that the system refuses: every allocation, every map and every thread of mbi_session_open and of the first
// mbi_session_run_rows fails once, alone and with all that come after it.
//
//   alloc_check FILE...    each failure gives MBI_NO_MEMORY, of the file's own map MBI_FILE; none leaves a block
//                          or a map behind, and the next call works
//
// The C++ library's stable sort asks for memory that it can do without: few calls may succeed all the same.
//
// And a file that is written after its records were read, as the block for a copy of its weights is taken, is refused.
//
// Where malloc cannot be replaced (another C library than glibc, a sanitizer), it says so and passes.
#include <dlfcn.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "mbinfer.h"
#include "replaceable.h"

#ifdef MBINFER_REPLACEABLE

namespace {

struct Fault {
  std::atomic<long> fail_at{0}, seen{0};  // fail_at: the number of the call that fails, 0 none
  std::atomic<long> blocks{0}, maps{0};   // that there are
  std::atomic<bool> all_after{false};
  std::atomic<bool> file_refused{false};  // a map of the file was
  void (*copying)() = nullptr;            // called before a block for a copy of weights is taken
  bool strikes() {
    const long at = fail_at;
    if (!at) return false;
    const long now = ++seen;
    return now == at || (all_after && now > at);
  }
};
Fault fault;

void* counted(void* block) {
  if (block) fault.blocks++;
  return block;
}

// The C library's own function of that name.
template <class Function>
Function* next_of(Function*, const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

}  // namespace

#pragma GCC visibility push(default)  // or the C++ library would not call these
extern "C" {
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);
void __libc_free(void*);
void* malloc(size_t size) noexcept { return fault.strikes() ? nullptr : counted(__libc_malloc(size)); }
void* calloc(size_t count, size_t size) noexcept {
  return fault.strikes() ? nullptr : counted(__libc_calloc(count, size));
}
void* realloc(void* block, size_t size) noexcept {
  if (fault.strikes()) return nullptr;
  void* moved = __libc_realloc(block, size);
  if (moved && !block) fault.blocks++;
  if (!moved && block && !size) fault.blocks--;
  return moved;
}
void* memalign(size_t align, size_t size) noexcept {
  return fault.strikes() ? nullptr : counted(__libc_memalign(align, size));
}
void* aligned_alloc(size_t align, size_t size) noexcept { return memalign(align, size); }
int posix_memalign(void** block, size_t align, size_t size) noexcept {
  if (fault.copying) fault.copying();
  *block = memalign(align, size);
  return *block ? 0 : ENOMEM;
}
void free(void* block) noexcept {
  if (block) fault.blocks--;
  __libc_free(block);
}
int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*body)(void*), void* argument) {
  static const auto create = next_of(pthread_create, "pthread_create");
  return fault.strikes() ? EAGAIN : create(thread, attributes, body, argument);
}
void* mmap(void* at, size_t bytes, int protection, int flags, int file, off_t offset) noexcept {
  static const auto map = next_of(mmap, sizeof(off_t) > sizeof(long) ? "mmap64" : "mmap");
  if (fault.strikes()) return fault.file_refused = fault.file_refused || file >= 0, errno = ENOMEM, MAP_FAILED;
  void* const pages = map(at, bytes, protection, flags, file, offset);
  if (pages != MAP_FAILED) fault.maps++;
  return pages;
}
int munmap(void* at, size_t bytes) noexcept {
  static const auto unmap = next_of(munmap, "munmap");
  fault.maps--;
  return unmap(at, bytes);
}
}
#pragma GCC visibility pop

namespace {

int failed = 0;

void judge(bool ok, const std::string& what) {
  if (ok || ++failed > 20) return;
  std::printf("FAILED %s (last error: %s)\n", what.c_str(), mbi_last_error()->message);
}

struct Injected {
  mbi_status status;
  bool reached;  // so many allocations were made
  long left;     // blocks, and maps
  bool refused;  // as it should be
};

template <class Body>
Injected inject_at(long at, bool all_after, Body body) {
  const long blocks = fault.blocks, maps = fault.maps;
  fault.all_after = all_after, fault.file_refused = false, fault.seen = 0, fault.fail_at = at;
  const mbi_status status = body();
  fault.fail_at = 0;
  const long left = std::labs(fault.blocks - blocks) + std::labs(fault.maps - maps);
  return {status, fault.seen >= at, left, status == MBI_NO_MEMORY || (fault.file_refused && status == MBI_FILE)};
}

// Calls body until it no longer reaches the allocation that would fail; judges each status. Returns how many failed.
template <class Body>
long inject(const std::string& what, Body body) {
  long injected = 0, refused = 0;
  for (bool all_after : {false, true})
    for (long at = 1;; at++) {
      Injected got = inject_at(at, all_after, body);
      // The C library keeps a block with the stack of a thread that ended. What is left behind each time is a leak.
      if (got.left) got = inject_at(at, all_after, body);
      const std::string name = what + ", allocation " + std::to_string(at) + (all_after ? " and all after" : "");
      judge(got.status == MBI_OK || (got.reached && got.refused), name + ": status " + std::to_string(got.status));
      judge(!got.left, name + ": " + std::to_string(got.left) + " blocks or maps left behind");
      if (!got.reached) break;
      injected++;
      refused += got.refused;
    }
  judge(refused * 10 >= injected * 9, what + ": " + std::to_string(refused) + " refused");
  return injected;
}

size_t row_bytes;
int pull(void*, size_t row, void* to) {
  std::memset(to, int(row & 1), row_bytes);
  return 0;
}

void check_file(const char* path, int threads) {
  mbi_options options;
  mbi_options_init(&options, sizeof options);
  options.threads = threads;
  const std::string name = std::string(path) + ", threads " + std::to_string(threads);
  mbi_session* session;
  judge(mbi_session_open(path, &options, &session) == MBI_OK, name);  // once before, for what the C library keeps
  mbi_session_close(session);
  const long opening = inject(name + ", open", [&] {
    const mbi_status status = mbi_session_open(path, &options, &session);
    if (status != MBI_OK && session) return MBI_INTERNAL;  // it must be null then
    mbi_session_close(session);
    return status;
  });
  judge(mbi_session_open(path, &options, &session) == MBI_OK, name);
  std::vector<std::vector<float>> scores;
  std::vector<mbi_output> outputs;
  for (size_t i = 0; i < mbi_session_output_count(session); i++)
    scores.emplace_back(mbi_session_output(session, i)->bytes / sizeof(float));
  for (auto& s : scores) outputs.push_back({s.data(), s.size() * sizeof(float)});
  const mbi_tensor image = *mbi_session_input(session, 0);
  row_bytes = image.bytes / size_t(image.dims[1]);
  long pulling = 0;
  if (mbi_session_input_count(session) == 1) {
    fault.seen = 0, fault.fail_at = 1;
    const mbi_status status = mbi_session_run_rows(session, image.dtype, pull, nullptr, outputs.data(), outputs.size());
    pulling = fault.seen;
    fault.fail_at = 0;
    judge(status == (pulling ? MBI_NO_MEMORY : MBI_OK), name + ": rows without memory for them");
    for (int again = 0; again < 2; again++)
      judge(!mbi_session_run_rows(session, image.dtype, pull, nullptr, outputs.data(), outputs.size()),
            name + ": rows after a failure");
  }
  mbi_session_close(session);
  std::printf("%s: %ld failures in open, %ld in run_rows\n", name.c_str(), opening, pulling);
  judge(opening >= 10, name + ": the allocations are not seen");
}

// A copy that another program writes into meanwhile would be a part of two files, below the records of the first.
int copied = -1, changes = 0;
const timespec kLongAgo[2] = {{1, 0}, {1, 0}};  // a file's time may be coarser than this test

void write_into_copied() { changes += pwrite(copied, "x", 1, lseek(copied, 0, SEEK_END) - 1) == 1; }

void lengthen_copied() {  // in no time
  changes += pwrite(copied, "x", 1, lseek(copied, 0, SEEK_END)) == 1 && !futimens(copied, kLongAgo);
}

void check_copy(const char* path) {
  char name[] = "/tmp/alloc_check_XXXXXX";
  copied = mkstemp(name);
  std::ifstream file(path, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  judge(write(copied, bytes.data(), bytes.size()) == ssize_t(bytes.size()), "a file for copies cannot be written");
  mbi_options options;
  mbi_options_init(&options, sizeof options);
  options.copy = 1;
  auto open = [&](void (*meanwhile)()) {
    futimens(copied, kLongAgo);
    mbi_session* session;
    fault.copying = meanwhile;
    const mbi_status status = mbi_session_open(name, &options, &session);
    fault.copying = nullptr;
    mbi_session_close(session);
    return status;
  };
  judge(open(nullptr) == MBI_OK, "a copy is refused");
  judge(open(write_into_copied) == MBI_FORMAT && changes == 1, "a file that is written while it is copied opens");
  judge(open(lengthen_copied) == MBI_FORMAT && changes == 2, "a file that grows while it is copied opens");
  close(copied);
  unlink(name);
}

}  // namespace

int main(int argc, char** argv) {
  for (int i = 1; i < argc; i++) {
    for (int threads : {1, 3}) check_file(argv[i], threads);
    check_copy(argv[i]);
  }
  std::printf("%d failed\n", failed);
  return failed != 0 || argc < 2;
}

#else
int main() {
  std::printf("malloc cannot be replaced here: nothing is tested\n");
  return 0;
}
#endif
