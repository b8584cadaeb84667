// Every kernel of every instruction set that this CPU runs against the reference, bit for bit: the promise of
// kernels.h.
//
//   MBINFER_EXPECT_ISA=neon kernel_check     the fastest kernels of this CPU must be the ones of that name, if given
//
// Inputs end where the kernel may read last, so that AddressSanitizer sees one float more; outputs lie among canaries.
// A NaN equals a NaN: which NaN an operation returns is not promised. Denormals are flushed, as in every run. x86 calls
// a result tiny that is below 2^-126 after rounding, ARM one that is before: sums that round up to 2^-126 are zero on
// ARM alone. No instruction set is compared with another CPU's here, and no network's checksum meets such a sum.
#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "exec/float_mode.h"
#include "kernels/dispatch.h"
#include "tables.h"

using namespace mbinfer;

namespace {

const float kInf = INFINITY;
const float kCanary = -7.984114f;

int passed = 0, failed = 0;

uint32_t random_bits() {  // xorshift32: the same cases on every machine
  static uint32_t state = 2463534242u;
  state ^= state << 13;
  state ^= state >> 17;
  state ^= state << 5;
  return state;
}

int between(int lo, int hi) { return lo + int(random_bits() % uint32_t(hi - lo + 1)); }

// kPlain: nothing special. kTiny: zeros of both signs, denormals and their neighbours. kWild: infinities, NaN, huge.
enum Numbers { kPlain, kTiny, kWild };

float number(Numbers numbers) {
  static const float tiny[] = {0.0f, -0.0f, 1e-45f, -1e-45f, 3e-39f, -1e-40f, FLT_MIN, -FLT_MIN, 1e-20f, -3e-23f};
  static const float wild[] = {kInf, -kInf, NAN, FLT_MAX, -FLT_MAX, 1e30f, -1e30f, 0.0f, -0.0f};
  if (numbers == kTiny && between(0, 1)) return tiny[between(0, 9)];
  if (numbers == kWild && !between(0, 40)) return wild[between(0, 8)];
  return float(int32_t(random_bits())) * (1.0f / (1 << 30));  // [-2, 2)
}

std::vector<float> floats(size_t count, Numbers numbers) {
  std::vector<float> v(count);
  for (float& x : v) x = number(numbers);
  return v;
}

// Whether the CPU takes denormal float16 numbers for zeros while denormal floats are flushed. None does (Intel's
// manual, VCVTPH2PS), but QEMU 7 emulates one that does.
#if defined(__x86_64__)
__attribute__((target("avx,f16c"))) bool takes_halves_for_zeros() {
  const unsigned mode = _mm_getcsr();
  _mm_setcsr(mode | 0x8040);
  const volatile short least = 1;
  const float number = _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(least)));
  _mm_setcsr(mode);
  return number == 0;
}
const bool kNoTinyHalves = __builtin_cpu_supports("avx2") && takes_halves_for_zeros();
#else
constexpr bool kNoTinyHalves = false;
#endif

// A float16 of any kind: zeros, denormals, infinities and NaN as often as numbers from 2^-2 up to 4.
Half half(Numbers numbers) {
  const uint16_t bits = uint16_t(random_bits());
  if (numbers == kWild && !between(0, 40)) return {uint16_t(bits | 0x7C00)};
  if (numbers == kTiny && between(0, 1)) return {uint16_t(bits & (kNoTinyHalves ? 0x8000 : 0x83FF))};
  return {uint16_t((bits & 0x83FF) | uint16_t(between(13, 16) << 10))};
}

// What a float16 stands for, by its definition.
float meant(Half h) {
  const int exponent = h.bits >> 10 & 31, fraction = h.bits & 1023;
  const float magnitude = exponent == 31 ? (fraction ? NAN : kInf)
                          : exponent     ? std::ldexp(float(1024 + fraction), exponent - 25)
                                         : std::ldexp(float(fraction), -24);
  return h.bits & 0x8000 ? -magnitude : magnitude;
}

