// Plain loops: the specification of every kernel, the oracle of its tests, and the fallback on CPUs without a faster
// one.
#include <math.h>
#include <string.h>

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

void gemm(const GemmArgs* a) {
  for (int p = 0; p < a->pixels; p++) {
    for (int n = 0; n < a->panels * 8; n++) {
      const float* panel = a->weights + n / 8 * a->panel_stride + n % 8;
      float* out = a->out + p * a->out_stride + n;
      float sum = a->bias ? a->bias[n] : *out;
      for (int t = 0; t < a->tap_count; t++) {
        const GemmTap& tap = a->taps[t];
        for (int k = 0; k < tap.k; k++)
          sum = fmaf(tap.in[p * a->in_stride + k], panel[ptrdiff_t(tap.weight_row + k) * 8], sum);
      }
      if (const Epilogue* e = a->epilogue) {
        sum = activate(sum, e->activation);
        if (e->residual) sum = activate(sum + e->residual[p * e->residual_stride + n], e->after);
      }
      *out = sum;
    }
  }
}

void depthwise(const DepthwiseArgs* a) {
  for (int x = a->x0; x < a->x1; x++) {
    for (int c = 0; c < a->panels * 8; c++) {
      const float* weights = a->weights + ptrdiff_t(c / 8) * a->kernel_h * a->kernel_w * 8 + c % 8;
      float sum = a->bias[c];
      for (int ky = 0; ky < a->kernel_h; ky++) {
        if (!a->rows[ky]) continue;
        for (int kx = 0; kx < a->kernel_w; kx++) {
          int ix = x * a->stride - a->pad_left + kx * a->dilation;
          if (ix < 0 || ix >= a->in_width) continue;
          sum = fmaf(a->rows[ky][ix * a->in_stride + c], weights[(ky * a->kernel_w + kx) * 8], sum);
        }
      }
      a->out[(x - a->x0) * a->out_stride + c] = activate(sum, a->activation);
    }
  }
}

void pool(const PoolArgs* a) {
  for (int x = a->x0; x < a->x1; x++) {
    for (int c = 0; c < a->panels * 8; c++) {
      int seen = 0;
      float result = 0.0f;
      for (int ky = 0; ky < a->kernel_h; ky++) {
        if (!a->rows[ky]) continue;
        for (int kx = 0; kx < a->kernel_w; kx++) {
          int ix = x * a->stride - a->pad_left + kx;
          if (ix < 0 || ix >= a->in_width) continue;
          float v = a->rows[ky][ix * a->in_stride + c];
          result = a->average ? (seen ? result + v : v) : (seen && !(v > result) ? result : v);
          seen++;
        }
      }
      if (a->average) result *= 1.0f / float(a->divisor ? a->divisor : seen);
      a->out[(x - a->x0) * a->out_stride + c] = activate(result, a->activation);
    }
  }
}

void reduce(const ReduceArgs* a) {
  for (int c = 0; c < a->panels * 8; c++) {
    float sum = a->first ? 0.0f : a->sums[c];
    for (int p = 0; p < a->pixels; p++) sum += a->in[p * a->in_stride + c];
    a->sums[c] = a->last ? activate(sum * a->factor, a->activation) : sum;
  }
}

void add(const AddArgs* a) {
  for (int p = 0; p < a->pixels; p++)
    for (int c = 0; c < a->panels * 8; c++)
      a->out[p * a->out_stride + c] = activate(a->a[p * a->a_stride + c] + a->b[p * a->b_stride + c], a->activation);
}

void normalise(const NormaliseArgs* a) {
  for (int i = 0; i < a->count; i++) a->out[i] = (float(a->in[i]) - a->mean[i % a->period]) * a->scale[i % a->period];
}

// e^x for x <= 0: 2^n * p(r), r = x - n ln 2 in two parts, p of degree 6 (minimax on |r| <= ln 2 / 2, error under 2
// ulp).
float exp_nonpositive(float x) {
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

}  // namespace

void softmax(const float* in, float* out, int channels) {
  float largest = in[0], sum = 0.0f;
  for (int c = 1; c < channels; c++) largest = in[c] > largest ? in[c] : largest;
  for (int c = 0; c < channels; c++) sum += out[c] = exp_nonpositive(in[c] - largest);
  for (int c = 0; c < channels; c++) out[c] /= sum;
}

long multiply_adds(const float* values, float* sums, int rounds) {
  for (int r = 0; r < rounds; r++)
    for (int i = 0; i < 8; i++) sums[i] = fmaf(values[i], values[8 + i], sums[i]);
  return 8L * rounds;
}

const KernelTable kReferenceKernels = {"reference", 8, 1, gemm, depthwise, pool, reduce, add, normalise, multiply_adds};

}  // namespace mbinfer
