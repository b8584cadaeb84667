// Kernels of a few operations for each byte: pools, sums over pixels, functions of two bytes, resizing. Included by
// isa.cpp only.
#pragma once

namespace mbinfer {
namespace {

inline const uint8_t* bytes_at(const void* p, ptrdiff_t offset) { return static_cast<const uint8_t*>(p) + offset; }
inline uint8_t* bytes_at(void* p, ptrdiff_t offset) { return static_cast<uint8_t*>(p) + offset; }

// The columns [begin, end) of a pool's window that exist.
struct PoolColumns {
  int begin, end;
  PoolColumns(const PoolArgs& a, int x) {
    const int first = x * a.stride - a.pad_left;
    begin = first < 0 ? 0 : first;
    end = first + a.kernel_w < a.in_width ? first + a.kernel_w : a.in_width;
  }
};

void max_pool_u8(const PoolArgs& a) {
  const u8x16 lo = u8x16::splat(int(a.activation.lo) + a.out_type.zero_point),
              hi = u8x16::splat(int(a.activation.hi) + a.out_type.zero_point);
  for (int x = a.x0; x < a.x1; x++) {
    const PoolColumns columns(a, x);
    auto most = [&](int panel, auto load) __attribute__((always_inline)) {
      u8x16 most = lo;
      for (int ky = 0; ky < a.kernel_h; ky++) {
        if (!a.rows[ky]) continue;
        const uint8_t* in = bytes_at(a.rows[ky], columns.begin * a.in_stride + panel * kPanel);
        for (int ix = columns.begin; ix < columns.end; ix++, in += a.in_stride) most = greater(most, load(in));
      }
      return less(most, hi);
    };
    uint8_t* out = bytes_at(a.out, (x - a.x0) * a.out_stride);
    int panel = 0;
    for (; panel + 1 < a.panels; panel += 2) store(out + panel * kPanel, most(panel, u8x16::load));
    if (panel < a.panels) store_half(out + panel * kPanel, most(panel, u8x16::load_half));
  }
}

void avg_pool_u8(const PoolArgs& a) {
  const ByteOutput output(a.activation, a.out_type);
  for (int x = a.x0; x < a.x1; x++) {
    const PoolColumns columns(a, x);
    int rows = 0;
    for (int ky = 0; ky < a.kernel_h; ky++) rows += a.rows[ky] != nullptr;
    const int seen = rows * (columns.end - columns.begin);
    const float count = float(a.divisor ? a.divisor : seen);
    const float share = a.in_type.scale / (a.out_type.scale * count);
    const f32x8 factor = f32x8::splat(share), offset = f32x8::splat(offset_of(a.zeros, count, share));
    for (int panel = 0; panel < a.panels; panel++) {
      i32x8 sum = i32x8::splat(-seen * a.in_type.zero_point);
      for (int ky = 0; ky < a.kernel_h; ky++)
        for (int ix = columns.begin; a.rows[ky] && ix < columns.end; ix++)
          sum = add(sum, i32x8::widen_u8(bytes_at(a.rows[ky], ix * a.in_stride + panel * kPanel)));
      const f32x8 mean = add(mul(to_float(sum), factor), offset);
      store_half(bytes_at(a.out, (x - a.x0) * a.out_stride + panel * kPanel), output(mean, mean));
    }
  }
}

void pool_u8(const PoolArgs* a) { a->average ? avg_pool_u8(*a) : max_pool_u8(*a); }

void reduce_u8(const ReduceArgs* a) {
  const ByteOutput output(a->activation, a->out_type);
  const i32x8 zeros = i32x8::splat(int(unsigned(a->pixels) * unsigned(a->in_type.zero_point)));
  for (int panel = 0; panel < a->panels; panel++) {
    int32_t* sums = static_cast<int32_t*>(a->sums) + panel * kPanel;
    i32x8 sum = sub(a->first ? i32x8::splat(0) : i32x8::load(sums), zeros);
    const uint8_t* in = bytes_at(a->in, panel * kPanel);
    for (int p = 0; p < a->pixels; p++, in += a->in_stride) sum = add(sum, i32x8::widen_u8(in));
    const f32x8 mean = add(mul(to_float(sum), f32x8::splat(a->factor)), f32x8::splat(a->offset));
    if (a->last)
      store_half(bytes_at(a->out, panel * kPanel), output(mean, mean));
    else
      store(sums, sum);
  }
}

// out[c] for all channels c, of `steps(c)`, those of a panel in steps from the zero point.
template <class Steps>
MBI_INLINE void each_byte(uint8_t* out, int panels, const ByteOutput& output, Steps steps) {
  int c = 0;
  const int end = panels * kPanel;
  for (; c + 2 * kPanel <= end; c += 2 * kPanel) store(out + c, output(steps(c), steps(c + kPanel)));
  if (c == end) return;
  const f32x8 last = steps(c);
  store_half(out + c, output(last, last));
}

void add_u8(const AddArgs* args) {
  const ByteOutput output(args->activation, args->out_type);
  const ByteTerm a(args->a_type, args->out_type), b(args->b_type, args->out_type);
  for (int p = 0; p < args->pixels; p++) {
    const uint8_t *x = bytes_at(args->a, p * args->a_stride), *y = bytes_at(args->b, p * args->b_stride);
    each_byte(bytes_at(args->out, p * args->out_stride), args->panels, output,
              [&](int c) { return add(a(x + c), b(y + c)); });
  }
}

// `of_pair` of the steps of two bytes from their zero points, a gate's pixel or channel being all its pixels'.
template <class Pair>
void pairs_u8(const PairArgs* args, Pair of_pair) {
  const ByteOutput output(args->activation, args->out_type);
  const f32x8 a_zero = f32x8::splat(float(args->a_type.zero_point)),
              b_zero = f32x8::splat(float(args->b_type.zero_point));
  for (int p = 0; p < args->pixels; p++) {
    const uint8_t *x = bytes_at(args->a, p * args->a_stride), *y = bytes_at(args->b, p * args->b_stride);
    const f32x8 one = f32x8::splat(float(*y));
    each_byte(bytes_at(args->out, p * args->out_stride), args->panels, output, [&](int c) {
      const f32x8 other = args->one_channel ? one : f32x8::widen_u8(y + c);
      return of_pair(sub(f32x8::widen_u8(x + c), a_zero), sub(other, b_zero));
    });
  }
}

void pair_u8(const PairArgs* args) {
  const f32x8 factor = f32x8::splat(args->factor), b_factor = f32x8::splat(args->b_factor);
  switch (args->pair) {
    case kMul:
      return pairs_u8(args, [&](f32x8 a, f32x8 b) { return mul(mul(a, b), factor); });
    case kSub:
      return pairs_u8(args, [&](f32x8 a, f32x8 b) { return sub(mul(a, factor), mul(b, b_factor)); });
    case kMax:
      return pairs_u8(args, [&](f32x8 a, f32x8 b) { return greater(mul(a, factor), mul(b, b_factor)); });
    default:
      return pairs_u8(args, [&](f32x8 a, f32x8 b) { return less(mul(a, factor), mul(b, b_factor)); });
  }
}

// Bytes of one pixel each, and of two or four that are weighed.
void resize_u8(const ResizeArgs* a) {
  const ByteOutput output(a->activation, a->out_type);
  const f32x8 zero = f32x8::splat(float(a->in_type.zero_point)), scale = f32x8::splat(a->in_type.scale),
              step = f32x8::splat(a->out_type.scale), factor = f32x8::splat(a->in_type.scale / a->out_type.scale);
  const int rows = a->rows[1] ? 2 : 1;
  const float down = rows == 1 ? 0 : a->down;
  ResizePositions at(a);
  for (int p = 0; p < a->pixels; p++, at.next()) {
    const ptrdiff_t first = at.pixel(0), next = at.pixel(1);
    const float f = a->taps == 1 ? 0 : at.byte_fraction();
    uint8_t* out = bytes_at(a->out, p * a->out_stride);
    auto steps = [&](const void* row, ptrdiff_t x) { return sub(f32x8::widen_u8(bytes_at(row, x)), zero); };
    if (rows == 1 && a->taps == 1) {
      each_byte(out, a->panels, output, [&](int c) { return mul(steps(a->rows[0], first + c), factor); });
      continue;
    }
    auto share = [&](int row, ptrdiff_t x, float weight) {
      return mul(f32x8::splat(weight), mul(steps(a->rows[row], x), scale));
    };
    each_byte(out, a->panels, output, [&](int c) {
      f32x8 sum = share(0, first + c, (1 - down) * (1 - f));
      if (a->taps == 2) sum = add(sum, share(0, next + c, (1 - down) * f));
      if (rows == 2) sum = add(sum, share(1, first + c, down * (1 - f)));
      if (rows == 2 && a->taps == 2) sum = add(sum, share(1, next + c, down * f));
      return div(sum, step);
    });
  }
}

}  // namespace
}  // namespace mbinfer