// Weights of a dtype, and the same numbers as float32, which may be any where they need not be float16, too.
struct Weights {
  DType dtype = between(0, 1) ? DType::kFloat16 : DType::kFloat32;
  std::vector<Half> halves;
  std::vector<float> numbers;
  Weights(size_t count, Numbers kind) : halves(count), numbers(floats(count, kind)) {
    for (size_t i = 0; dtype == DType::kFloat16 && i < count; i++) numbers[i] = meant(halves[i] = half(kind));
  }
  const void* data() const {
    return dtype == DType::kFloat16 ? static_cast<const void*>(halves.data()) : numbers.data();
  }
  const char* name() const { return dtype == DType::kFloat16 ? "float16" : "float32"; }
};

constexpr int kMostPanels = 9;  // that a case makes

ActivationArgs bounds(float lo, float hi) { return {lo, hi, kNoCurve, nullptr}; }

ActivationArgs any_activation() {
  static const std::vector<float> slopes = floats(kMostPanels * kPanel, kPlain);
  static const ActivationArgs all[] = {bounds(-kInf, kInf),  bounds(-kInf, kInf), bounds(0, 6),       bounds(0, kInf),
                                       bounds(-0.5f, 0.75f), bounds(-1, 0),       bounds(-0.0f, 0.5f)};
  constexpr int kBounds = sizeof all / sizeof *all;
  const int choice = between(0, kBounds - 1 + kMish);
  if (choice < kBounds) return all[choice];
  return {-kInf, kInf, choice - kBounds + 1, slopes.data()};
}

bool same(float a, float b) { return !std::memcmp(&a, &b, sizeof a) || (a != a && b != b); }

// `pixels` pixels, `stride` floats apart, of which the kernel writes the first `width`; canaries everywhere else.
class Output {
 public:
  Output(int pixels, int width, int stride)
      : pixels_(pixels), width_(width), stride_(stride), all_(size_t(pixels * stride + 2 * kGuard), kCanary) {}
  float* data() { return all_.data() + kGuard; }
  void fill(Numbers numbers) {  // sums that the kernel goes on from
    for (size_t i = 0; i < all_.size(); i++)
      if (written(i)) all_[i] = number(numbers);
  }
  bool operator==(const Output& o) const {
    for (size_t i = 0; i < all_.size(); i++)
      if (!same(all_[i], o.all_[i]) || (!written(i) && !same(all_[i], kCanary))) return false;
    return true;
  }

 private:
  static constexpr int kGuard = 24;
  bool written(size_t i) const {
    const int at = int(i) - kGuard;
    return at >= 0 && at < pixels_ * stride_ && at % stride_ < width_;
  }
  int pixels_, width_, stride_;
  std::vector<float> all_;
};

__attribute__((format(printf, 2, 3))) void judge(bool ok, const char* format, ...) {
  ok ? passed++ : failed++;
  if (ok || failed > 20) return;
  va_list args;
  va_start(args, format);
  std::printf("FAILED ");
  std::vprintf(format, args);
  std::printf("\n");
  va_end(args);
}

constexpr ptrdiff_t kFloat = sizeof(float);

