#include "pages.h"

#include <sys/mman.h>

namespace mbinfer {

void* map_pages(size_t bytes) {
  void* map = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (map == MAP_FAILED) throw std::bad_alloc();
  return map;
}

void unmap_pages(void* pages, size_t bytes) { munmap(pages, bytes); }

}  // namespace mbinfer
