// Plain loops: the specification of every kernel, the oracle of its tests, and the fallback on CPUs without a faster
// one.
#include <math.h>

#include "kernels/kernels.h"

namespace mbinfer {
namespace {

float clamp(float x, float lo, float hi) {
  float y = lo > x ? lo : x;
  return hi < y ? hi : y;
}

float activate(float x, const ActivationArgs& a) {
  if (a.hard_swish) return (x * clamp(x + 3.0f, 0.0f, 6.0f)) * (1.0f / 6.0f);
  return clamp(x, a.lo, a.hi);
}

// The element `bytes` and `index` floats after p.
const float* at(const void* p, ptrdiff_t bytes, ptrdiff_t index = 0) {
  return reinterpret_cast<const float*>(static_cast<const char*>(p) + bytes) + index;
}
float* at(void* p, ptrdiff_t bytes, ptrdiff_t index = 0) {
  return reinterpret_cast<float*>(static_cast<char*>(p) + bytes) + index;
}

// The weights of channel n, kPanel apart, of a node whose panels have so many rows.
const float* weights_of(const void* weights, int rows, int n) {
  return static_cast<const float*>(weights) + ptrdiff_t(n / kPanel) * rows * kPanel + n % kPanel;
}

void gemm(const GemmArgs* a) {
  for (int p = 0; p < a->pixels; p++) {
    for (int n = 0; n < a->panels * kPanel; n++) {
      const float* weights = weights_of(a->weights, a->weight_rows, a->panel * kPanel + n);
      float* sums = at(a->sums, p * a->sums_stride, n);
      float sum = a->bias ? *at(a->bias, 0, n) : *sums;
      for (int t = 0; t < a->tap_count; t++) {
        const Tap& tap = a->taps[t];
        const float* in = at(tap.in, p * a->in_stride);
        for (int k = 0; k < tap.k; k++) sum = fmaf(in[k], weights[ptrdiff_t(tap.weight_row + k) * kPanel], sum);
      }
      if (!a->finish) {
        *sums = sum;
        continue;
      }
      const Finish& f = *a->finish;
      sum = activate(sum, f.activation);
      if (f.residual) sum = activate(sum + *at(f.residual, p * f.residual_stride, n), f.after);
      *at(a->out, p * a->out_stride, n) = sum;
    }
  }
}

void depthwise(const DepthwiseArgs* a) {
  const int taps = a->kernel_h * a->kernel_w;
  for (int x = a->x0; x < a->x1; x++) {
    for (int c = 0; c < a->panels * kPanel; c++) {
      const float* weights = weights_of(a->weights, taps, a->panel * kPanel + c);
      float sum = *at(a->bias, 0, c);
      for (int ky = 0; ky < a->kernel_h; ky++) {
        if (!a->rows[ky]) continue;
        for (int kx = 0; kx < a->kernel_w; kx++) {
          int ix = x * a->stride - a->pad_left + kx * a->dilation;
          if (ix < 0 || ix >= a->in_width) continue;
          sum = fmaf(*at(a->rows[ky], ix * a->in_stride, c), weights[(ky * a->kernel_w + kx) * kPanel], sum);
        }
      }
      *at(a->out, (x - a->x0) * a->out_stride, c) = activate(sum, a->activation);
    }
  }
}

void pool(const PoolArgs* a) {
  for (int x = a->x0; x < a->x1; x++) {
    for (int c = 0; c < a->panels * kPanel; c++) {
      int seen = 0;
      float result = 0.0f;
      for (int ky = 0; ky < a->kernel_h; ky++) {
        if (!a->rows[ky]) continue;
        for (int kx = 0; kx < a->kernel_w; kx++) {
          int ix = x * a->stride - a->pad_left + kx;
          if (ix < 0 || ix >= a->in_width) continue;
          float v = *at(a->rows[ky], ix * a->in_stride, c);
          result = a->average ? (seen ? result + v : v) : (seen && !(v > result) ? result : v);
          seen++;
        }
      }
      if (a->average) result *= 1.0f / float(a->divisor ? a->divisor : seen);
      *at(a->out, (x - a->x0) * a->out_stride, c) = activate(result, a->activation);
    }
  }
}

void reduce(const ReduceArgs* a) {
  for (int c = 0; c < a->panels * kPanel; c++) {
    float sum = a->first ? 0.0f : *at(a->sums, 0, c);
    for (int p = 0; p < a->pixels; p++) sum += *at(a->in, p * a->in_stride, c);
    if (a->last)
      *at(a->out, 0, c) = activate(sum * a->factor, a->activation);
    else
      *at(a->sums, 0, c) = sum;
  }
}

void add(const AddArgs* a) {
  for (int p = 0; p < a->pixels; p++)
    for (int c = 0; c < a->panels * kPanel; c++)
      *at(a->out, p * a->out_stride, c) =
          activate(*at(a->a, p * a->a_stride, c) + *at(a->b, p * a->b_stride, c), a->activation);
}

void convert(const ConvertArgs* a) {
  for (int p = 0; p < a->pixels; p++) {
    float* out = at(a->out, p * a->out_stride);
    for (int c = 0; c < a->out_channels; c++) {
      const ptrdiff_t i = ptrdiff_t(p) * a->channels + c;
      out[c] = c >= a->channels ? 0.0f
               : a->in_type == DType::kFloat32
                   ? static_cast<const float*>(a->in)[i]
                   : (float(static_cast<const uint8_t*>(a->in)[i]) - a->mean[c]) * a->scale[c];
    }
  }
}

long multiply_adds(const float* values, float* sums, int rounds) {
  for (int r = 0; r < rounds; r++)
    for (int i = 0; i < 8; i++) sums[i] = fmaf(values[i], values[8 + i], sums[i]);
  return 8L * rounds;
}

}  // namespace

const KernelTable kReferenceKernels = {
    "reference", {{8, 1}, gemm, depthwise, pool, reduce, add, softmax_f32}, convert, multiply_adds};

}  // namespace mbinfer
