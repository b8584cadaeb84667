// Bytes that stand for real numbers, from and to float32, and pictures as bytes. Included by isa.cpp only.
#pragma once

namespace mbinfer {
namespace {

inline bool is_byte(const Type& type) { return type.dtype != DType::kFloat32; }

// An int8 is the uint8 of a zero point that is higher by so much, with another first bit.
constexpr int kHalfByte = 0x80;

// The bits in which each byte of the output differs from that of the input, 0 or kHalfByte: (q - zero) * scale / scale
// is rounded back to q - zero, where nothing is denormal or infinite on the way. -1 where it is another number.
int flipped_bits(const ConvertArgs& a) {
  const Type &in = a.in_type, &out = a.out_type;
  if (!is_byte(in) || !is_byte(out) || !(out.scale > 1e-30f && out.scale < 1e30f)) return -1;
  if (!a.mean) {
    const int more = in.dtype == out.dtype ? 0 : out.dtype == DType::kUint8 ? kHalfByte : -kHalfByte;
    return in.scale != out.scale || in.zero_point + more != out.zero_point ? -1 : more ? kHalfByte : 0;
  }
  for (int c = 0; c < a.channels; c++)
    if (a.mean[c] != float(out.zero_point) || a.scale[c] != out.scale) return -1;
  return in.dtype == out.dtype ? 0 : -1;
}

// The first `count` of four bytes.
uint32_t four_bytes(int count, int byte) {
  uint8_t bytes[4];
  for (int c = 0; c < 4; c++) bytes[c] = uint8_t(c < count ? byte : 0);
  uint32_t four;
  __builtin_memcpy(&four, bytes, sizeof four);
  return four;
}

// body(two, p, count) for two pixels p, p + 1 of at most four bytes each, or the last one: as a number that is filled
// up with zeros. Each is read with what lies behind it, as far as there are four bytes.
template <class Body>
MBI_INLINE void for_two_pixels(const ConvertArgs& a, Body&& body) {
  const uint8_t* in = static_cast<const uint8_t*>(a.in);
  const uint32_t mask = four_bytes(a.channels, 255);
  uint32_t one, other;
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

// Pixels of at most four bytes as four.
void copy_pixels(const ConvertArgs& a, int flip) {
  uint8_t* out = static_cast<uint8_t*>(a.out);
  const uint64_t bits = four_bytes(a.channels, flip) * uint64_t(0x100000001);
  for_two_pixels(a, [&](uint64_t two, int p, int count) {
    two ^= bits;
    if (count == 2)
      __builtin_memcpy(out + p * 4, &two, 8);
    else
      __builtin_memcpy(out + p * 4, &two, 4);
  });
}

// Where the bytes of four pixels go that follow one another, of 1 to 4 bytes each, so that each has four.
constexpr uint8_t kNoByte = 255;  // which is zero
alignas(16) constexpr uint8_t kPlaces[4][16] = {
    {0, kNoByte, kNoByte, kNoByte, 1, kNoByte, kNoByte, kNoByte, 2, kNoByte, kNoByte, kNoByte, 3, kNoByte, kNoByte,
     kNoByte},
    {0, 1, kNoByte, kNoByte, 2, 3, kNoByte, kNoByte, 4, 5, kNoByte, kNoByte, 6, 7, kNoByte, kNoByte},
    {0, 1, 2, kNoByte, 3, 4, 5, kNoByte, 6, 7, 8, kNoByte, 9, 10, 11, kNoByte},
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}};
// Of the last four pixels of 3 bytes in 16.
alignas(16) constexpr uint8_t kLastPlaces[16] = {4,  5,  6,  kNoByte, 7,  8,  9,  kNoByte,
                                                 10, 11, 12, kNoByte, 13, 14, 15, kNoByte};

// Pixels of a picture of at most four bytes to quantised numbers of four.
struct PictureQuantiser {
  f32x8 mean, scale, step;
  const bool divides;
  const ByteOutput output;
  u8x16 kept;
  explicit PictureQuantiser(const ConvertArgs& a)
      : step(f32x8::splat(a.out_type.scale)),
        divides(!a.factor),
        output({-float(a.out_type.zero_point), 255 - float(a.out_type.zero_point), kNoCurve, nullptr}, a.out_type) {
    float means[8] = {}, scales[8] = {};
    uint8_t mask[16] = {};
    for (int i = 0; i < 16; i++) mask[i] = i % 4 < a.channels ? 255 : 0;
    const float* factors = divides ? a.scale : a.factor;
    for (int i = 0; i < 8; i++)
      if (mask[i]) means[i] = a.mean[i % 4], scales[i] = factors[i % 4];
    mean = f32x8::load(means), scale = f32x8::load(scales), kept = u8x16::load(mask);
  }