// Some panels of a node with more of them, sums and output apart or in one place.
void check_gemm(const KernelTable& table, int pixels, int panels, int k, Numbers numbers) {
  Tap taps[6] = {};
  std::vector<std::vector<float>> inputs;
  const int tap_count = between(0, 9) ? between(1, 6) : 0,
            in_stride = between(0, 3) ? k + between(0, 9) : between(1, k);
  int rows = between(0, 2);
  for (int t = 0; t < tap_count; t++) {
    const int count = t ? between(1, k) : k;
    inputs.push_back(floats(size_t((pixels - 1) * in_stride + count), numbers));
    taps[t] = {inputs.back().data(), count, rows};
    rows += count + between(0, 1);
  }
  const int panel = between(0, 1) ? 0 : between(0, 3),
            node_panels = panel + panels + (between(0, 1) ? 0 : between(0, 3));
  const Weights weights(size_t((node_panels + 1) / 2 * rows * 16), numbers);
  const auto bias = floats(size_t(panels * kPanel), numbers);
  const int width = panels * kPanel, out_stride = width + kPanel * between(0, 2),
            sums_stride = width + kPanel * between(0, 2), residual_stride = width + between(0, 8);
  const auto residual = floats(size_t((pixels - 1) * residual_stride + width), numbers);
  const Finish finish = {any_activation(), between(0, 1) ? residual.data() : nullptr, residual_stride * kFloat,
                         any_activation()};
  const bool starts = between(0, 2), ends = between(0, 2), apart = between(0, 1);
  Output sums(pixels, width, sums_stride), out(pixels, width, out_stride);
  if (!starts) (apart ? sums : out).fill(numbers);
  auto run = [&](const KernelTable& with, const void* stored, DType dtype, Output sums, Output out) {
    Output& waiting = apart ? sums : out;
    GemmArgs args = {taps,
                     tap_count,
                     in_stride * kFloat,
                     waiting.data(),
                     (apart ? sums_stride : out_stride) * kFloat,
                     out.data(),
                     out_stride * kFloat,
                     pixels,
                     stored,
                     rows,
                     panel,
                     panels,
                     starts ? bias.data() : nullptr,
                     ends ? &finish : nullptr};
    args.weight_dtype = dtype;
    with.f32.gemm(&args);
    return std::make_pair(sums, out);
  };
  judge(run(kReferenceKernels, weights.numbers.data(), DType::kFloat32, sums, out) ==
            run(table, weights.data(), weights.dtype, sums, out),
        "%s gemm: %d pixels, panels %d to %d of %d, %d taps, k %d, %s, %s, %s, %s, numbers %d", table.isa, pixels,
        panel, panel + panels, node_panels, tap_count, k, weights.name(), starts ? "bias" : "sums go on",
        !ends             ? "sums are left"
        : finish.residual ? "residual"
                          : "activation",
        apart ? "sums apart" : "sums in the output", numbers);
}

// The rows of a value that a window reads, some of them outside of it.
struct Window {
  std::vector<std::vector<float>> storage;
  std::vector<const void*> rows;
  Window(int kernel_h, int width, int stride, int panels, Numbers numbers) {
    const int absent = between(0, 1) ? between(0, kernel_h - 1) : -1;
    for (int ky = 0; ky < kernel_h; ky++) {
      storage.push_back(floats(size_t((width - 1) * stride + panels * 8), numbers));
      rows.push_back(kernel_h > 1 && ky == absent ? nullptr : storage.back().data());
    }
  }
};

void check_depthwise(const KernelTable& table, int kernel_w, int stride, int dilation, int pad_left, int width,
                     Numbers numbers) {
  const int extent = dilation * (kernel_w - 1) + 1, pad_right = std::max(between(0, extent), extent - width - pad_left);
  const int out_width = (width + pad_left + pad_right - extent) / stride + 1;
  const int x0 = between(0, 1) ? 0 : between(0, out_width - 1),
            x1 = between(0, 1) ? out_width : between(x0 + 1, out_width);
  const int panels = between(1, 3), kernel_h = between(0, 3) ? kernel_w : between(1, 7);
  const int in_stride = panels * 8 + between(0, 8), out_stride = panels * 8 + 8 * between(0, 2);
  const Window window(kernel_h, width, in_stride, panels, numbers);
  const int panel = between(0, 1) ? 0 : between(0, 3),
            node_panels = panel + panels + (between(0, 1) ? 0 : between(0, 3));
  const Weights weights(size_t((node_panels + 1) / 2 * kernel_h * kernel_w * 16), numbers);
  const auto bias = floats(size_t(panels * 8), numbers);
  Output expected(x1 - x0, panels * 8, out_stride), found = expected;
  DepthwiseArgs args = {window.rows.data(),
                        kernel_h,
                        kernel_w,
                        stride,
                        dilation,
                        pad_left,
                        width,
                        in_stride * kFloat,
                        expected.data(),
                        out_stride * kFloat,
                        x0,
                        x1,
                        weights.numbers.data(),
                        panel,
                        panels,
                        bias.data(),
                        any_activation()};
  kReferenceKernels.f32.depthwise(&args);
  args.out = found.data();
  args.weight_dtype = weights.dtype;
  args.weights = weights.data();
  table.f32.depthwise(&args);
  judge(expected == found,
        "%s depthwise: %dx%d, stride %d, dilation %d, padding %d and %d, width %d, pixels %d to %d, %d panels, %s, "
        "numbers %d",
        table.isa, kernel_h, kernel_w, stride, dilation, pad_left, pad_right, width, x0, x1, panels, weights.name(),
        numbers);
}

