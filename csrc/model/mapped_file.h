// A file mapped read-only: weights are used where they lie, and pages of them that are not needed cost no RAM.
#pragma once

#include <string>

#include "common.h"

namespace mbinfer {

class MappedFile {
 public:
  explicit MappedFile(const std::string& path);  // Error(kFile) names the path and the system's reason
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  const uint8_t* data() const { return data_; }
  uint64_t size() const { return size_; }
  // Maps every page now, in one call of the system, where the first run would stop for each few of them.
  void populate() const;

 private:
  const uint8_t* data_ = nullptr;
  uint64_t size_ = 0;
};

}  // namespace mbinfer