  MBI_INLINE f32x8 steps(const uint8_t* two) const {
    const f32x8 x = mul(sub(f32x8::widen_u8(two), mean), scale);
    return divides ? div(x, step) : x;
  }
  MBI_INLINE u8x16 operator()(const uint8_t* one, const uint8_t* other) const {
    return less(output(steps(one), steps(other)), kept);
  }

  // Four pixels of those that follow one another, from some bytes on.
  MBI_INLINE void four(const uint8_t* in, u8x16 which, uint8_t* out) const {
    uint8_t pixels[16];
    store(pixels, pick(u8x16::load(in), which));
    store(out, (*this)(pixels, pixels + 8));
  }
};

void quantise_pixels(const ConvertArgs& a) {
  const PictureQuantiser quantise(a);
  ConvertArgs rest = a;
  uint8_t* out = static_cast<uint8_t*>(a.out);
  if (a.in_stride == a.channels) {
    const u8x16 which = u8x16::load(kPlaces[a.channels - 1]);
    const uint8_t* in = static_cast<const uint8_t*>(a.in);
    for (; rest.pixels * a.channels >= 16; rest.pixels -= 4, in += 4 * a.channels, out += 16)
      quantise.four(in, which, out);
    if (a.channels == 3 &&
        a.pixels >= 6) {  // the last ones once more with some before them, in the row's last 16 bytes
      if (rest.pixels == 5) quantise.four(in - 3, which, out - 4);
      const u8x16 last = u8x16::load(kLastPlaces);
      return quantise.four(in + rest.pixels * 3 - 16, last, out + (rest.pixels - 4) * 4);
    }
    rest.in = in;
  }
  for_two_pixels(rest, [&](uint64_t two, int p, int count) {
    uint8_t bytes[8];
    __builtin_memcpy(bytes, &two, 8);
    const u8x16 made = quantise(bytes, bytes);
    if (count == 2) return store_half(out + p * 4, made);
    store_half(bytes, made);
    __builtin_memcpy(out + p * 4, bytes, 4);
  });
}

// Whether pixels of at most four numbers become four bytes each, side by side.
bool fills_quads(const ConvertArgs& a) {
  return a.channels <= 4 && a.in_stride >= 0 && a.out_channels == 4 && a.out_stride == 4;
}

struct ByteNumbers {
  Type type;
  uint64_t flip;  // of eight
  explicit ByteNumbers(const Type& t) : type(t), flip(t.dtype == DType::kInt8 ? 0x8080808080808080u : 0) {
    if (flip) type.zero_point += kHalfByte;
  }
};

// Floats that follow one another, as bytes.
struct Quantiser {
  const ByteNumbers numbers;
  const f32x8 step, lo;
  const ByteOutput output;
  explicit Quantiser(const Type& type)
      : numbers(type),
        step(f32x8::splat(type.scale)),
        lo(f32x8::splat(-float(numbers.type.zero_point))),
        output({-float(numbers.type.zero_point), 255 - float(numbers.type.zero_point), kNoCurve, nullptr},
               numbers.type) {}

  // NaN becomes the least; what is too large, ByteOutput clamps.
  MBI_INLINE f32x8 steps(const float* in) const { return number(div(f32x8::load(in), step), lo); }
  void flip(uint8_t* out) const {
    uint64_t eight;
    __builtin_memcpy(&eight, out, sizeof eight);
    eight ^= numbers.flip;
    __builtin_memcpy(out, &eight, sizeof eight);
  }
  void run(const float* in, uint8_t* out, int count) const {
    for (; count >= 16; count -= 16, in += 16, out += 16) {
      store(out, output(steps(in), steps(in + 8)));
      if (numbers.flip) flip(out), flip(out + 8);
    }
    for (int some; count > 0; count -= some, in += some, out += some) {
      some = count < 8 ? count : 8;
      float last[8] = {};
      uint8_t bytes[8];
      __builtin_memcpy(last, in, size_t(some) * sizeof *in);
      const f32x8 x = steps(last);
      store_half(bytes, output(x, x));
      flip(bytes);
      __builtin_memcpy(out, bytes, size_t(some));
    }
  }
};

// Bytes that follow one another, as floats.
struct Dequantiser {
  const ByteNumbers numbers;
  const f32x8 zero, step;
  explicit Dequantiser(const Type& type)
      : numbers(type), zero(f32x8::splat(float(numbers.type.zero_point))), step(f32x8::splat(type.scale)) {}

