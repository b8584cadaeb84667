// Plain loops: the specification of every kernel, the oracle of its tests, and the fallback on CPUs without a faster
// one.
#include <math.h>
#include <string.h>

#include "kernels/kernels.h"

namespace mbinfer {
namespace {

// The element `bytes` and `index` floats after p.
const float* at(const void* p, ptrdiff_t bytes, ptrdiff_t index = 0) {
  return reinterpret_cast<const float*>(static_cast<const char*>(p) + bytes) + index;
}
float* at(void* p, ptrdiff_t bytes, ptrdiff_t index = 0) {
  return reinterpret_cast<float*>(static_cast<char*>(p) + bytes) + index;
}

// sums[n] = fma(x[n * kStep], w[n], sums[n]) for a panel.
#if defined(__FP_FAST_FMAF)
template <int kStep>
void multiply_add(const float* x, const float* w, float* sums) {
  for (int n = 0; n < kPanel; n++) sums[n] = fmaf(x[n * kStep], w[n], sums[n]);
}
#else
// GCC would unroll a loop of eight before it looks for vectors, and then find none: 22 instructions a multiply-add.
#if defined(__clang__)
#define MBI_KEEP_LOOP
#else
#define MBI_KEEP_LOOP _Pragma("GCC unroll 1")
#endif

// The sign bit of the result is set where a sum in double, whose last bit may be rounded, does not say how the exact
// sum rounds to float: halfway between two floats, or where floats have fewer bits, but for zero. In integers and
// without a branch, so that compilers use vectors.
uint64_t doubt(double sum) {
  uint64_t bits;
  memcpy(&bits, &sum, sizeof bits);
  const uint64_t halfway = ((bits & 0x1FFFFFFF) ^ 0x10000000) - 1, magnitude = (bits << 1) - 1;
  const uint64_t tiny = (magnitude - (uint64_t(898) << 53)) & ~magnitude;  // below 2^-125
  return halfway | tiny;
}

// Without the instruction, libm's fmaf takes many times as long as this: the product of two floats is exact in double.
// Rounding the sum to double and then to float is rounding it once, but where there is doubt (Boldo and Melquiond,
// "Emulation of a FMA and correctly rounded sums: proved algorithms using rounding to odd", 2008, treat such sums).
template <int kStep>
void multiply_add(const float* x, const float* w, float* sums) {
  double exact[kPanel];
  uint64_t doubts = 0;
  MBI_KEEP_LOOP for (int n = 0; n < kPanel; n++) {
    exact[n] = double(x[n * kStep]) * double(w[n]) + double(sums[n]);
    doubts |= doubt(exact[n]);
  }
  if (__builtin_expect(doubts >> 63, 0)) {
    for (int n = 0; n < kPanel; n++)
      sums[n] = doubt(exact[n]) >> 63 ? fmaf(x[n * kStep], w[n], sums[n]) : float(exact[n]);
  } else {
    MBI_KEEP_LOOP for (int n = 0; n < kPanel; n++) sums[n] = float(exact[n]);
  }
}
#endif

// A panel as a vector for curves and norms: what vec.h says of a leaf, in plain loops.
struct Panel {
  float v[kPanel];
  static Panel load(const float* p) {
    Panel x;
    memcpy(x.v, p, sizeof x.v);
    return x;
  }
  static Panel splat(float value) {
    Panel x;
    for (float& element : x.v) element = value;
    return x;
  }
};

void store(float* p, const Panel& x) { memcpy(p, x.v, sizeof x.v); }

template <class Body>
Panel lane_by_lane(const Panel& a, const Panel& b, Body&& body) {
  Panel x;
  for (int n = 0; n < kPanel; n++) x.v[n] = body(a.v[n], b.v[n]);
  return x;
}
Panel add(const Panel& a, const Panel& b) {
  return lane_by_lane(a, b, [](float x, float y) { return x + y; });
}
Panel sub(const Panel& a, const Panel& b) {
  return lane_by_lane(a, b, [](float x, float y) { return x - y; });
}
Panel mul(const Panel& a, const Panel& b) {
  return lane_by_lane(a, b, [](float x, float y) { return x * y; });
}
Panel div(const Panel& a, const Panel& b) {
  return lane_by_lane(a, b, [](float x, float y) { return x / y; });
}
Panel greater(const Panel& a, const Panel& b) {
  return lane_by_lane(a, b, [](float x, float y) { return x > y ? x : y; });
}
Panel less(const Panel& a, const Panel& b) {
  return lane_by_lane(a, b, [](float x, float y) { return x < y ? x : y; });
}
Panel root(Panel x) {
  for (float& element : x.v) element = sqrtf(element);
  return x;
}
Panel binary_log(const Panel& x, Panel* rest) {
  Panel whole;
  for (int n = 0; n < kPanel; n++) {
    int32_t bits;
    memcpy(&bits, &x.v[n], sizeof bits);
    const int32_t power = (bits - kRootHalfBits) >> 23;
    bits -= power * (1 << 23);
    memcpy(&rest->v[n], &bits, sizeof bits);
    whole.v[n] = float(power);
  }
  return whole;
}
Panel fma(const Panel& a, const Panel& b, Panel c) {
  multiply_add<1>(a.v, b.v, c.v);
  return c;
}
Panel exponent_of(Panel x) {
  uint32_t bits[kPanel];
  memcpy(bits, x.v, sizeof bits);
  for (uint32_t& element : bits) element <<= 23;
  memcpy(x.v, bits, sizeof bits);
  return x;
}

}  // namespace
}  // namespace mbinfer

