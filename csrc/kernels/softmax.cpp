// Softmax over channels: one scalar routine for every instruction set, so that all of them agree to the bit.
#include <math.h>
#include <string.h>

#include "kernels/exponential.h"
#include "kernels/kernels.h"

namespace mbinfer {
namespace {

// The logarithm of x >= 1, as curves.h makes it.
float log_of(float x) {
  int32_t bits;
  memcpy(&bits, &x, sizeof bits);
  const int32_t power = (bits - kRootHalfBits) >> 23;
  bits -= power * (1 << 23);
  float m;
  memcpy(&m, &bits, sizeof m);
  const float s = (m - 1.0f) / (m + 1.0f), t = s * s;
  float p = 0.242895588f * t + 0.214307413f;
  p = p * t + 0.286165982f;
  p = p * t + 0.39998889f;
  p = p * t + 0.666666746f;
  return float(power) * 0.693147182f + (2.0f * s + s * t * p);
}

void log_softmax(const float* in, float* out, int channels) {
  float largest = in[0], sum = 0.0f;
  for (int c = 1; c < channels; c++) largest = in[c] > largest ? in[c] : largest;
  for (int c = 0; c < channels; c++) sum += exp_nonpositive(in[c] - largest);
  const float log = log_of(sum);
  for (int c = 0; c < channels; c++) out[c] = (in[c] - largest) - log;
}

void softmax(const float* in, float* out, int channels) {
  float largest = in[0], sum = 0.0f;
  for (int c = 1; c < channels; c++) largest = in[c] > largest ? in[c] : largest;
  for (int c = 0; c < channels; c++) sum += out[c] = exp_nonpositive(in[c] - largest);
  for (int c = 0; c < channels; c++) out[c] /= sum;
}

// exp of what lies below the largest number by 0 to 255 steps, each made when it is met first.
class Exponentials {
 public:
  explicit Exponentials(float step) : step_(step) {
    for (float& e : all_) e = -1.0f;
  }
  float operator()(int steps) {
    float& e = all_[steps];
    return e < 0 ? e = exp_nonpositive(float(-steps) * step_) : e;
  }

 private:
  const float step_;
  float all_[256];
};

}  // namespace

void softmax_u8(const SoftmaxArgs* a) {
  Exponentials exponential(a->in_type.scale);
  for (int p = 0; p < a->pixels; p++) {
    const uint8_t* in = static_cast<const uint8_t*>(a->in) + p * a->in_stride;
    uint8_t* out = static_cast<uint8_t*>(a->out) + p * a->out_stride;
    int largest = 0;
    for (int c = 0; c < a->channels; c++) largest = in[c] > largest ? in[c] : largest;
    float sum = 0.0f;
    for (int c = 0; c < a->channels; c++) sum += exponential(largest - in[c]);
    for (int c = 0; c < a->channels; c++) {
      const float x = exponential(largest - in[c]) / sum / a->out_type.scale,
                  most = float(255 - a->out_type.zero_point);
      out[c] = uint8_t(int(nearbyintf(x < most ? x : most)) + a->out_type.zero_point);
    }
  }
}

void softmax_f32(const SoftmaxArgs* a) {
  const char* in = static_cast<const char*>(a->in);
  char* out = static_cast<char*>(a->out);
  for (int p = 0; p < a->pixels; p++, in += a->in_stride, out += a->out_stride)
    (a->logarithm ? log_softmax : softmax)(reinterpret_cast<const float*>(in), reinterpret_cast<float*>(out),
                                           a->channels);
}

}  // namespace mbinfer
