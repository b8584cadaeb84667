// Kernels of a few operations for each element, over vec: pools, sums over pixels, additions. Included by isa.cpp only.
#pragma once

namespace mbinfer {
namespace {

void pool(const PoolArgs* a) {
  for_each_vector(a->panels, [&](auto vector, int panel) {
    using V = decltype(vector);
    for (int x = a->x0; x < a->x1; x++) {
      const int first = x * a->stride - a->pad_left;
      const int begin = first < 0 ? 0 : first,
                end = first + a->kernel_w < a->in_width ? first + a->kernel_w : a->in_width;
      int seen = 0;
      V result = V::splat(0.0f);
      for (int ky = 0; ky < a->kernel_h; ky++) {
        if (!a->rows[ky]) continue;
        const float* row = static_cast<const float*>(a->rows[ky]) + panel * kPanel;
        for (int ix = begin; ix < end; ix++, seen++) {
          const V v = V::load(at(row, ix * a->in_stride));
          result = !seen ? v : a->average ? add(result, v) : nan_or(v, greater(v, result));
        }
      }
      // By 1 for a max pool, which otherwise only compares: so its denormals go, too. Volatile, or a compiler that
      // makes a loop for max pools would leave it out.
      const volatile float one = 1.0f;
      const float factor = a->average ? 1.0f / float(a->divisor ? a->divisor : seen) : one;
      result = mul(result, V::splat(factor));
      store(at(a->out, (x - a->x0) * a->out_stride) + panel * kPanel, activate(result, a->activation, panel));
    }
  });
}

void reduce(const ReduceArgs* a) {
  for_each_vector(a->panels, [&](auto vector, int panel) {
    using V = decltype(vector);
    float *sums = static_cast<float*>(a->sums) + panel * kPanel, *out = static_cast<float*>(a->out) + panel * kPanel;
    V sum = a->first ? V::splat(0.0f) : V::load(sums);
    const float* in = static_cast<const float*>(a->in) + panel * kPanel;
    for (int p = 0; p < a->pixels; p++, in = at(in, a->in_stride)) sum = add(sum, V::load(in));
    if (a->last)
      store(out, activate(mul(sum, V::splat(a->factor)), a->activation, panel));
    else
      store(sums, sum);
  });
}

template <class V>
inline V of_pair(Pair pair, V a, V b) {
  switch (pair) {
    case kMul:
      return mul(a, b);
    case kSub:
      return sub(a, b);
    case kMax:
      return nan_or(a, greater(a, b));
    case kMin:
      return nan_or(a, less(a, b));
    case kDiv:
      return div(a, b);
  }
  return a;
}

void pair(const PairArgs* args) {
  const float *a = static_cast<const float*>(args->a), *b = static_cast<const float*>(args->b);
  float* out = static_cast<float*>(args->out);
  for (int p = 0; p < args->pixels;
       p++, a = at(a, args->a_stride), b = at(b, args->b_stride), out = at(out, args->out_stride)) {
    for_each_vector(args->panels, [&](auto vector, int panel) {
      using V = decltype(vector);
      const int c = panel * kPanel;
      const V other = args->one_channel ? V::splat(*b) : V::load(b + c);
      store(out + c, activate(of_pair(args->pair, V::load(a + c), other), args->activation, panel));
    });
  }
}

// The panel from `panel` on of two pixels of a row, and between them.
template <class V>
inline V across(const ResizeArgs* a, const void* row, ptrdiff_t first, ptrdiff_t next, V f, int panel) {
  const V x = V::load(at(row, first) + panel * kPanel);
  return a->taps == 1 ? x : fma(f, sub(V::load(at(row, next) + panel * kPanel), x), x);
}

void resize(const ResizeArgs* a) {
  float* out = static_cast<float*>(a->out);
  ResizePositions position(a);
  for (int p = 0; p < a->pixels; p++, out = at(out, a->out_stride), position.next()) {
    const ptrdiff_t first = position.pixel(0), next = position.pixel(1);
    const float fraction = position.fraction();
    for_each_vector(a->panels, [&](auto vector, int panel) {
      using V = decltype(vector);
      const V f = V::splat(fraction);
      V y = across(a, a->rows[0], first, next, f, panel);
      if (a->rows[1]) y = fma(V::splat(a->down), sub(across(a, a->rows[1], first, next, f, panel), y), y);
      store(out + panel * kPanel, activate(y, a->activation, panel));
    });
  }
}

void add(const AddArgs* args) {
  const float *a = static_cast<const float*>(args->a), *b = static_cast<const float*>(args->b);
  float* out = static_cast<float*>(args->out);
  for (int p = 0; p < args->pixels;
       p++, a = at(a, args->a_stride), b = at(b, args->b_stride), out = at(out, args->out_stride)) {
    for_each_vector(args->panels, [&](auto vector, int panel) {
      using V = decltype(vector);
      const int c = panel * kPanel;
      store(out + c, activate(add(V::load(a + c), V::load(b + c)), args->activation, panel));
    });
  }
}

}  // namespace
}  // namespace mbinfer
