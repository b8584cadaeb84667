// Kernels of a few operations for each element, over vec: pools, sums over pixels, additions. Included by isa.cpp only.
#pragma once

namespace mbinfer {
namespace {

void pool(const PoolArgs* a) {
  for (int panel = 0; panel < a->panels; panel++) {
    for (int x = a->x0; x < a->x1; x++) {
      const int first = x * a->stride - a->pad_left;
      const int begin = first < 0 ? 0 : first,
                end = first + a->kernel_w < a->in_width ? first + a->kernel_w : a->in_width;
      int seen = 0;
      f32x8 result = splat(0.0f);
      for (int ky = 0; ky < a->kernel_h; ky++) {
        if (!a->rows[ky]) continue;
        const float* row = static_cast<const float*>(a->rows[ky]) + panel * 8;
        for (int ix = begin; ix < end; ix++, seen++) {
          f32x8 v = load(at(row, ix * a->in_stride));
          result = !seen ? v : a->average ? add(result, v) : nan_or(v, greater(v, result));
        }
      }
      // By 1 for a max pool, which otherwise only compares: so its denormals go, too. Volatile, or a compiler that
      // makes a loop for max pools would leave it out.
      const volatile float one = 1.0f;
      const float factor = a->average ? 1.0f / float(a->divisor ? a->divisor : seen) : one;
      result = mul(result, splat(factor));
      store(at(a->out, (x - a->x0) * a->out_stride) + panel * 8, activate(result, a->activation));
    }
  }
}

void reduce(const ReduceArgs* a) {
  for (int panel = 0; panel < a->panels; panel++) {
    float *sums = static_cast<float*>(a->sums) + panel * 8, *out = static_cast<float*>(a->out) + panel * 8;
    f32x8 sum = a->first ? splat(0.0f) : load(sums);
    const float* in = static_cast<const float*>(a->in) + panel * 8;
    for (int p = 0; p < a->pixels; p++, in = at(in, a->in_stride)) sum = add(sum, load(in));
    if (a->last)
      store(out, activate(mul(sum, splat(a->factor)), a->activation));
    else
      store(sums, sum);
  }
}

void add(const AddArgs* args) {
  const float *a = static_cast<const float*>(args->a), *b = static_cast<const float*>(args->b);
  float* out = static_cast<float*>(args->out);
  for (int p = 0; p < args->pixels;
       p++, a = at(a, args->a_stride), b = at(b, args->b_stride), out = at(out, args->out_stride)) {
    for (int c = 0; c < args->panels * 8; c += 8)
      store(out + c, activate(add(load(a + c), load(b + c)), args->activation));
  }
}

}  // namespace
}  // namespace mbinfer
