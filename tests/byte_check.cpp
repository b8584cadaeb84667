// Every kernel of uint8 of every instruction set that this CPU runs against the plain loops, bit for bit, in some ten
// thousand random cases: extreme weights and zero points, taps outside the input, sums that go on, some panels of a
// node.
//
// Inputs end where a kernel may read last, so that AddressSanitizer sees one byte more; outputs lie among canaries.
#include <algorithm>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <utility>
#include <vector>

#include "common.h"
#include "exec/float_mode.h"
#include "kernels/dispatch.h"
#include "tables.h"

using namespace mbinfer;

namespace {

int passed = 0, failed = 0;

uint32_t random_bits() {  // xorshift32: the same cases on every machine
  static uint32_t state = 2463534242u;
  state ^= state << 13;
  state ^= state >> 17;
  state ^= state << 5;
  return state;
}
int between(int lo, int hi) { return lo + int(random_bits() % uint32_t(hi - lo + 1)); }
bool once_in(int n) { return between(1, n) == 1; }

enum Numbers { kPlain, kExtreme };
using Bytes = std::vector<uint8_t>;

Bytes bytes(int64_t count, Numbers numbers) {
  Bytes all(static_cast<size_t>(count));
  for (uint8_t& x : all) x = uint8_t(numbers == kPlain || once_in(4) ? between(0, 255) : once_in(2) ? 255 : 0);
  return all;
}

Bytes weights(int64_t count, Numbers numbers, bool full_range) {
  Bytes all(static_cast<size_t>(count));
  const int least = full_range ? -128 : -127;
  for (uint8_t& x : all) x = uint8_t(numbers == kPlain || once_in(4) ? between(least, 127) : once_in(2) ? 127 : least);
  return all;
}

Type any_type(Numbers numbers) {
  const int zero = numbers == kPlain ? between(0, 255) : once_in(2) ? 255 : 0;
  return {DType::kUint8, float(between(1, 1000)) / 4096, zero};
}

ActivationArgs any_bounds(const Type& type) {
  int lo = 0, hi = 255;
  if (once_in(2)) lo = between(0, 255), hi = between(lo, 255);
  return {float(lo - type.zero_point), float(hi - type.zero_point), kNoCurve, nullptr};
}

// Of sums of so many products, most of which shall be within a byte.
std::vector<Channels> channels(int panels, int products, Numbers numbers) {
  std::vector<Channels> all(static_cast<size_t>(panels));
  const bool large = once_in(8);  // numbers that no int32 holds, too
  for (Channels& c : all)
    for (int n = 0; n < kPanel; n++) {
      c.bias[n] = once_in(20) ? int32_t(random_bits()) : between(-20000, 20000);
      c.signed_bias[n] = 0;
      c.multiplier[n] = float(between(1, 1000)) / 1000 / (numbers == kPlain ? 40 : 160) / float(products + 1);
      if (large && once_in(4)) c.multiplier[n] = once_in(2) ? 1 : 1e6f * float(between(1, 1000));
    }
  return all;
}

// The bias of products with inputs less 128, from the weights as they are packed: `rows` of `inputs` for each pair.
void sign(std::vector<Channels>* channels, const Bytes& weights, int first_panel, int rows, int inputs) {
  for (int p = 0; p < int(channels->size()); p++)
    for (int n = 0; n < kPanel; n++) {
      const int panel = first_panel + p;
      uint32_t sum = uint32_t((*channels)[size_t(p)].bias[n]);
      for (int r = 0; r < rows; r++)
        for (int i = 0; i < inputs; i++) {
          const size_t at =
              ((size_t(panel / 2) * size_t(rows) + size_t(r)) * 16 + size_t(panel % 2 * 8 + n)) * size_t(inputs) +
              size_t(i);
          sum += uint32_t(128 * int8_t(weights[at]));
        }
      (*channels)[size_t(p)].signed_bias[n] = int32_t(sum);
    }
}

// `pixels` pixels, `stride` bytes apart, of which the kernel writes the first `width`; canaries everywhere else.
class Output {
 public:
  Output(int pixels, int width, int stride)
      : pixels_(pixels), width_(width), stride_(stride), all_(size_t(pixels * stride + 2 * kGuard), kCanary) {}
  uint8_t* data() { return all_.data() + kGuard; }
  void fill() {
    for (size_t i = 0; i < all_.size(); i++)
      if (written(i)) all_[i] = uint8_t(random_bits());
  }
  bool intact() const {
    for (size_t i = 0; i < all_.size(); i++)
      if (!written(i) && all_[i] != kCanary) return false;
    return true;
  }
  bool operator==(const Output& o) const { return all_ == o.all_ && intact(); }

