// e^x of scalars, the same bits on every machine.
#pragma once

#include <math.h>
#include <stdint.h>
#include <string.h>

namespace mbinfer {

// e^x for x <= 0: 2^n * p(r), r = x - n ln 2 in two parts, p of degree 6 (minimax on |r| <= ln 2 / 2, error under 2
// ulp).
inline float exp_nonpositive(float x) {
  if (!(x > -87.0f)) return x != x ? x : 0.0f;
  float n = floorf(x * 1.44269504f + 0.5f);
  float r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  float p = 1.3888889e-3f;
  p = p * r + 8.3333333e-3f;
  p = p * r + 4.1666667e-2f;
  p = p * r + 1.6666667e-1f;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  uint32_t bits = uint32_t(int32_t(n) + 127) << 23;
  float scale;
  memcpy(&scale, &bits, sizeof scale);
  return p * scale;
}

}  // namespace mbinfer
