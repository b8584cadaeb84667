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

// Pixels of a picture, of at most four channels, to quantised numbers of four: two pixels in a vector, each read with
// what lies behind it, but the last one.
void quantise_picture(const ConvertArgs& a) {
  float means[8] = {}, scales[8] = {};
  uint8_t mask[16] = {};
  for (int i = 0; i < 8; i++)
    if (i % 4 < a.channels) means[i] = a.mean[i % 4], scales[i] = a.scale[i % 4];
  for (int i = 0; i < 16; i++) mask[i] = i % 4 < a.channels ? 255 : 0;
  const f32x8 mean = f32x8::load(means), scale = f32x8::load(scales), step = f32x8::splat(a.out_type.scale);
  const u8x16 kept = u8x16::load(mask);
  const float zero = float(a.out_type.zero_point);
  const ByteOutput output({-zero, 255 - zero, kNoCurve, nullptr}, a.out_type);
  const uint8_t* in = static_cast<const uint8_t*>(a.in);
  uint8_t* out = static_cast<uint8_t*>(a.out);
  uint8_t quads[16];
  for (int p = 0; p < a.pixels; p += 4, out += 16) {
    const int count = a.pixels - p < 4 ? a.pixels - p : 4;
    for (int i = 0; i < count; i++, in += a.in_stride)
      __builtin_memcpy(quads + i * 4, in, p + i + 1 < a.pixels ? 4 : size_t(a.channels));
    auto steps = [&](int i) { return div(mul(sub(f32x8::widen_u8(quads + i), mean), scale), step); };
    const u8x16 bytes = less(output(steps(0), steps(8)), kept);
    if (count == 4) {
      store(out, bytes);
    } else {
      store(quads, bytes);
      __builtin_memcpy(out, quads, size_t(count) * 4);
    }
  }
}

void convert(const ConvertArgs* a) {
  const bool picture = a->mean != nullptr;
  if (picture && a->out_type.dtype == DType::kUint8 && a->channels <= 4 && a->in_stride >= 0 && a->out_channels == 4 &&
      a->out_stride == 4)
    return quantise_picture(*a);
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
