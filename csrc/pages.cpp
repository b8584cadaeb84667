#include "pages.h"

#include <sys/mman.h>

#include <new>

namespace mbinfer {

Pages::Pages(size_t bytes) : bytes_(bytes) {
  void* map = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (map == MAP_FAILED) throw std::bad_alloc();
  data_ = map;
}

Pages::~Pages() {
  if (data_) munmap(data_, bytes_);
}

}  // namespace mbinfer