void check_pool(const KernelTable& table, int kernel_w, int stride, int pad_left, int width, int average,
                Numbers numbers) {
  const int pad_right = std::max(between(0, kernel_w - 1), kernel_w - width - pad_left);
  int out_width = (width + pad_left + pad_right - kernel_w) / stride + 1;
  while ((out_width - 1) * stride - pad_left >= width) out_width--;  // no window of padding only
  const int x0 = between(0, 1) ? 0 : between(0, out_width - 1),
            x1 = between(0, 1) ? out_width : between(x0 + 1, out_width);
  const int panels = between(1, 3), kernel_h = between(1, 4);
  const int in_stride = panels * 8 + between(0, 8), out_stride = panels * 8 + 8 * between(0, 2);
  const Window window(kernel_h, width, in_stride, panels, numbers);
  Output expected(x1 - x0, panels * 8, out_stride), found = expected;
  PoolArgs args = {window.rows.data(),
                   kernel_h,
                   kernel_w,
                   stride,
                   pad_left,
                   width,
                   in_stride * kFloat,
                   expected.data(),
                   out_stride * kFloat,
                   x0,
                   x1,
                   panels,
                   average,
                   average && between(0, 1) ? kernel_h * kernel_w : 0,
                   any_activation()};
  kReferenceKernels.f32.pool(&args);
  args.out = found.data();
  table.f32.pool(&args);
  judge(expected == found, "%s %s pool: %dx%d, stride %d, padding %d, width %d, pixels %d to %d, %d panels, numbers %d",
        table.isa, average ? "average" : "max", kernel_h, kernel_w, stride, pad_left, width, x0, x1, panels, numbers);
}

void check_reduce(const KernelTable& table, int pixels, int panels, int first, int last, Numbers numbers) {
  const int stride = panels * 8 + between(0, 8);
  const bool apart = between(0, 1);
  const auto in = floats(size_t((pixels - 1) * stride + panels * 8), numbers);
  Output sums(1, panels * 8, panels * 8), out = sums;
  if (!first) (apart ? sums : out).fill(numbers);
  const ActivationArgs activation = any_activation();
  auto run = [&](const KernelTable& with, Output sums, Output out) {
    const ReduceArgs args = {
        in.data(), stride * kFloat,      pixels,    panels, apart ? sums.data() : out.data(), out.data(), first,
        last,      1.0f / float(pixels), activation};
    with.f32.reduce(&args);
    return std::make_pair(sums, out);
  };
  judge(run(kReferenceKernels, sums, out) == run(table, sums, out),
        "%s reduce: %d pixels, %d panels, first %d, last %d, %s, numbers %d", table.isa, pixels, panels, first, last,
        apart ? "sums apart" : "sums in the output", numbers);
}

void check_add(const KernelTable& table, int pixels, int panels, Numbers numbers) {
  const int width = panels * 8, a_stride = width + between(0, 8), b_stride = width + between(0, 8),
            out_stride = width + 8 * between(0, 2);
  const auto a = floats(size_t((pixels - 1) * a_stride + width), numbers),
             b = floats(size_t((pixels - 1) * b_stride + width), numbers);
  Output expected(pixels, width, out_stride), found = expected;
  AddArgs args = {a.data(), b.data(), expected.data(), a_stride * kFloat, b_stride * kFloat, out_stride * kFloat,
                  pixels,   panels,   any_activation()};
  kReferenceKernels.f32.add(&args);
  args.out = found.data();
  table.f32.add(&args);
  judge(expected == found, "%s add: %d pixels, %d panels, numbers %d", table.isa, pixels, panels, numbers);
}