  void run(const uint8_t* in, float* out, int count) const {
    for (int some; count > 0; count -= some, in += some, out += some) {
      some = count < 8 ? count : 8;
      uint64_t eight = 0;
      __builtin_memcpy(&eight, in, size_t(some));
      eight ^= numbers.flip;
      uint8_t bytes[8];
      __builtin_memcpy(bytes, &eight, sizeof bytes);
      const f32x8 x = mul(sub(f32x8::widen_u8(bytes), zero), step);
      if (some == 8) {
        store(out, x);
        continue;
      }
      float last[8];
      store(last, x);
      __builtin_memcpy(out, last, size_t(some) * sizeof *out);
    }
  }
};

// run(in, out, count) for all that follows one another: all pixels, or the channels of each.
template <class In, class Out, class Run>
void for_each_run(const ConvertArgs& a, const Run& numbers) {
  const auto* in = static_cast<const In*>(a.in);
  auto* out = static_cast<uint8_t*>(a.out);
  const int empty = a.out_channels - a.channels;
  if (!empty && a.in_stride == a.channels * ptrdiff_t(sizeof(In)) &&
      a.out_stride == a.channels * ptrdiff_t(sizeof(Out)))
    return numbers.run(in, static_cast<Out*>(a.out), a.pixels * a.channels);
  for (int p = 0; p < a.pixels; p++, out += a.out_stride) {
    auto* to = reinterpret_cast<Out*>(out);
    numbers.run(reinterpret_cast<const In*>(static_cast<const char*>(a.in) + p * a.in_stride), to, a.channels);
    __builtin_memset(to + a.channels, 0, size_t(empty) * sizeof(Out));
  }
}

struct Copier {
  const int flip;
  void run(const uint8_t* in, uint8_t* out, int count) const {
    for (int i = 0; i < count; i++) out[i] = uint8_t(in[i] ^ flip);
  }
};

void copy_bytes(const ConvertArgs& a, int flip) {
  fills_quads(a) ? copy_pixels(a, flip) : for_each_run<uint8_t, uint8_t>(a, Copier{flip});
}

// Pixels of few floats become bytes that follow one another first, then four each.
void quantise_quads(const ConvertArgs& a) {
  constexpr int kPixels = 64;
  const Quantiser numbers(a.out_type);
  const u8x16 which = u8x16::load(kPlaces[a.channels - 1]);
  const ptrdiff_t four = 4 * a.channels;
  uint8_t bytes[kPixels * 4 + 16], last[16];
  const float* in = static_cast<const float*>(a.in);
  uint8_t* out = static_cast<uint8_t*>(a.out);
  for (int p = 0, some; p < a.pixels; p += some, in += some * a.channels) {
    some = a.pixels - p < kPixels ? a.pixels - p : kPixels;
    numbers.run(in, bytes, some * a.channels);
    __builtin_memset(bytes + some * a.channels, 0, 16);
    const uint8_t* from = bytes;
    int left = some;
    for (; left >= 4; left -= 4, from = pace(from + four), out += 16) store(out, pick(u8x16::load(from), which));
    if (!left) continue;
    store(last, pick(u8x16::load(from), which));
    __builtin_memcpy(out, last, size_t(left) * 4);
  }
}

// float32 to bytes, or bytes to float32.
void convert_bytes(const ConvertArgs& a) {
  if (is_byte(a.in_type)) return for_each_run<uint8_t, float>(a, Dequantiser(a.in_type));
  if (fills_quads(a) && a.in_stride == a.channels * ptrdiff_t(sizeof(float))) return quantise_quads(a);
  for_each_run<float, uint8_t>(a, Quantiser(a.out_type));
}

}  // namespace
}  // namespace mbinfer