#include "kernels/curves.h"
//
#include "kernels/norm.h"

namespace mbinfer {
namespace {

// What is made of a panel, in its place.
void activate(float* x, const ActivationArgs& a, int panel) { store(x, activate(Panel::load(x), a, panel)); }

// A float16 as a float32, exactly. No float on the way is denormal, which a run would take for zero: those of float16
// are made as 2^-14 and a fraction, less 2^-14.
float widen(Half half) {
  const uint32_t magnitude = (half.bits & 0x7FFFu) << 13, exponent = magnitude >> 23;
  const uint32_t normal = magnitude + ((exponent == 31 ? 255 - 31 : 127 - 15) << 23),
                 denormal = magnitude + (113u << 23);
  float x, y;
  memcpy(&x, &normal, sizeof x);
  memcpy(&y, &denormal, sizeof y);
  y -= 0x1p-14f;
  x = exponent ? x : y;
  return half.bits & 0x8000 ? -x : x;
}

// The panels of a node's weights.
class Weights {
 public:
  Weights(const void* weights, DType dtype, int rows)
      : weights_(weights), half_(dtype == DType::kFloat16), rows_(rows) {}

  // The weights of one panel in one row; those of float16 are widened to `room`.
  const float* row(int panel, int row, float (&room)[kPanel]) const {
    constexpr int kRow = 2 * kPanel;
    const ptrdiff_t at = (ptrdiff_t(panel / 2) * rows_ + row) * kRow + panel % 2 * kPanel;
    if (!half_) return static_cast<const float*>(weights_) + at;
    for (int n = 0; n < kPanel; n++) room[n] = widen(static_cast<const Half*>(weights_)[at + n]);
    return room;
  }

 private:
  const void* weights_;
  bool half_;
  int rows_;
};

void gemm_panel(const GemmArgs* a, int p, int panel) {
  const Weights weights(a->weights, a->weight_dtype, a->weight_rows);
  float *sums = at(a->sums, p * a->sums_stride, panel * kPanel), *out = at(a->out, p * a->out_stride, panel * kPanel);
  float chains[kPanel], widened[kPanel];
  memcpy(chains, a->bias ? at(a->bias, 0, panel * kPanel) : sums, sizeof chains);
  for (int t = 0; t < a->tap_count; t++) {
    const Tap& tap = a->taps[t];
    const float* in = at(tap.in, p * a->in_stride);
    for (int k = 0; k < tap.k; k++)
      multiply_add<0>(in + k, weights.row(a->panel + panel, tap.weight_row + k, widened), chains);
  }
  if (!a->finish) {
    memcpy(sums, chains, sizeof chains);
    return;
  }
  const Finish& f = *a->finish;
  activate(chains, f.activation, panel);
  if (f.residual) {
    const float* residual = at(f.residual, p * f.residual_stride, panel * kPanel);
    for (int n = 0; n < kPanel; n++) chains[n] += residual[n];
    activate(chains, f.after, panel);
  }
  memcpy(out, chains, sizeof chains);
}

void gemm(const GemmArgs* a) {
  for (int p = 0; p < a->pixels; p++)
    for (int panel = 0; panel < a->panels; panel++) gemm_panel(a, p, panel);
}

// One pixel of one panel.
void depthwise_panel(const DepthwiseArgs* a, int x, int panel) {
  const Weights weights(a->weights, a->weight_dtype, a->kernel_h * a->kernel_w);
  float chains[kPanel], widened[kPanel];
  memcpy(chains, at(a->bias, 0, panel * kPanel), sizeof chains);
  for (int ky = 0; ky < a->kernel_h; ky++) {
    if (!a->rows[ky]) continue;
    for (int kx = 0; kx < a->kernel_w; kx++) {
      const int ix = x * a->stride - a->pad_left + kx * a->dilation;
      if (ix < 0 || ix >= a->in_width) continue;
      const float* in = at(a->rows[ky], ix * a->in_stride, panel * kPanel);
      multiply_add<1>(in, weights.row(a->panel + panel, ky * a->kernel_w + kx, widened), chains);
    }
  }
  activate(chains, a->activation, panel);
  memcpy(at(a->out, (x - a->x0) * a->out_stride, panel * kPanel), chains, sizeof chains);
}

void depthwise(const DepthwiseArgs* a) {
  for (int x = a->x0; x < a->x1; x++)
    for (int panel = 0; panel < a->panels; panel++) depthwise_panel(a, x, panel);
}

void activate_pixel(float* x, int panels, const ActivationArgs& a) {
  for (int panel = 0; panel < panels; panel++) activate(x + panel * kPanel, a, panel);
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
          result = a->average ? (seen ? result + v : v) : (!seen || v > result || v != v ? v : result);
          seen++;
        }
      }
      // By 1 for a max pool, which otherwise only compares: so its denormals go, too. Volatile, or a compiler that
      // makes a loop for max pools would leave it out.
      const volatile float one = 1.0f;
      const float factor = a->average ? 1.0f / float(a->divisor ? a->divisor : seen) : one;
      result *= factor;
      *at(a->out, (x - a->x0) * a->out_stride, c) = result;
    }
    activate_pixel(at(a->out, (x - a->x0) * a->out_stride), a->panels, a->activation);
  }
}

