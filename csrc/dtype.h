// Types of elements and the panel: what every layer shares, kernels compiled for one instruction set included. No
// functions and no C++ library here.
#pragma once

#include <stdint.h>

namespace mbinfer {

enum class DType : uint8_t { kNone = 0, kFloat32 = 1, kFloat16 = 2, kInt8 = 3, kUint8 = 4, kInt32 = 5 };

// Channels are laid out in panels of 8: a pixel of a value takes whole panels, the last elements unused.
constexpr int kPanel = 8;

// A float16 of IEEE 754 as model files store it: of weights, which are widened as they are loaded.
struct Half {
  uint16_t bits;
};

// What a value holds: elements of a dtype, which mean (element - zero_point) * scale where they are quantised.
struct Type {
  DType dtype = DType::kFloat32;
  float scale = 0;  // 0: not quantised
  int32_t zero_point = 0;
};

}  // namespace mbinfer
