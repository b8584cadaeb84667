// Plain loops over uint8 values with int8 weights: what the numbers of a quantised network are, on every machine. Sums
// wrap around, so they are held as unsigned numbers.
#include <math.h>
#include <string.h>

#include "kernels/kernels.h"

namespace mbinfer {
namespace {

const uint8_t* at(const void* p, ptrdiff_t bytes) { return static_cast<const uint8_t*>(p) + bytes; }
uint8_t* at(void* p, ptrdiff_t bytes) { return static_cast<uint8_t*>(p) + bytes; }

const Channels& channels_of(const void* bias, int panel) { return static_cast<const Channels*>(bias)[panel]; }

uint8_t requantise(float x, const ActivationArgs& a, const Type& type) {
  x = x > a.lo ? x : a.lo;
  x = x < a.hi ? x : a.hi;
  return uint8_t(int(nearbyintf(x)) + type.zero_point);
}

uint8_t requantise(uint32_t sum, float multiplier, const ActivationArgs& a, const Type& type) {
  return requantise(float(int32_t(sum)) * multiplier, a, type);
}

uint8_t sum_of(int a, const Type& a_type, int b, const Type& b_type, const ActivationArgs& activation,
               const Type& out) {
  const float x = float(a - a_type.zero_point) * (a_type.scale / out.scale),
              y = float(b - b_type.zero_point) * (b_type.scale / out.scale);
  return requantise(x + y, activation, out);
}

constexpr int kRow = 2 * kPanel;

// Row 0 of panel `panel` of a node whose panels have so many rows of `inputs` inputs.
const int8_t* weights_of(const void* weights, int rows, int inputs, int panel) {
  return static_cast<const int8_t*>(weights) + (ptrdiff_t(panel / 2) * rows * kRow + panel % 2 * kPanel) * inputs;
}

uint32_t product(int x, int w) { return uint32_t(x * w); }

void gemm_panel(const GemmArgs* a, int p, int panel) {
  const int8_t* weights = weights_of(a->weights, a->weight_rows, 4, a->panel + panel);
  uint8_t* waiting = at(a->sums, p * a->sums_stride + panel * kPanel * ptrdiff_t(sizeof(int32_t)));
  uint32_t sums[kPanel];
  memcpy(sums, a->bias ? static_cast<const void*>(channels_of(a->bias, panel).bias) : waiting, sizeof sums);
  for (int t = 0; t < a->tap_count; t++) {
    const Tap& tap = a->taps[t];
    const uint8_t* in = tap.in ? at(tap.in, p * a->in_stride) : nullptr;
    for (int k = 0; k < tap.k; k++) {
      const int8_t* row = weights + ptrdiff_t(tap.weight_row + k / 4) * kRow * 4 + k % 4;
      for (int n = 0; n < kPanel; n++) sums[n] += product(in ? in[k] : a->zero_point, row[n * 4]);
    }
  }
  if (!a->finish) {
    memcpy(waiting, sums, sizeof sums);
    return;
  }
  const Finish& f = *a->finish;
  uint8_t* out = at(a->out, p * a->out_stride + panel * kPanel);
  for (int n = 0; n < kPanel; n++) {
    out[n] = requantise(sums[n], f.channels[panel].multiplier[n], f.activation, f.made);
    if (f.residual)
      out[n] =
          sum_of(out[n], f.made, *at(f.residual, p * f.residual_stride + panel * kPanel + n), f.added, f.after, f.sum);
  }
}

void gemm(const GemmArgs* a) {
  for (int p = 0; p < a->pixels; p++)
    for (int panel = 0; panel < a->panels; panel++) gemm_panel(a, p, panel);
}

// One pixel of one panel.
void depthwise_panel(const DepthwiseArgs* a, int x, int panel) {
  const int8_t* weights = weights_of(a->weights, a->kernel_h * a->kernel_w, 1, a->panel + panel);
  const Channels& channels = channels_of(a->bias, panel);
  uint32_t sums[kPanel];
  memcpy(sums, channels.bias, sizeof sums);
  for (int ky = 0; ky < a->kernel_h; ky++) {
    for (int kx = 0; kx < a->kernel_w; kx++, weights += kRow) {
      const int ix = x * a->stride - a->pad_left + kx * a->dilation;
      const bool inside = a->rows[ky] && ix >= 0 && ix < a->in_width;
      const uint8_t* in = inside ? at(a->rows[ky], ix * a->in_stride + panel * kPanel) : nullptr;
      for (int n = 0; n < kPanel; n++) sums[n] += product(in ? in[n] : a->in_type.zero_point, weights[n]);
    }
  }
  uint8_t* out = at(a->out, (x - a->x0) * a->out_stride + panel * kPanel);
  for (int n = 0; n < kPanel; n++) out[n] = requantise(sums[n], channels.multiplier[n], a->activation, a->out_type);
}

void depthwise(const DepthwiseArgs* a) {
  for (int x = a->x0; x < a->x1; x++)
    for (int panel = 0; panel < a->panels; panel++) depthwise_panel(a, x, panel);
}

void pool_element(const PoolArgs* a, int x, int c) {
  int seen = 0, sum = 0, largest = 0;
  for (int ky = 0; ky < a->kernel_h; ky++) {
    if (!a->rows[ky]) continue;
    for (int kx = 0; kx < a->kernel_w; kx++) {
      const int ix = x * a->stride - a->pad_left + kx;
      if (ix < 0 || ix >= a->in_width) continue;
      const int v = *at(a->rows[ky], ix * a->in_stride + c);
      largest = v > largest ? v : largest;
      sum += v - a->in_type.zero_point;
      seen++;
    }
  }
  const float count = float(a->divisor ? a->divisor : seen), factor = a->in_type.scale / (a->out_type.scale * count);
  const float mean = float(sum) * factor + offset_of(a->zeros, count, factor);
  *at(a->out, (x - a->x0) * a->out_stride + c) =
      requantise(a->average ? mean : float(largest - a->out_type.zero_point), a->activation, a->out_type);
}

void pool(const PoolArgs* a) {
  for (int x = a->x0; x < a->x1; x++)
    for (int c = 0; c < a->panels * kPanel; c++) pool_element(a, x, c);
}

void reduce(const ReduceArgs* a) {
  for (int c = 0; c < a->panels * kPanel; c++) {
    uint32_t sum = 0;
    if (!a->first) memcpy(&sum, at(a->sums, c * ptrdiff_t(sizeof sum)), sizeof sum);
    for (int p = 0; p < a->pixels; p++) sum += uint32_t(*at(a->in, p * a->in_stride + c) - a->in_type.zero_point);
    if (a->last)
      *at(a->out, c) = requantise(float(int32_t(sum)) * a->factor + a->offset, a->activation, a->out_type);
    else
      memcpy(at(a->sums, c * ptrdiff_t(sizeof sum)), &sum, sizeof sum);
  }
}

void add(const AddArgs* a) {
  for (int p = 0; p < a->pixels; p++)
    for (int c = 0; c < a->panels * kPanel; c++)
      *at(a->out, p * a->out_stride + c) =
          sum_of(*at(a->a, p * a->a_stride + c), a->a_type, *at(a->b, p * a->b_stride + c), a->b_type, a->activation,
                 a->out_type);
}

uint8_t pair_of(const PairArgs* args, int a, int b) {
  const int x = a - args->a_type.zero_point, y = b - args->b_type.zero_point;
  if (args->pair == kMul) return requantise(float(x * y) * args->factor, args->activation, args->out_type);
  const float left = float(x) * args->factor, right = float(y) * args->b_factor;
  const float result = args->pair == kSub   ? left - right
                       : args->pair == kMax ? (left > right ? left : right)
                                            : (left < right ? left : right);
  return requantise(result, args->activation, args->out_type);
}

void pair(const PairArgs* a) {
  for (int p = 0; p < a->pixels; p++)
    for (int c = 0; c < a->panels * kPanel; c++)
      *at(a->out, p * a->out_stride + c) =
          pair_of(a, *at(a->a, p * a->a_stride + c), *at(a->b, p * a->b_stride + (a->one_channel ? 0 : c)));
}

// Channel c of the output that lies `rest / denominator` behind the pixel `whole` of the rows of the input.
uint8_t resized(const ResizeArgs* a, int64_t whole, int rest, int c) {
  auto steps = [&](int row, int64_t x) {
    const int inside = int(x < 0 ? 0 : x > a->in_width - 1 ? a->in_width - 1 : x);
    return float(*at(a->rows[row], inside * a->in_stride + c) - a->in_type.zero_point);
  };
  const int rows = a->rows[1] ? 2 : 1;
  if (rows == 1 && a->taps == 1)
    return requantise(steps(0, whole) * (a->in_type.scale / a->out_type.scale), a->activation, a->out_type);
  const float down = rows == 1 ? 0 : a->down;
  const float f = a->taps == 1 ? 0 : byte_fraction(int(whole), rest, a->denominator, a->columns);
  float sum = 0;
  for (int row = 0; row < rows; row++)
    for (int tap = 0; tap < a->taps; tap++)
      sum += ((row ? down : 1 - down) * (tap ? f : 1 - f)) * (steps(row, whole + tap) * a->in_type.scale);
  return requantise(sum / a->out_type.scale, a->activation, a->out_type);
}

void resize(const ResizeArgs* a) {
  for (int p = 0; p < a->pixels; p++) {
    const int64_t rests = a->rest + int64_t(p) * a->step_rest;
    const int64_t whole = a->first + int64_t(p) * a->step + rests / a->denominator;
    const int rest = int(rests % a->denominator);
    for (int c = 0; c < a->panels * kPanel; c++) *at(a->out, p * a->out_stride + c) = resized(a, whole, rest, c);
  }
}

float real(const void* in, const Type& type) {
  if (type.dtype == DType::kFloat32) {
    float x;
    memcpy(&x, in, sizeof x);
    return x;
  }
  const int q = type.dtype == DType::kInt8 ? *static_cast<const int8_t*>(in) : *static_cast<const uint8_t*>(in);
  return float(q - type.zero_point) * type.scale;
}

void put(float x, void* out, const Type& type) {
  if (type.dtype == DType::kFloat32) {
    memcpy(out, &x, sizeof x);
    return;
  }
  const int least = type.dtype == DType::kInt8 ? -128 : 0;
  const ActivationArgs bounds = {float(least - type.zero_point), float(least + 255 - type.zero_point), kNoCurve,
                                 nullptr};
  *static_cast<uint8_t*>(out) = requantise(x / type.scale, bounds, type);  // an int8 has the bits of the number mod 256
}

int bytes_of(const Type& type) { return type.dtype == DType::kFloat32 ? int(sizeof(float)) : 1; }

}  // namespace

void lookup_reference(const LookupArgs* a) {
  for (int p = 0; p < a->pixels; p++)
    for (int c = 0; c < a->panels * kPanel; c++)
      *at(a->out, p * a->out_stride + c) = *at(a->table, *at(a->in, p * a->in_stride + c));
}

void convert_reference(const ConvertArgs* a) {
  const int in_bytes = bytes_of(a->in_type), out_bytes = bytes_of(a->out_type);
  for (int p = 0; p < a->pixels; p++) {
    uint8_t* out = at(a->out, p * a->out_stride);
    for (int c = 0; c < a->channels; c++, out += out_bytes) {
      const uint8_t* in = at(a->in, p * a->in_stride + c * in_bytes);
      put(a->mean ? (float(*in) - a->mean[c]) * a->scale[c] : real(in, a->in_type), out, a->out_type);
    }
    memset(out, 0, size_t(a->out_channels - a->channels) * size_t(out_bytes));
  }
}

const Kernels kReferenceU8 = {{8, 1}, gemm, depthwise, pool, reduce, add, pair, resize, softmax_u8, nullptr};

}  // namespace mbinfer
