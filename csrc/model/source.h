// Where the bytes of a model come from: a file by path or descriptor, or memory. The structure is always read into a
// private copy; the weights are used where they lie (mapped, or the caller's memory), or copied where that is asked
// for.
#pragma once

#include <memory>
#include <string>

#include "common.h"

namespace mbinfer {

class Source {
 public:
  // Error(kFile) names the path and has the system's error number. Only regular files: nothing is waited for.
  static std::unique_ptr<Source> from_path(const std::string& path);
  static std::unique_ptr<Source> from_descriptor(int descriptor);  // duplicated; the caller's stays open
  static std::unique_ptr<Source> from_memory(const void* data, uint64_t size);

  ~Source();
  Source(const Source&) = delete;
  Source& operator=(const Source&) = delete;

  const std::string& name() const { return name_; }
  uint64_t size() const { return size_; }

  // Copies bytes [offset, offset + bytes), which are inside size(). Error(kFormat) where the file has become shorter.
  void read(uint64_t offset, uint64_t bytes, void* to) const;

  // Bytes [offset, end) for the lifetime of this object, at a multiple of kAlign. They lie where they are, unless
  // `copy` or an unaligned start in memory asks for a private copy.
  const uint8_t* hold(uint64_t offset, bool copy);

  // Maps the pages of a part of what is held now, where the first run would stop for each few of them.
  void populate(const void* from, int64_t bytes) const;

  // Error(kFormat) where the file that is mapped was cut, extended or written since it was opened.
  void check_unchanged() const;

  static constexpr uint64_t kAlign = 64;

 private:
  explicit Source(std::string name) : name_(std::move(name)) {}
  void adopt(int descriptor);

  std::string name_;
  uint64_t size_ = 0;
  int descriptor_ = -1;  // kept while the file is mapped
  int64_t changed_s_ = 0, changed_ns_ = 0;
  const uint8_t* memory_ = nullptr;  // the caller's
  void* map_ = nullptr;
  std::unique_ptr<uint8_t, void (*)(void*)> copy_{nullptr, nullptr};
};

}  // namespace mbinfer
