// Numbers of one type as numbers of another, see ConvertArgs: pictures to float32 over vec. Included by isa.cpp only.
#pragma once

namespace mbinfer {
namespace {

// Pixels side by side on both ends, eight at a time: means and factors of eight pixels stay in registers.
template <int kChannels>
MBI_INLINE void normalise_run(const ConvertArgs& a, const uint8_t* in, float* out) {
  float means[kChannels * 8], scales[kChannels * 8];
  for (int i = 0; i < kChannels * 8; i++) means[i] = a.mean[i % kChannels], scales[i] = a.scale[i % kChannels];
  f32x8 mean[kChannels], scale[kChannels];
  MBI_UNROLL for (int v = 0; v < kChannels; v++) mean[v] = f32x8::load(means + v * 8),
                                                 scale[v] = f32x8::load(scales + v * 8);
  const int count = a.pixels * kChannels;
  int i = 0;
  for (; i + kChannels * 8 <= count; i += kChannels * 8) {
    MBI_UNROLL for (int v = 0; v < kChannels; v++)
        store(out + i + v * 8, mul(sub(f32x8::widen_u8(in + i + v * 8), mean[v]), scale[v]));
  }
  int v = 0;
  for (; i + 8 <= count; i += 8, v += 8)
    store(out + i, mul(sub(f32x8::widen_u8(in + i), f32x8::load(means + v)), f32x8::load(scales + v)));
  for (; i < count; i++) out[i] = (float(in[i]) - a.mean[i % kChannels]) * a.scale[i % kChannels];
}

// Whether a byte of the input is the same byte of the output: (q - zero) * scale / scale is rounded back to q - zero,
// where nothing is denormal or infinite on the way.
bool keeps_bytes(const ConvertArgs& a) {
  if (a.in_type.dtype != DType::kUint8 || a.out_type.dtype != DType::kUint8) return false;
  const float zero = float(a.out_type.zero_point), scale = a.out_type.scale;
  if (!(scale > 1e-30f && scale < 1e30f)) return false;
  if (!a.mean) return a.in_type.zero_point == a.out_type.zero_point && a.in_type.scale == scale;
  for (int c = 0; c < a.channels; c++)
    if (a.mean[c] != zero || a.scale[c] != scale) return false;
  return true;
}

// body(two, p, count) for two pixels p, p + 1 of at most four bytes each, or the last one: as a number that is filled
// up with zeros. Each is read with what lies behind it, as far as there are four bytes.
template <class Body>
MBI_INLINE void for_two_pixels(const ConvertArgs& a, Body&& body) {
  const uint8_t* in = static_cast<const uint8_t*>(a.in);
  uint8_t mask_bytes[4];
  for (int c = 0; c < 4; c++) mask_bytes[c] = c < a.channels ? 255 : 0;
  uint32_t mask, one, other;
  __builtin_memcpy(&mask, mask_bytes, 4);
  int p = 0;
  auto readable = [&] { return a.pixels - p >= 2 && (a.pixels - p - 2) * a.in_stride + a.channels >= 4; };
  for (; readable(); p += 2, in += 2 * a.in_stride) {
    __builtin_memcpy(&one, in, 4);
    __builtin_memcpy(&other, in + a.in_stride, 4);
    body((one & mask) | uint64_t(other & mask) << 32, p, 2);
  }
  for (int count; p < a.pixels; p += count) {
    count = a.pixels - p < 2 ? 1 : 2;
    uint8_t last[8] = {};
    for (int i = 0; i < count; i++, in += a.in_stride) __builtin_memcpy(last + i * 4, in, size_t(a.channels));
    uint64_t two;
    __builtin_memcpy(&two, last, 8);
    body(two, p, count);
  }
}

// Pixels of at most four bytes to quantised numbers of four.
void quantise_pixels(const ConvertArgs& a) {
  uint8_t* out = static_cast<uint8_t*>(a.out);
  if (keeps_bytes(a))
    return for_two_pixels(a, [&](uint64_t two, int p, int count) {
      if (count == 2)
        __builtin_memcpy(out + p * 4, &two, 8);
      else
        __builtin_memcpy(out + p * 4, &two, 4);
    });
  float means[8] = {}, scales[8] = {};
  uint8_t mask[16] = {};
  for (int i = 0; i < 8; i++)
    if (i % 4 < a.channels) means[i] = a.mean[i % 4], scales[i] = a.scale[i % 4], mask[i] = 255;
  const f32x8 mean = f32x8::load(means), scale = f32x8::load(scales), step = f32x8::splat(a.out_type.scale);
  const u8x16 kept = u8x16::load(mask);
  const float zero = float(a.out_type.zero_point);
  const ByteOutput output({-zero, 255 - zero, kNoCurve, nullptr}, a.out_type);
  for_two_pixels(a, [&](uint64_t two, int p, int count) {
    uint8_t bytes[8];
    __builtin_memcpy(bytes, &two, 8);
    const f32x8 steps = div(mul(sub(f32x8::widen_u8(bytes), mean), scale), step);
    const u8x16 made = less(output(steps, steps), kept);
    if (count == 2) return store_half(out + p * 4, made);
    store_half(bytes, made);
    __builtin_memcpy(out + p * 4, bytes, 4);
  });
}

void convert(const ConvertArgs* a) {
  const bool picture = a->mean != nullptr;
  if (a->in_type.dtype == DType::kUint8 && a->out_type.dtype == DType::kUint8 && a->channels <= 4 &&
      a->in_stride >= 0 && a->out_channels == 4 && a->out_stride == 4 && (picture || keeps_bytes(*a)))
    return quantise_pixels(*a);
  if (a->out_type.dtype != DType::kFloat32 || (!picture && a->in_type.dtype != DType::kFloat32))
    return convert_reference(a);
  const uint8_t* in = static_cast<const uint8_t*>(a->in);
  float* out = static_cast<float*>(a->out);
  const int channels = a->channels;
  if (picture && a->in_stride == channels && a->out_channels == channels &&
      a->out_stride == channels * ptrdiff_t(sizeof(float))) {
    if (channels == 1) return normalise_run<1>(*a, in, out);
    if (channels == 3) return normalise_run<3>(*a, in, out);
  }
  for (int p = 0; p < a->pixels; p++, in += a->in_stride, out = at(out, a->out_stride)) {
    if (picture) {
      for (int c = 0; c < channels; c++) out[c] = (float(in[c]) - a->mean[c]) * a->scale[c];
    } else {
      for (int c = 0; c < channels; c++) out[c] = reinterpret_cast<const float*>(in)[c];
    }
    for (int c = channels; c < a->out_channels; c++) out[c] = 0.0f;
  }
}

}  // namespace
}  // namespace mbinfer
