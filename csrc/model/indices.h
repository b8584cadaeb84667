// A few indices: of the nodes that read a value, of the values that a node reads. Most lists are of one or two, which
// need no memory of their own.
#pragma once

#include <algorithm>
#include <cstddef>
#include <initializer_list>
#include <utility>
#include <vector>

namespace mbinfer {

class Indices {
 public:
  Indices() = default;
  Indices(std::initializer_list<int> list) { assign(list.begin(), list.end()); }
  Indices(const std::vector<int>& list) { assign(list.data(), list.data() + list.size()); }
  Indices(const Indices& o) { assign(o.begin(), o.end()); }
  Indices(Indices&& o) noexcept : size_(o.size_), room_(o.room_), at_(o.at_) { o.size_ = 0, o.room_ = kHere; }
  ~Indices() {
    if (room_ > kHere) delete[] at_.there;
  }
  Indices& operator=(Indices o) noexcept {
    std::swap(size_, o.size_);
    std::swap(room_, o.room_);
    std::swap(at_, o.at_);
    return *this;
  }
  void push_back(int index) {
    if (size_ == room_) reserve(2 * size_);
    begin()[size_++] = index;
  }
  void reserve(int room) {
    if (room <= room_) return;
    int* more = new int[size_t(room)];
    std::copy(begin(), end(), more);
    if (room_ > kHere) delete[] at_.there;
    at_.there = more;
    room_ = room;
  }
  void clear() { size_ = 0; }
  size_t size() const { return size_t(size_); }
  bool empty() const { return !size_; }
  int* begin() { return room_ > kHere ? at_.there : at_.here; }
  int* end() { return begin() + size_; }
  const int* begin() const { return room_ > kHere ? at_.there : at_.here; }
  const int* end() const { return begin() + size_; }
  int& operator[](size_t i) { return begin()[i]; }
  int operator[](size_t i) const { return begin()[i]; }
  int front() const { return begin()[0]; }
  int back() const { return end()[-1]; }

 private:
  static constexpr int kHere = 2;
  void assign(const int* first, const int* last) {
    reserve(int(last - first));
    std::copy(first, last, begin());
    size_ = int(last - first);
  }

  int size_ = 0, room_ = kHere;
  union {
    int here[kHere];
    int* there;
  } at_ = {};
};

}  // namespace mbinfer