void check_pair(const KernelTable& table, int pixels, int panels, Numbers numbers) {
  const int width = panels * 8, a_stride = width + between(0, 8), b_stride = between(0, 1) ? 0 : width + between(0, 8),
            out_stride = width + 8 * between(0, 2);
  const auto a = floats(size_t((pixels - 1) * a_stride + width), numbers),
             b = floats(size_t((pixels - 1) * b_stride + width), numbers);
  Output expected(pixels, width, out_stride), found = expected;
  PairArgs args = {Pair(between(0, 4)), a.data(), b.data(), expected.data(),  a_stride * kFloat, b_stride * kFloat,
                   out_stride * kFloat, pixels,   panels,   any_activation(), between(0, 1)};
  kReferenceKernels.f32.pair(&args);
  args.out = found.data();
  table.f32.pair(&args);
  judge(expected == found, "%s pair %d: %d pixels, %d panels, numbers %d", table.isa, args.pair, pixels, panels,
        numbers);
}

void check_norm(const KernelTable& table, int pixels, int panels, Numbers numbers) {
  static const float exponents[] = {0.5f, 0.75f, 1.0f, 0.3f};
  const int channels = panels * 8 - between(0, 7), in_stride = panels * 8 + between(0, 8),
            out_stride = panels * 8 + 8 * between(0, 2);
  const auto in = floats(size_t((pixels - 1) * in_stride + channels), numbers);
  const float parameters[] = {1.0f / 3, float(between(0, 2)), exponents[between(0, 3)], 1e-12f};
  Output expected(pixels, panels * 8, out_stride), found = expected;
  NormArgs args = {in.data(),
                   expected.data(),
                   in_stride * kFloat,
                   out_stride * kFloat,
                   pixels,
                   channels,
                   between(0, 1) ? between(1, 9) : 0,
                   0,
                   parameters};
  if (!args.window) args.centred = between(0, 1);
  kReferenceKernels.f32.norm(&args);
  args.out = found.data();
  table.f32.norm(&args);
  judge(expected == found, "%s norm: %d pixels, %d channels, window %d, numbers %d", table.isa, pixels, channels,
        args.window, numbers);
}

void check_resize(const KernelTable& table, int pixels, int width, Numbers numbers) {
  const int panels = between(1, 3), in_stride = panels * 8 + between(0, 8), out_stride = panels * 8 + 8 * between(0, 2);
  std::vector<float> rows[2];
  for (auto& row : rows) row = floats(size_t((width - 1) * in_stride + panels * 8), numbers);
  Output expected(pixels, panels * 8, out_stride), found = expected;
  const int denominator = between(1, 9), down = between(0, 8);
  ResizeArgs args = {{rows[0].data(), between(0, 1) ? rows[1].data() : nullptr},
                     float(down) / 8,
                     between(1, 2),
                     between(-3, width),
                     between(0, denominator - 1),
                     between(0, 2),
                     between(0, denominator - 1),
                     denominator,
                     width,
                     in_stride * kFloat,
                     expected.data(),
                     out_stride * kFloat,
                     pixels,
                     panels,
                     any_activation()};
  kReferenceKernels.f32.resize(&args);
  args.out = found.data();
  table.f32.resize(&args);
  judge(expected == found, "%s resize: %d pixels, width %d, from %d, step %d + %d / %d, %d taps, numbers %d", table.isa,
        pixels, width, args.first, args.step, args.step_rest, denominator, args.taps, numbers);
}

