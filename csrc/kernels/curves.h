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

// For negative x slope (e^x - 1).
template <class V>
inline V elu(V x, V slope) {
  return fma(slope, exp_parts(clamp(x, -87.0f, 0.0f)).minus_one(), greater(V::splat(0.0f), x));
}

// As a square, for e^89 and what is below 2^-126 have no scale as one power.
template <class V>
inline V exp(V x) {
  const V half = exp_parts(mul(clamp(x, -174.0f, 176.0f), V::splat(0.5f))).value();
  return mul(half, half);
}

// log((1 + s) / (1 - s)) = 2 s + s^3 p(s^2) for s up to 1/3, to 2^-30.
template <class V>
struct Atanh {
  V twice, rest;
  explicit Atanh(V s) : twice(add(s, s)) {
    const V square = mul(s, s);
    V p = fma(V::splat(0.242895588f), square, V::splat(0.214307413f));
    p = fma(p, square, V::splat(0.286165982f));
    p = fma(p, square, V::splat(0.39998889f));
    p = fma(p, square, V::splat(0.666666746f));
    rest = mul(mul(s, square), p);
  }
};

// -inf for 0, NaN for what is below, inf for inf.
template <class V>
inline V log(V x) {
  const V zero = V::splat(0.0f), one = V::splat(1.0f), least = V::splat(0x1p-126f), huge = V::splat(0x1p127f);
  const V finite = less(V::splat(3.40282347e38f), x);
  V m = x;
  const V n = binary_log(greater(least, finite), &m);
  const Atanh<V> part(div(sub(m, one), add(m, one)));
  const V sum = fma(n, V::splat(0.693147182f), add(part.twice, fma(n, V::splat(-1.90465421e-9f), part.rest)));
  const V below = mul(mul(greater(zero, sub(least, x)), huge), huge), above = sub(x, finite);
  return add(add(sub(sum, below), above), mul(root(finite), zero));
}

// log(1 + e^x) = max(x, 0) + log(1 + u), u = e^-|x|.
template <class V>
inline V softplus(V x) {
  const V size = greater(x, sub(V::splat(0.0f), x));
  const V u = exp_parts(greater(V::splat(-87.0f), sub(V::splat(0.0f), size))).value();
  const Atanh<V> part(div(u, add(u, V::splat(2.0f))));
  return add(greater(V::splat(0.0f), x), add(part.twice, part.rest));
}

// x tanh(log(1 + e^x)) = x n / (n + 2), n = e^x (e^x + 2).
template <class V>
inline V mish(V x) {
  const V power = exp_parts(clamp(x, -87.0f, 20.0f)).value();
  const V n = mul(power, add(power, V::splat(2.0f)));
  return mul(greater(V::splat(-87.0f), x), div(n, add(n, V::splat(2.0f))));
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
    case kElu:
      return elu(x, V::load(a.slopes + panel * kPanel));
    case kExp:
      return exp(x);
    case kLog:
      return log(x);
    case kRoot:
      return root(x);
    case kReciprocal:
      return div(V::splat(1.0f), x);
    case kSoftplus:
      return softplus(x);
    case kMish:
      return mish(x);
  }
  return x;
}

template <class V>
inline V activate(V x, const ActivationArgs& a, int panel) {
  return a.curve ? curved(x, a, panel) : clamp(x, a.lo, a.hi);
}

}  // namespace
}  // namespace mbinfer
