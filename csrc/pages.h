// Memory straight from the system: whole pages, given back when it goes, so that nothing of it stays in the host's
// heap.
#pragma once

#include <algorithm>
#include <cstddef>
#include <new>
#include <utility>
#include <vector>

namespace mbinfer {

void* map_pages(size_t bytes);  // of zeros; std::bad_alloc where there are none
void unmap_pages(void* pages, size_t bytes);
void take_pages(void* pages, size_t bytes);  // has the system give them now, and not as each is first touched

class Pages {
 public:
  Pages() = default;
  explicit Pages(size_t bytes) : data_(map_pages(bytes)), bytes_(bytes) {}
  Pages(Pages&& o) noexcept : data_(std::exchange(o.data_, nullptr)), bytes_(o.bytes_) {}
  Pages& operator=(Pages o) noexcept {
    std::swap(data_, o.data_);
    std::swap(bytes_, o.bytes_);
    return *this;
  }
  ~Pages() {
    if (data_) unmap_pages(data_, bytes_);
  }

  void take(size_t bytes) { take_pages(data_, std::min(bytes, bytes_)); }  // of them, from the first on
  char* data() const { return static_cast<char*>(data_); }
  size_t size() const { return bytes_; }
  explicit operator bool() const { return data_ != nullptr; }

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

// Lists of what a network has many of. From half a page on they are whole pages: a C library grows its heap by more
// than a hundred kilobytes at once, which stay when the list goes.
template <class T>
struct PageAllocator {
  using value_type = T;
  PageAllocator() = default;
  template <class Other>
  PageAllocator(const PageAllocator<Other>&) {}
  T* allocate(size_t count) {
    return static_cast<T*>(in_pages(count) ? map_pages(count * sizeof(T)) : ::operator new(count * sizeof(T)));
  }
  void deallocate(T* list, size_t count) {
    if (in_pages(count))
      unmap_pages(list, count * sizeof(T));
    else
      ::operator delete(list);
  }
  static bool in_pages(size_t count) { return count * sizeof(T) >= 2048; }
  bool operator==(const PageAllocator&) const { return true; }
  bool operator!=(const PageAllocator&) const { return false; }
};

template <class T>
using PageVector = std::vector<T, PageAllocator<T>>;

}  // namespace mbinfer