// Pixels side by side, or in whole panels that are filled up with zeros.
void check_convert(const KernelTable& table, DType type, int pixels, int channels, bool dense) {
  std::vector<uint8_t> bytes(static_cast<size_t>(pixels * channels));
  for (uint8_t& u : bytes) u = uint8_t(random_bits());
  const auto plain = floats(bytes.size(), kPlain), mean = floats(size_t(channels), kPlain),
             scale = floats(size_t(channels), kPlain);
  const int filled = dense ? channels : (channels + 7) / 8 * 8, stride = filled + (dense ? 0 : 8 * between(0, 1));
  Output expected(pixels, filled, stride), found = expected;
  ConvertArgs args = {type == DType::kUint8 ? static_cast<const void*>(bytes.data()) : plain.data(),
                      {type},
                      expected.data(),
                      {},
                      channels * ptrdiff_t(type == DType::kUint8 ? 1 : kFloat),
                      stride * kFloat,
                      pixels,
                      channels,
                      filled,
                      type == DType::kUint8 ? mean.data() : nullptr,
                      type == DType::kUint8 ? scale.data() : nullptr};
  kReferenceKernels.convert(&args);
  args.out = found.data();
  table.convert(&args);
  judge(expected == found, "%s convert: %s, %d pixels, %d channels, %s", table.isa,
        type == DType::kUint8 ? "uint8" : "float32", pixels, channels, dense ? "side by side" : "in panels");
}

void check(const KernelTable& table) {
  for (Numbers numbers : {kPlain, kTiny, kWild}) {
    for (int pixels = 1; pixels <= 40; pixels++)
      for (int panels = 1; panels <= 9; panels++)
        check_gemm(table, pixels, panels, between(1, numbers == kPlain ? 70 : 12), numbers);
    for (int k = 1; k <= 70; k++)
      for (int pixels : {1, 3, 8, 13}) check_gemm(table, pixels, between(1, 4), k, numbers);
    for (int kernel : {1, 2, 3, 4, 5, 7})
      for (int stride = 1; stride <= 3; stride++)
        for (int dilation = 1; dilation <= 2; dilation++)
          for (int width = 1; width <= 20; width++)
            for (int pad = 0; pad <= dilation * (kernel - 1) + 2; pad++)
              if (numbers == kPlain || (pad + width) % 5 == numbers)
                check_depthwise(table, kernel, stride, dilation, pad, width, numbers);
    for (int kernel = 1; kernel <= 5; kernel++)
      for (int stride = 1; stride <= 3; stride++)
        for (int pad = 0; pad < kernel; pad++)
          for (int width = std::max(1, kernel - 2 * pad); width <= 12; width++)
            for (int average = 0; average <= 1; average++)
              check_pool(table, kernel, stride, pad, width, average, numbers);
    for (int pixels = 1; pixels <= 20; pixels++)
      for (int panels = 1; panels <= 5; panels++) {
        check_add(table, pixels, panels, numbers);
        for (int i = 0; i < 5; i++) check_pair(table, pixels, panels, numbers);
        for (int i = 0; i < 4; i++) check_norm(table, pixels, panels, numbers);
        for (int i = 0; i < 3; i++) check_resize(table, pixels, between(1, 12), numbers);
        for (int ends = 0; ends < 4; ends++) check_reduce(table, pixels, panels, ends & 1, ends >> 1, numbers);
      }
  }
  for (int pixels = 1; pixels <= 50; pixels++)
    for (int channels = 1; channels <= 9; channels++)
      for (DType type : {DType::kUint8, DType::kFloat32})
        for (bool dense : {true, false}) check_convert(table, type, pixels, channels, dense);
}

