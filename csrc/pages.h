// Memory straight from the system: whole pages, given back when it goes, so that nothing of it stays in the host's
// heap.
#pragma once

#include <cstddef>
#include <utility>

namespace mbinfer {

class Pages {
 public:
  Pages() = default;
  explicit Pages(size_t bytes);  // of zeros; std::bad_alloc where there are none
  Pages(Pages&& o) noexcept : data_(std::exchange(o.data_, nullptr)), bytes_(o.bytes_) {}
  Pages& operator=(Pages o) noexcept {
    std::swap(data_, o.data_);
    std::swap(bytes_, o.bytes_);
    return *this;
  }
  ~Pages();

  char* data() const { return static_cast<char*>(data_); }
  size_t size() const { return bytes_; }
  explicit operator bool() const { return data_ != nullptr; }

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace mbinfer
