#include "model/source.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

namespace mbinfer {
namespace {

[[noreturn]] void fail(const std::string& path, int error, const char* why = nullptr) {
  Error e(ErrorKind::kFile, path + ": " + (why ? why : std::strerror(error)));
  e.system_error = error;
  e.path = path;
  throw e;
}

#ifdef __APPLE__
const timespec& modified(const struct stat& info) { return info.st_mtimespec; }
#else
const timespec& modified(const struct stat& info) { return info.st_mtim; }
#endif

}  // namespace

std::unique_ptr<Source> Source::from_path(const std::string& path) {
  if (path.find('\0') != std::string::npos) fail(path, EINVAL, "a path holds no zero byte");
  std::unique_ptr<Source> source(new Source(path));
  // Without O_NONBLOCK a pipe would be waited for before it can be refused.
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (descriptor < 0) fail(path, errno);
  source->adopt(descriptor);
  return source;
}

std::unique_ptr<Source> Source::from_descriptor(int descriptor) {
  std::unique_ptr<Source> source(new Source("file descriptor " + std::to_string(descriptor)));
  const int own = fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
  if (own < 0) fail(source->name_, errno);
  source->adopt(own);
  return source;
}

std::unique_ptr<Source> Source::from_memory(const void* data, uint64_t size) {
  std::unique_ptr<Source> source(new Source("model in memory"));
  source->memory_ = static_cast<const uint8_t*>(data);
  source->size_ = size;
  return source;
}

void Source::adopt(int descriptor) {
  descriptor_ = descriptor;
  struct stat info;
  if (fstat(descriptor, &info) < 0) fail(name_, errno);
  if (S_ISDIR(info.st_mode)) fail(name_, EISDIR);
  if (!S_ISREG(info.st_mode)) fail(name_, EINVAL, "not a regular file; a model is mapped, or copied from a file");
  if (uint64_t(info.st_size) > SIZE_MAX / 2) fail(name_, EFBIG);
  size_ = uint64_t(info.st_size);
  changed_s_ = modified(info).tv_sec;
  changed_ns_ = modified(info).tv_nsec;
}

void Source::read(uint64_t offset, uint64_t bytes, void* to) const {
  if (memory_) {
    if (bytes) std::memcpy(to, memory_ + offset, size_t(bytes));
    return;
  }
  auto* next = static_cast<uint8_t*>(to);
  while (bytes) {
    const ssize_t got = pread(descriptor_, next, size_t(bytes), off_t(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail(name_, errno);
    if (!got) throw Error(ErrorKind::kFormat, name_ + ": the file became shorter while it was read; copy it again");
    next += got;
    offset += uint64_t(got);
    bytes -= uint64_t(got);
  }
}

const uint8_t* Source::hold(uint64_t offset, bool copy) {
  const uint64_t bytes = size_ - offset;
  if (memory_ && !copy && (!bytes || reinterpret_cast<uintptr_t>(memory_ + offset) % kAlign == 0))
    return memory_ + offset;
  if (copy || memory_) {
    void* block = nullptr;
    if (posix_memalign(&block, kAlign, size_t(bytes) + 1)) throw std::bad_alloc();
    copy_ = {static_cast<uint8_t*>(block), std::free};
    read(offset, bytes, block);
    if (descriptor_ >= 0) check_unchanged();
    if (descriptor_ >= 0) close(std::exchange(descriptor_, -1));
    return copy_.get();
  }
  void* map = mmap(nullptr, size_t(size_), PROT_READ, MAP_SHARED, descriptor_, 0);
  if (map == MAP_FAILED) fail(name_, errno);
  map_ = map;
  return static_cast<const uint8_t*>(map) + offset;
}

void Source::populate(const void* from, int64_t bytes) const {
  // Linux maps the pages around one that is read, 64 KiB of them where they are in memory, which takes a third to a
  // half of the time of MADV_POPULATE_READ.
  if (!map_ || !bytes) return;
  const volatile uint8_t* at = static_cast<const uint8_t*>(from);
  for (int64_t i = 0; i < bytes; i += 64 << 10) (void)at[i];
  (void)at[bytes - 1];
}

void Source::check_unchanged() const {
  if (descriptor_ < 0) return;
  struct stat info;
  if (fstat(descriptor_, &info) < 0) fail(name_, errno);
  if (uint64_t(info.st_size) == size_ && modified(info).tv_sec == changed_s_ && modified(info).tv_nsec == changed_ns_)
    return;
  throw Error(ErrorKind::kFormat, name_ +
                                      ": the file was written or cut while this session uses it; open it again, and "
                                      "install new models by renaming, or open them with copy");
}

Source::~Source() {
  if (map_) munmap(map_, size_t(size_));
  if (descriptor_ >= 0) close(descriptor_);
}

}  // namespace mbinfer