// The reference's multiply-add against libm's fmaf: ordinary triples, and sums so close to halfway between two floats,
// or to zero, that rounding them to double first would go wrong.
void check_multiply_add() {
  auto power = [](int e) { return std::ldexp(1.0f, e); };
  auto mantissa = [](int bits) { return float(1u << (bits - 1) | (random_bits() >> (32 - bits + 1))); };
  int wrong = 0;
  for (int i = 0; i < 100000; i++) {
    float x = number(i % 3 == 2 ? kWild : kPlain), w[kPanel], sums[kPanel];
    const int kind = i % 8;
    if (kind > 3) x = mantissa(between(2, 24)) * power(between(-60, 10));
    for (int n = 0; n < kPanel; n++) {
      w[n] = number(i % 3 == 1 ? kTiny : kPlain);
      sums[n] = number(i % 5 == 4 ? kWild : kPlain);
      if (kind <= 3) continue;
      // The product is about half of the sum's last bit, or a little more or less than a multiple of it.
      w[n] = mantissa(between(2, 24)) * power(between(-60, 10));
      const int e = std::ilogb(double(x) * w[n]) + between(20, 52);
      if (e < 100) sums[n] = mantissa(kind & 1 ? 24 : 12) * power(e - 23);
      if (kind > 5) sums[n] = float(-double(x) * w[n]);  // cancels all but a few bits
      if (kind == 7) w[n] = std::nextafter(w[n], 0.0f);
      if (between(0, 1)) w[n] = -w[n];
    }
    const Tap tap = {&x, 1, 0};
    float out[kPanel];
    const Finish finish = {bounds(-kInf, kInf), nullptr, 0, bounds(-kInf, kInf)};
    const GemmArgs args = {&tap, 1, 0, out, 0, out, 0, 1, w, 1, 0, 1, sums, &finish};
    kReferenceKernels.f32.gemm(&args);
    for (int n = 0; n < kPanel; n++) {
      volatile float exact = std::fmaf(x, w[n], sums[n]);
      wrong += !same(out[n], exact);
    }
  }
  judge(wrong == 0, "%d of the reference's multiply-adds are not libm's", wrong);
}

// Every float16 as a weight, in panels one by one and all together, stands for the same number.
void check_float16(const KernelTable& table) {
  constexpr int kCount = 1 << 16, kPanels = kCount / kPanel;
  const float one = 1.0f;
  const Tap tap = {&one, 1, 0};
  const std::vector<float> minus_zeros(kCount, -0.0f);  // which leave every product as it is
  std::vector<Half> halves(kCount);
  for (int i = 0; i < kCount; i++) halves[size_t(i)] = {uint16_t(kNoTinyHalves && !(i & 0x7C00) ? i & 0x8000 : i)};
  const Finish finish = {bounds(-kInf, kInf), nullptr, 0, bounds(-kInf, kInf)};
  for (int at_once : {1, kPanels}) {
    std::vector<float> out(kCount);
    for (int panel = 0; panel < kPanels; panel += at_once) {
      float* made = out.data() + panel * kPanel;
      GemmArgs args = {&tap, 1, 0, made, 0, made, 0, 1, halves.data(), 1, panel, at_once, minus_zeros.data(), &finish};
      args.weight_dtype = DType::kFloat16;
      table.f32.gemm(&args);
    }
    int wrong = 0;
    for (size_t i = 0; i < out.size(); i++) wrong += !same(out[i], meant(halves[i]));
    judge(wrong == 0, "%s: %d of all float16 numbers are other numbers, %d panels at once", table.isa, wrong, at_once);
  }
}

// Pools, and hard-swish: what a comparison could lose.
void check_promises(const KernelTable& table) {
  float in[3][kPanel], out[kPanel];
  const ActivationArgs none = bounds(-kInf, kInf), swish = {-kInf, kInf, kHardSwish, nullptr};
  for (int at = 0; at < 3; at++) {
    for (auto& pixel : in) std::fill(pixel, pixel + kPanel, 1.0f);
    std::fill(in[at], in[at] + kPanel, NAN);
    const void* row = in;
    PoolArgs args = {&row, 1, 3, 1, 0, 3, kPanel * kFloat, out, kPanel * kFloat, 0, 1, 1, 0, 0, none};
    table.f32.pool(&args);
    judge(out[0] != out[0] && out[7] != out[7], "%s max pool loses NaN at %d", table.isa, at);
    for (auto& pixel : in) std::fill(pixel, pixel + kPanel, -1e-40f);
    table.f32.pool(&args);
    uint32_t bits;
    std::memcpy(&bits, out, sizeof bits);
    judge(bits == 0x80000000 || bits == 0x800116c2, "%s max pool makes something of a denormal", table.isa);
    judge(FloatMode::current() == 0 || bits == 0x80000000, "%s max pool leaves a denormal", table.isa);
  }
  std::fill(in[0], in[0] + kPanel, FLT_MAX / 2);
  std::fill(in[1], in[1] + kPanel, 0.0f);
  const AddArgs args = {in[0], in[1], out, 0, 0, 0, 1, 1, swish};
  table.f32.add(&args);
  judge(out[0] == FLT_MAX / 2, "%s hard-swish overflows", table.isa);
}

