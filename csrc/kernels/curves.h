// Activations that are curves, written once over any vector, the reference's panel included: the same operations in the
// same order on every instruction set, so that their bits are the same.
//
// All of them stand on e^x = s + s (e^r - 1) with x = n ln 2 + r and s = 2^n: r is small, e^r - 1 a polynomial that has
// full relative precision (Cody and Waite, "Software Manual for the Elementary Functions", 1980). Errors against the
// exact functions are measured by tests/kernel_check.cpp. NaN stays NaN.
#pragma once

namespace mbinfer {
namespace {

template <class V>
struct Power {  // e^x = scale + scale * rest
  V scale, rest;
  V value() const { return fma(scale, rest, scale); }
  V minus_one() const { return fma(scale, rest, sub(scale, V::splat(1.0f))); }
};

// For x from -87 to 88: beyond it 2^n has no float.
template <class V>
inline Power<V> exp_parts(V x) {
  // Added to 1.5 * 2^23, a number is rounded to a whole one, which is in the last bits; 127 more is what the exponent
  // of a float counts from.
  const V bias = V::splat(12582912.0f + 127.0f);
  const V shifted = fma(x, V::splat(1.44269504f), bias), n = sub(shifted, bias);
  V r = fma(n, V::splat(-0.693147182f), x);  // ln 2 in two floats
  r = fma(n, V::splat(1.90465421e-9f), r);
  V p = fma(r, V::splat(1.3926927e-3f), V::splat(8.363774e-3f));  // near minimax on |r| <= ln 2 / 2, to 2^-25
  p = fma(p, r, V::splat(4.166655e-2f));
  p = fma(p, r, V::splat(1.6666573e-1f));
  p = fma(p, r, V::splat(0.5f));
  return {exponent_of(shifted), fma(mul(r, r), p, r)};
}

template <class V>
inline V clamp(V x, float lo, float hi) {
  return less(V::splat(hi), greater(V::splat(lo), x));
}

// 1 + e^-x; no denormal is met on the way.
template <class V>
inline V one_and_exp(V x) {
  const V minus = sub(V::splat(0.0f), clamp(x, -87.0f, 87.0f));
  return add(V::splat(1.0f), exp_parts(minus).value());
}

template <class V>
inline V sigmoid(V x) {
  return div(V::splat(1.0f), one_and_exp(x));
}

template <class V>
inline V silu(V x) {
  return div(greater(V::splat(-87.0f), x), one_and_exp(x));
}

template <class V>
inline V tanh(V x) {
  const V power = exp_parts(mul(clamp(x, -10.0f, 10.0f), V::splat(2.0f))).minus_one();
  return div(power, add(power, V::splat(2.0f)));
}

// x Phi(x) = max(x, 0) - |x| erfc(|x| / sqrt 2) / 2, with erfc(z) = t e^(p(t) - z^2), t = 1 / (1 + z / 2): the form of
// Press et al., "Numerical Recipes", section 6.2, with a polynomial of our own.
template <class V>
inline V gelu(V x) {
  constexpr float kFit[] = {-0.697536588f, 1.19532764f,  -0.746469915f, -0.039866317f, -0.0195080042f,
                            0.041395966f,  0.385283619f, 0.998782456f,  -1.26545489f};
  const V size = greater(x, sub(V::splat(0.0f), x));
  const V z = mul(size, V::splat(0.707106781f)), t = div(V::splat(1.0f), fma(z, V::splat(0.5f), V::splat(1.0f)));
  V p = V::splat(0.14804606f);
  for (float term : kFit) p = fma(p, t, V::splat(term));
  const V far = exp_parts(greater(V::splat(-80.0f), fma(sub(V::splat(0.0f), z), z, p))).value();
  const V half = mul(mul(less(V::splat(20.0f), size), V::splat(0.5f)), mul(t, far));
  return sub(greater(V::splat(0.0f), x), half);
}

// x / 2 (1 + tanh u) = x / (1 + e^-2u), u = sqrt(2 / pi) (x + 0.044715 x^3).
template <class V>
inline V gelu_tanh(V x) {
  const V near = clamp(x, -20.0f, 20.0f), square = mul(near, near);
  const V twice = mul(near, fma(square, V::splat(0.0713548163f), V::splat(1.59576912f)));
  return div(greater(V::splat(-20.0f), x), one_and_exp(twice));
}

template <class V>
inline V prelu(V x, V slope) {
  return fma(slope, less(V::splat(0.0f), x), greater(V::splat(0.0f), x));
}

// Never inlined, as it would be into every tile. `panel`: of those that the slopes are of.
template <class V>
__attribute__((noinline)) V curved(V x, const ActivationArgs& a, int panel) {
  switch (a.curve) {
    case kHardSwish:
      return mul(x, mul(clamp(add(x, V::splat(3.0f)), 0.0f, 6.0f), V::splat(1.0f / 6.0f)));
    case kSigmoid:
      return sigmoid(x);
    case kSilu:
      return silu(x);
    case kTanh:
      return tanh(x);
    case kGelu:
      return gelu(x);
    case kGeluTanh:
      return gelu_tanh(x);
    case kPrelu:
      return prelu(x, V::load(a.slopes + panel * kPanel));
  }
  return x;
}

template <class V>
inline V activate(V x, const ActivationArgs& a, int panel) {
  return a.curve ? curved(x, a, panel) : clamp(x, a.lo, a.hi);
}

}  // namespace
}  // namespace mbinfer
