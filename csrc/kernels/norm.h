// Normalisation over the channels of a pixel, written once over a vector of 8, the reference's panel included: local
// response normalisation (Krizhevsky et al. 2012), L2 and layer normalisation.
#pragma once

namespace mbinfer {
namespace {

// The channels [first, first + 8) of a pixel, zeros where there are none.
template <class V>
inline V some_channels(const float* in, int first, int channels) {
  if (first >= 0 && first + kPanel <= channels) return V::load(in + first);
  float room[kPanel] = {};
  for (int n = 0; n < kPanel; n++)
    if (first + n >= 0 && first + n < channels) room[n] = in[first + n];
  return V::load(room);
}

template <class V>
inline float joined(V sums) {
  float s[kPanel];
  store(s, sums);
  return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

// (offset + factor * sum)^exponent.
template <class V>
inline V norm_of(V sum, const float* numbers) {
  const V base = greater(V::splat(numbers[3]), fma(V::splat(numbers[0]), sum, V::splat(numbers[1])));
  const float exponent = numbers[2];
  if (exponent == 1.0f) return base;
  if (exponent == 0.5f) return root(base);
  if (exponent == 0.75f) return mul(root(base), root(root(base)));
  return exp(mul(V::splat(exponent), log(base)));
}

// Each channel by the sum over those around it.
template <class V>
void norm_window(const NormArgs* a, const float* in, float* out) {
  const int before = (a->window - 1) / 2, after = a->window - 1 - before;
  for (int c = 0; c < a->channels; c += kPanel) {
    V sum = V::splat(0.0f);
    for (int k = c - before; k <= c + after; k++) {
      const V x = some_channels<V>(in, k, a->channels);
      sum = fma(x, x, sum);
    }
    store(out + c, div(some_channels<V>(in, c, a->channels), norm_of(sum, a->numbers)));
  }
}

// All channels by the sum over all of them.
template <class V>
void norm_all(const NormArgs* a, const float* in, float* out) {
  V sum = V::splat(0.0f), mean = sum;
  if (a->centred) {
    for (int c = 0; c < a->channels; c += kPanel) sum = add(sum, some_channels<V>(in, c, a->channels));
    mean = V::splat(joined(sum) * (1.0f / float(a->channels)));
  }
  float means[kPanel];
  store(means, mean);
  auto centred = [&](int c) {
    const int left = a->channels - c;
    return sub(some_channels<V>(in, c, a->channels), left < kPanel ? some_channels<V>(means, 0, left) : mean);
  };
  sum = V::splat(0.0f);
  for (int c = 0; c < a->channels; c += kPanel) {
    const V x = centred(c);
    sum = fma(x, x, sum);
  }
  const V norm = norm_of(V::splat(joined(sum)), a->numbers);
  for (int c = 0; c < a->channels; c += kPanel) store(out + c, div(centred(c), norm));
}

template <class V>
void norm_pixels(const NormArgs* a) {
  for (int p = 0; p < a->pixels; p++) {
    const float* in = at(a->in, p * a->in_stride);
    float* out = at(a->out, p * a->out_stride);
    a->window ? norm_window<V>(a, in, out) : norm_all<V>(a, in, out);
  }
}

}  // namespace
}  // namespace mbinfer