// Largest error of a curve against the same function in double, in units of the last place; where both are below
// `least`, numbers that the curve need not tell from zero, they count as equal.
double worst_ulps(const KernelTable& table, Curve curve, double (*exact)(double), double least) {
  double worst = 0;
  for (uint32_t bits = 0x2f800000; bits < 0x42d00000; bits += 0x1357) {  // 2^-32 to 104
    float x[kPanel], zero[kPanel] = {}, out[kPanel];
    for (int n = 0; n < kPanel; n++) {
      const uint32_t each = (bits + uint32_t(n) * 0x9b / 2) | (n % 2 ? 0x80000000 : 0);
      std::memcpy(&x[n], &each, sizeof each);
    }
    static const std::vector<float> ones(kPanel, 1.0f);
    const AddArgs args = {x, zero, out, 0, 0, 0, 1, 1, {-kInf, kInf, curve, ones.data()}};
    table.f32.add(&args);
    for (int n = 0; n < kPanel; n++) {
      const double y = exact(double(x[n]));
      if ((std::fabs(y) < least && std::fabs(out[n]) < least) || (std::isinf(y) && out[n] == y)) continue;
      worst = std::max(worst, std::fabs(out[n] - y) / std::ldexp(1.0, std::max(-126, std::ilogb(y)) - 23));
    }
  }
  return worst;
}

void check_curves(const KernelTable& table) {
  struct {
    const char* name;
    Curve curve;
    double (*exact)(double);
    double ulps, least;
  } const curves[] = {
      {"sigmoid", kSigmoid, [](double x) { return 1 / (1 + std::exp(-x)); }, 2.5, 1e-37},
      {"silu", kSilu, [](double x) { return x / (1 + std::exp(-x)); }, 2.5, 1e-35},
      {"tanh", kTanh, [](double x) { return std::tanh(x); }, 3, 0},
      {"gelu", kGelu, [](double x) { return x * std::erfc(-x * std::sqrt(0.5)) / 2; }, 10, 1e-2},
      {"gelu_tanh", kGeluTanh,
       [](double x) { return x / (1 + std::exp(-2 * std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); }, 10, 1e-2},
      {"elu", kElu, [](double x) { return x < 0 ? std::expm1(x) : x; }, 3, 0},
      {"exp", kExp, [](double x) { return x > 88.72 ? kInf : std::exp(x); }, 4, 1e-37},
      {"log", kLog, [](double x) { return x < 0 ? 0 : std::log(x); }, 4, 0},
      {"softplus", kSoftplus, [](double x) { return std::fmax(x, 0) + std::log1p(std::exp(-std::fabs(x))); }, 3, 1e-37},
      {"mish", kMish, [](double x) { return x * std::tanh(std::log1p(std::exp(x))); }, 4, 1e-34},
  };
  for (const auto& c : curves) {
    const double worst = worst_ulps(table, c.curve, c.exact, c.least);
    judge(worst <= c.ulps, "%s %s is off by %.2f units of the last place", table.isa, c.name, worst);
    if (&table == &kReferenceKernels) std::printf("%s: %.2f units of the last place\n", c.name, worst);
  }
}

}  // namespace

int main() {
  check_multiply_add();  // in the mode of a program's start
  const FloatMode mode;
  check_multiply_add();
  for (const KernelTable* table : tables_to_check(false)) {
    std::printf("kernels: %s\n", table->isa);
    if (table != &kReferenceKernels) check(*table);  // which it is compared with
    check_float16(*table);
    check_promises(*table);
    check_curves(*table);
  }
  judge(&select_kernels("reference") == &kReferenceKernels, "select_kernels(\"reference\")");
  const char* wanted = std::getenv("MBINFER_EXPECT_ISA");
  const char* fastest = usable_kernels()[0]->isa;
  judge(!wanted || wanted == std::string(fastest), "this CPU should run %s, dispatched to %s",
        wanted ? wanted : "anything", fastest);
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed != 0;
}
