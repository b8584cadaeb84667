// Numbers of one type as numbers of another, see ConvertArgs. Pictures become float32 here, bytes come and go in
// convert_u8.h. Included by isa.cpp only.
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

void convert(const ConvertArgs* a) {
  const bool picture = a->mean != nullptr;
  const int flip = flipped_bits(*a);
  if (flip >= 0) return copy_bytes(*a, flip);
  if (picture && fills_quads(*a) && a->out_type.dtype == DType::kUint8) return quantise_pixels(*a);
  if (!picture && is_byte(a->in_type) != is_byte(a->out_type)) return convert_bytes(*a);
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
