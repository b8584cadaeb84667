// What every layer above the kernels shares: errors, sizes of data types, shapes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "dtype.h"

// What the bits of a result rest on: every operation on a float rounds to a float, once.
#if __FLT_EVAL_METHOD__ != 0 && __FLT_EVAL_METHOD__ != 16  // 16: only half floats are widened
#error "float arithmetic would be done in a wider type: on 32-bit x86 compile with -msse2 -mfpmath=sse"
#endif
#ifdef __FAST_MATH__
#error "mbinfer's results are fixed to the bit: compile it without -ffast-math and -Ofast"
#endif

namespace mbinfer {

// One class per kind of failure: the bindings map each to their own (Python exception, C status).
enum class ErrorKind { kFormat, kUnsupported, kShape, kMemoryLimit, kArgument, kFile, kStopped, kInternal };

class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind(kind) {}
  ErrorKind kind;
  std::string node, op;            // kUnsupported: where in the model
  uint64_t needed = 0, limit = 0;  // kMemoryLimit: bytes
  int system_error = 0;            // kFile: errno
  std::string path;                // kFile
};

inline size_t size_of(DType type) {
  switch (type) {
    case DType::kFloat32:
    case DType::kInt32:
      return 4;
    case DType::kFloat16:
      return 2;
    case DType::kInt8:
    case DType::kUint8:
      return 1;
    case DType::kNone:
      break;
  }
  return 0;
}

inline bool operator==(const Type& a, const Type& b) {
  return a.dtype == b.dtype && a.scale == b.scale && a.zero_point == b.zero_point;
}

inline size_t size_of(const Type& type) { return size_of(type.dtype); }

// What the sums that make a value of this type are held in.
inline Type sums_of(const Type& type) {
  const bool integers = type.dtype == DType::kInt8 || type.dtype == DType::kUint8 || type.dtype == DType::kInt32;
  return {integers ? DType::kInt32 : DType::kFloat32};
}

template <class T>
constexpr T round_up(T n, T multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

template <class T>
constexpr T ceil_div(T n, T d) {
  return (n + d - 1) / d;
}

struct Shape {  // NHWC, batch 1
  int height = 0, width = 0, channels = 0;
  int64_t pixels() const { return int64_t(height) * width; }
  int64_t elements() const { return pixels() * channels; }
  bool operator==(const Shape& o) const { return height == o.height && width == o.width && channels == o.channels; }
};

inline std::string to_string(const Shape& s) {
  return std::to_string(s.height) + "x" + std::to_string(s.width) + "x" + std::to_string(s.channels);
}

}  // namespace mbinfer