void reduce(const ReduceArgs* a) {
  for (int c = 0; c < a->panels * kPanel; c++) {
    float sum = a->first ? 0.0f : *at(a->sums, 0, c);
    for (int p = 0; p < a->pixels; p++) sum += *at(a->in, p * a->in_stride, c);
    *(a->last ? at(a->out, 0, c) : at(a->sums, 0, c)) = a->last ? sum * a->factor : sum;
  }
  if (a->last) activate_pixel(at(a->out, 0), a->panels, a->activation);
}

void add(const AddArgs* a) {
  for (int p = 0; p < a->pixels; p++) {
    float* out = at(a->out, p * a->out_stride);
    for (int c = 0; c < a->panels * kPanel; c++) out[c] = *at(a->a, p * a->a_stride, c) + *at(a->b, p * a->b_stride, c);
    activate_pixel(out, a->panels, a->activation);
  }
}

float of_pair(Pair pair, float a, float b) {
  switch (pair) {
    case kMul:
      return a * b;
    case kSub:
      return a - b;
    case kMax:
      return a > b || a != a ? a : b;
    case kMin:
      return a < b || a != a ? a : b;
    case kDiv:
      return a / b;
  }
  return 0;
}

void pair(const PairArgs* args) {
  for (int p = 0; p < args->pixels; p++) {
    const float *a = at(args->a, p * args->a_stride), *b = at(args->b, p * args->b_stride);
    float* out = at(args->out, p * args->out_stride);
    for (int c = 0; c < args->panels * kPanel; c++) out[c] = of_pair(args->pair, a[c], b[args->one_channel ? 0 : c]);
    activate_pixel(out, args->panels, args->activation);
  }
}

// Element c of pixel `whole` of a row, between it and the next.
float across(const ResizeArgs* a, const void* row, int64_t whole, float f, int c) {
  const int64_t last = a->in_width - 1,
                first = whole < 0      ? 0
                        : whole > last ? last
                                       : whole,
                next = whole + 1 < 0      ? 0
                       : whole + 1 > last ? last
                                          : whole + 1;
  const float x = *at(row, first * a->in_stride, c);
  return a->taps == 1 ? x : fmaf(f, *at(row, next * a->in_stride, c) - x, x);
}

void resize(const ResizeArgs* a) {
  int64_t whole = a->first, rest = a->rest;
  for (int p = 0; p < a->pixels; p++) {
    const float f = float(rest) / float(a->denominator);
    float* out = at(a->out, p * a->out_stride);
    for (int c = 0; c < a->panels * kPanel; c++) {
      out[c] = across(a, a->rows[0], whole, f, c);
      if (a->rows[1]) out[c] = fmaf(a->down, across(a, a->rows[1], whole, f, c) - out[c], out[c]);
    }
    activate_pixel(out, a->panels, a->activation);
    rest += a->step_rest;
    whole += a->step + rest / a->denominator;
    rest %= a->denominator;
  }
}

long multiply_adds(const float* values, float* sums, int rounds) {
  for (int r = 0; r < rounds; r++) multiply_add<1>(values, values + 8, sums);
  return 8L * rounds;
}

}  // namespace

const KernelTable kReferenceKernels = {
    "reference",       {{8, 1}, gemm, depthwise, pool, reduce, add, pair, resize, softmax_f32, norm_pixels<Panel>},
    &kReferenceU8,     lookup_reference,
    convert_reference, multiply_adds};

}  // namespace mbinfer