 private:
  static constexpr int kGuard = 96;
  static constexpr uint8_t kCanary = 0xA5;
  bool written(size_t i) const {
    const int at = int(i) - kGuard;
    return at >= 0 && at < pixels_ * stride_ && at % stride_ < width_;
  }
  int pixels_, width_, stride_;
  Bytes all_;
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

struct Gemm {  // a case
  std::vector<Bytes> inputs;
  std::vector<Tap> taps;
  Bytes weights, residual;
  std::vector<Channels> channels;
  GemmArgs args;
  Finish finish;
  int first_call;  // taps of it; the others go on from its sums
};

// Taps of a window: columns of some rows of the input, of which some are outside. Returns how many rows of weights.
int add_columns(Gemm* g, int pixels, int quads, Numbers numbers, int* in_stride) {
  const int step = between(1, 3), k = quads * 4, distance = k + 4 * between(0, 3), columns = between(1, 4);
  int rows = 0;
  for (int line = between(1, 3); line > 0; line--) {
    g->inputs.push_back(bytes(((pixels - 1) * step + columns - 1) * distance + k, numbers));
    for (int c = 0; c < columns; c++, rows += quads)
      g->taps.push_back({once_in(8) ? nullptr : g->inputs.back().data() + c * distance, k, rows});
  }
  *in_stride = step * distance;
  return rows;
}

Gemm any_gemm(int pixels, int panels, int quads, Numbers numbers) {
  Gemm g;
  const bool window = quads <= 70 && once_in(3);
  int in_stride = quads * 4 + 4 * between(0, 2);
  int rows = window ? add_columns(&g, pixels, quads, numbers, &in_stride) : 0;
  const int tap_count = window ? int(g.taps.size()) : once_in(2) ? 1 : between(0, 5);
  for (int t = int(g.taps.size()); t < tap_count; t++) {
    const int k = 4 * (t ? between(1, quads) : quads);
    g.inputs.push_back(bytes((pixels - 1) * in_stride + k, numbers));
    g.taps.push_back({tap_count > 1 && once_in(3) ? nullptr : g.inputs.back().data(), k, rows});
    rows += k / 4;
  }
  const int panel = once_in(2) ? 0 : between(0, 3), node_panels = panel + panels + (once_in(2) ? 0 : between(0, 3));
  const bool full = once_in(3);
  g.weights = weights(int64_t(node_panels + 1) / 2 * rows * 64, numbers, full);
  g.channels = channels(panels, quads * 4 * std::max(1, tap_count), numbers);
  sign(&g.channels, g.weights, panel, rows, 4);
  const int width = panels * kPanel;
  g.finish.residual_stride = width + between(0, 8);
  g.residual = bytes((pixels - 1) * g.finish.residual_stride + width, numbers);
  g.finish.residual = once_in(2) ? g.residual.data() : nullptr;
  g.finish.made = any_type(numbers), g.finish.added = any_type(numbers), g.finish.sum = any_type(numbers);
  g.finish.activation = any_bounds(g.finish.made), g.finish.after = any_bounds(g.finish.sum);
  g.first_call = once_in(3) ? between(0, tap_count) : 0;
  const int out_stride = width + kPanel * between(0, 2);
  g.args = {nullptr, 0,       in_stride, nullptr, 4 * out_stride, nullptr, out_stride,
            pixels,  nullptr, rows,      panel,   panels,         nullptr, nullptr};
  g.args.zero_point = any_type(numbers).zero_point;
  g.args.full_range = full;
  return g;
}

Output run(const KernelTable& table, const Gemm& g) {
  GemmArgs args = g.args;
  const int width = args.panels * kPanel;
  Output sums(args.pixels, 4 * width, int(args.sums_stride)), out(args.pixels, width, int(args.out_stride));
  Finish finish = g.finish;
  finish.channels = g.channels.data();
  args.weights = g.weights.data();
  args.sums = sums.data(), args.out = out.data();
  args.bias = g.channels.data();
  if (g.first_call) {
    args.taps = g.taps.data(), args.tap_count = g.first_call;
    table.u8->gemm(&args);
    args.bias = nullptr;
  }
  args.taps = g.taps.data() + g.first_call, args.tap_count = int(g.taps.size()) - g.first_call;
  args.finish = &finish;
  table.u8->gemm(&args);
  judge(sums.intact(), "%s gemm writes beside its sums", table.isa);
  return out;
}

void check_gemm(const KernelTable& table, int pixels, int panels, int quads, Numbers numbers) {
  const Gemm g = any_gemm(pixels, panels, quads, numbers);
  judge(run(kReferenceKernels, g) == run(table, g),
        "%s gemm: %d pixels, panels %d to %d, %d taps, %d in a first call, %d quads%s%s, numbers %d", table.isa, pixels,
        g.args.panel, g.args.panel + panels, int(g.taps.size()), g.first_call, quads,
        g.args.full_range ? ", full range" : "", g.finish.residual ? ", residual" : "", numbers);
}

// Rows of an input, of which some may be outside.
struct Window {
  std::vector<Bytes> inputs;
  std::vector<const void*> rows;
  int in_stride, out_stride, x0, x1;
  Window(int kernel_h, int width, int out_width, int panels, Numbers numbers)
      : in_stride(panels * kPanel + kPanel * between(0, 1)), out_stride(panels * kPanel + kPanel * between(0, 1)) {
    for (int y = 0; y < kernel_h; y++) {
      inputs.push_back(bytes((width - 1) * in_stride + panels * kPanel, numbers));
      rows.push_back(y && once_in(4) ? nullptr : inputs.back().data());
    }
    x0 = once_in(2) ? 0 : between(0, out_width - 1), x1 = once_in(2) ? out_width : between(x0 + 1, out_width);
  }
};

template <class Args, class Kernel>
bool same(const KernelTable& table, Args args, const Window& w, Kernel Kernels::* kernel) {
  Output expected(w.x1 - w.x0, args.panels * kPanel, w.out_stride), found = expected;
  args.rows = w.rows.data(), args.in_stride = w.in_stride, args.out_stride = w.out_stride;
  args.x0 = w.x0, args.x1 = w.x1;
  args.out = expected.data();
  (kReferenceKernels.u8->*kernel)(&args);
  args.out = found.data();
  (table.u8->*kernel)(&args);
  return expected == found;
}

void check_depthwise(const KernelTable& table, int kernel, int stride, int dilation, int pad, int width,
                     Numbers numbers) {
  const int out_width = (width + 2 * pad - dilation * (kernel - 1) - 1) / stride + 1;
  if (width + 2 * pad < dilation * (kernel - 1) + 1) return;
  const int kernel_h = once_in(4) ? 1 : once_in(2) ? kernel : between(1, 4), panel = between(0, 3);
  const int panels = once_in(4) ? between(5, 18) : between(1, 4);  // some kernels filter eight at a time
  const Window window(kernel_h, width, out_width, panels, numbers);
  const Bytes w = weights(int64_t(panel + panels + 1) / 2 * kernel_h * kernel * 16, numbers, true);
  auto c = channels(panels, kernel_h * kernel, numbers);
  sign(&c, w, panel, kernel_h * kernel, 1);
  DepthwiseArgs args = {};
  args.kernel_h = kernel_h, args.kernel_w = kernel, args.stride = stride, args.dilation = dilation, args.pad_left = pad;
  args.in_width = width;
  args.weights = w.data();
  args.panel = panel, args.panels = panels;
  args.bias = c.data();
  args.in_type = any_type(numbers), args.out_type = any_type(numbers);
  args.activation = any_bounds(args.out_type);
  judge(same(table, args, window, &Kernels::depthwise),
        "%s depthwise: kernel %dx%d, stride %d, dilation %d, pad %d, width %d, numbers %d", table.isa, kernel_h, kernel,
        stride, dilation, pad, width, numbers);
}

// Sums of 2100 products, of which almost nothing is left after the bias: none may be rounded on the way.
void check_tall_depthwise(const KernelTable& table) {
  constexpr int kHeight = 700, kWidth = 3, kTaps = kHeight * kWidth;
  Window window(kHeight, kWidth + 1, 2, 2, kPlain);
  for (int y = 0; y < kHeight; y++) {
    for (uint8_t& x : window.inputs[size_t(y)]) x = 255;
    window.rows[size_t(y)] = window.inputs[size_t(y)].data();
  }
  Bytes w(kTaps * 16);
  for (uint8_t& x : w) x = uint8_t(between(120, 127));
  auto c = channels(2, kTaps, kPlain);
  for (int n = 0; n < 2 * kPanel; n++) {
    int32_t sum = 0;
    for (int t = 0; t < kTaps; t++) sum += 255 * w[size_t(t * 16 + n)];
    c[size_t(n / kPanel)].bias[n % kPanel] = between(-90, 90) - sum;
    c[size_t(n / kPanel)].multiplier[n % kPanel] = 1;
  }
  sign(&c, w, 0, kTaps, 1);
  DepthwiseArgs args = {};
  args.kernel_h = kHeight, args.kernel_w = kWidth, args.stride = args.dilation = 1;
  args.in_width = kWidth + 1;
  args.weights = w.data();
  args.panels = 2;
  args.bias = c.data();
  args.in_type = {DType::kUint8, 1, 0}, args.out_type = {DType::kUint8, 1, 128};
  args.activation = {-128, 127, kNoCurve, nullptr};
  judge(same(table, args, window, &Kernels::depthwise), "%s depthwise: %dx%d", table.isa, kHeight, kWidth);
}

void check_pool(const KernelTable& table, int kernel, int stride, int pad, int width, Numbers numbers) {
  if (width + 2 * pad < kernel) return;
  const int out_width = (width + 2 * pad - kernel) / stride + 1;
  if ((out_width - 1) * stride - pad >= width) return;
  const int kernel_h = between(1, 4), panels = between(1, 4);
  const Window window(kernel_h, width, out_width, panels, numbers);
  PoolArgs args = {};
  args.kernel_h = kernel_h, args.kernel_w = kernel, args.stride = stride, args.pad_left = pad;
  args.in_width = width;
  args.panels = panels;
  args.average = between(0, 1);
  args.divisor = once_in(3) ? kernel_h * kernel : 0;
  args.in_type = any_type(numbers);
  args.out_type = args.average ? any_type(numbers) : args.in_type;
  args.zeros = {float(between(-128, 127)), float(between(-128, 127))};
  args.activation = any_bounds(args.out_type);
  judge(same(table, args, window, &Kernels::pool), "%s pool: kernel %dx%d, stride %d, pad %d, width %d, average %d",
        table.isa, kernel_h, kernel, stride, pad, width, args.average);
}

void check_reduce(const KernelTable& table, int pixels, int panels, Numbers numbers) {
  const int width = panels * kPanel, in_stride = width + kPanel * between(0, 1);
  const Bytes in = bytes((pixels - 1) * in_stride + width, numbers);
  const Type made = any_type(numbers);
  ReduceArgs args = {};
  args.in = in.data(), args.in_stride = in_stride;
  args.pixels = pixels, args.panels = panels;
  args.first = between(0, 1), args.last = between(0, 1);
  args.in_type = any_type(numbers), args.out_type = made;
  args.factor = args.in_type.scale / (made.scale * float(pixels));
  args.offset =
      once_in(2) ? 0 : offset_of({float(between(-128, 127)), float(between(-128, 127))}, float(pixels), args.factor);
  args.activation = any_bounds(made);
  Output sums(1, 4 * width, 4 * width), out(1, width, width);
  sums.fill();
  auto run = [&](const KernelTable& with, Output sums, Output out) {
    args.sums = sums.data(), args.out = out.data();
    with.u8->reduce(&args);
    return std::make_pair(sums, out);
  };
  judge(run(kReferenceKernels, sums, out) == run(table, sums, out), "%s reduce: %d pixels, %d panels, %d, %d",
        table.isa, pixels, panels, args.first, args.last);
}

// Products, differences, the larger and the smaller of two maps, or of a map and one pixel or channel.
void check_pair(const KernelTable& table, int pixels, int panels, Numbers numbers) {
  const int width = panels * kPanel, stride = width + kPanel * between(0, 1), gate = between(0, 1);
  const Bytes a = bytes(pixels * stride, numbers), b = bytes(pixels * stride, numbers);
  Output expected(pixels, width, stride), found = expected;
  PairArgs args = {};
  args.pair = Pair(between(kMul, kMin));
  args.a = a.data(), args.b = b.data(), args.out = expected.data();
  args.a_stride = stride, args.b_stride = gate ? 0 : stride, args.out_stride = stride;
  args.pixels = pixels, args.panels = panels, args.one_channel = between(0, 1);
  args.a_type = any_type(numbers), args.b_type = any_type(numbers), args.out_type = any_type(numbers);
  args.factor = args.a_type.scale * (args.pair == kMul ? args.b_type.scale : 1) / args.out_type.scale;
  args.b_factor = args.b_type.scale / args.out_type.scale;
  args.activation = any_bounds(args.out_type);
  kReferenceKernels.u8->pair(&args);
  args.out = found.data();
  table.u8->pair(&args);
  judge(expected == found, "%s pair %d: %d pixels, %d panels, numbers %d", table.isa, args.pair, pixels, panels,
        numbers);
}

void check_resize(const KernelTable& table, int pixels, int width, Numbers numbers) {
  const int panels = between(1, 3), channels = panels * kPanel, stride = channels + kPanel * between(0, 1),
            denominator = between(1, 9);
  const Bytes first = bytes(width * stride, numbers), second = bytes(width * stride, numbers);
  Output expected(pixels, channels, stride), found = expected;
  ResizeArgs args = {};
  args.rows[0] = first.data(), args.rows[1] = between(0, 1) ? second.data() : nullptr;
  args.down = float(between(0, 8)) / 8, args.taps = between(1, 2);
  args.first = between(-3, width), args.rest = between(0, denominator - 1), args.denominator = denominator;
  args.step = between(0, 2), args.step_rest = between(0, denominator - 1);
  args.columns = {width - 1, float(between(0, 1)) / 2, between(0, 1) == 1};
  args.in_width = width, args.in_stride = stride, args.out_stride = stride;
  args.pixels = pixels, args.panels = panels;
  args.in_type = any_type(numbers), args.out_type = any_type(numbers);
  args.activation = any_bounds(args.out_type);
  args.out = expected.data();
  kReferenceKernels.u8->resize(&args);
  args.out = found.data();
  table.u8->resize(&args);
  judge(expected == found, "%s resize: %d pixels, width %d, from %d, step %d + %d / %d, %d taps, numbers %d", table.isa,
        pixels, width, args.first, args.step, args.step_rest, denominator, args.taps, numbers);
}

void check_rows(const KernelTable& table, int pixels, int panels, Numbers numbers) {
  const int width = panels * kPanel, stride = width + kPanel * between(0, 1);
  const Bytes a = bytes(pixels * stride, numbers), b = bytes(pixels * stride, numbers), map = bytes(256, kPlain);
  Output expected(pixels, width, stride), found = expected;
  AddArgs args = {a.data(), b.data(), expected.data(), stride, stride, stride, pixels, panels, {}};
  args.a_type = any_type(numbers), args.b_type = any_type(numbers), args.out_type = any_type(numbers);
  args.activation = any_bounds(args.out_type);
  kReferenceKernels.u8->add(&args);
  args.out = found.data();
  table.u8->add(&args);
  judge(expected == found, "%s add: %d pixels, %d panels, numbers %d", table.isa, pixels, panels, numbers);
  LookupArgs lookup = {a.data(), map.data(), expected.data(), stride, stride, pixels, panels};
  kReferenceKernels.lookup(&lookup);
  lookup.out = found.data();
  table.lookup(&lookup);
  judge(expected == found, "%s lookup: %d pixels, %d panels", table.isa, pixels, panels);
}

// Of pictures, and between all pairs of types.
void check_convert(const KernelTable& table, int pixels, int channels, Numbers numbers) {
  const DType dtypes[] = {DType::kFloat32, DType::kUint8, DType::kInt8};
  auto type = [&] {
    Type t = any_type(numbers);
    t.dtype = dtypes[between(0, 2)];
    if (t.dtype == DType::kInt8) t.zero_point -= 128;
    return t.dtype == DType::kFloat32 ? Type() : t;
  };
  const Type in_type = type();
  Type out_type = once_in(5) ? in_type : type();
  const bool picture = in_type.dtype == DType::kUint8 && once_in(2);
  const bool multiplies = picture && size_of(out_type) == 1 && once_in(2);  // a quotient by 2^n is a product
  if (multiplies) out_type.scale = std::ldexp(1.0f, -between(3, 9));
  const int in_bytes = int(size_of(in_type)), out_bytes = int(size_of(out_type));
  Bytes in = bytes(pixels * channels * in_bytes, numbers);
  if (in_type.dtype == DType::kFloat32)
    for (int i = 0; i < pixels * channels; i++) {
      const float x = once_in(30) ? NAN : once_in(30) ? INFINITY : float(between(-4000, 4000)) / 512;
      std::memcpy(&in[size_t(i) * 4], &x, sizeof x);
    }
  std::vector<float> mean, scale;
  for (int c = 0; c < channels; c++)
    mean.push_back(float(between(0, 255)) / 2), scale.push_back(float(between(1, 99)) / 512);
  if (out_type.dtype == DType::kUint8 && once_in(2))  // the recipe that changes nothing, or nearly so
    for (size_t c = 0; c < mean.size(); c++)
      mean[c] = float(out_type.zero_point), scale[c] = out_type.scale * (once_in(9) ? 2 : 1);
  const int filled = once_in(2) ? (channels + 3) / 4 * 4 : channels, stride = filled + (once_in(2) ? 0 : 4);
  Output expected(pixels, filled * out_bytes, stride * out_bytes), found = expected;
  ConvertArgs args = {in.data(),
                      in_type,
                      expected.data(),
                      out_type,
                      ptrdiff_t(channels) * in_bytes,
                      ptrdiff_t(stride) * out_bytes,
                      pixels,
                      channels,
                      filled,
                      picture ? mean.data() : nullptr,
                      picture ? scale.data() : nullptr};
  kReferenceKernels.convert(&args);
  args.out = found.data();
  std::vector<float> factor;
  for (float s : scale) factor.push_back(s / out_type.scale);
  if (multiplies) args.factor = factor.data();
  table.convert(&args);
  judge(expected == found, "%s convert: type %d to %d, %d pixels, %d of %d channels%s", table.isa, int(in_type.dtype),
        int(out_type.dtype), pixels, channels, filled, picture ? ", a picture" : "");
}

void check(const KernelTable& table) {
  for (Numbers numbers : {kPlain, kExtreme}) {
    for (int pixels = 1; pixels <= 40; pixels++)
      for (int panels = 1; panels <= 6; panels++)
        for (int i = 0; i < 10; i++) check_gemm(table, pixels, panels, between(1, i ? 12 : 70), numbers);
    // More than a kernel may want to hold of a pixel.
    for (int quads : {400, 700, 1500, 2300}) check_gemm(table, between(1, 19), between(1, 35), quads, numbers);
    check_gemm(table, 19, 35, 1500, numbers);
    for (int kernel : {1, 2, 3, 4, 5, 7})
      for (int stride = 1; stride <= 3; stride++)
        for (int dilation = 1; dilation <= 2; dilation++)
          for (int width = 1; width <= 20; width++)
            for (int pad = 0; pad <= dilation * (kernel - 1) + 2; pad++)
              if (dilation == 1 || once_in(3)) check_depthwise(table, kernel, stride, dilation, pad, width, numbers);
    for (int kernel : {6, 9, 10, 15})
      for (int stride = 1; stride <= 2; stride++)
        for (int width : {1, 4, 9, 16, 23})
          for (int pad : {0, 3, kernel / 2, kernel + 1}) check_depthwise(table, kernel, stride, 1, pad, width, numbers);
    check_depthwise(table, 700, 1, 1, 5, 800, numbers);
    check_tall_depthwise(table);
    for (int kernel = 1; kernel <= 5; kernel++)
      for (int stride = 1; stride <= 3; stride++)
        for (int pad = 0; pad < kernel; pad++)
          for (int width = 1; width <= 12; width++) check_pool(table, kernel, stride, pad, width, numbers);
    for (int pixels = 1; pixels <= 30; pixels++)
      for (int panels = 1; panels <= 5; panels++) {
        check_reduce(table, pixels, panels, numbers);
        check_rows(table, pixels, panels, numbers);
        for (int i = 0; i < 3; i++) check_pair(table, pixels, panels, numbers);
        for (int i = 0; i < 3; i++) check_resize(table, pixels, between(1, 12), numbers);
        for (int i = 0; i < 4; i++) check_convert(table, pixels, 2 * panels - 1 + i % 2, numbers);
      }
  }
}

}  // namespace

int main() {
  const FloatMode mode;
  for (const KernelTable* table : tables_to_check(true)) {
    std::printf("kernels: %s\n", table->isa);
    if (table != &kReferenceKernels) check(*table);
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed != 0;
}
