#include "exec/pixels.h"

#include <algorithm>

namespace mbinfer {
namespace {

using Scale = decltype(Type::scale);
// Steps of the type that is made in one of what is read.
Scale factor_of(Scale read, const Type& made) { return made.scale > 0 ? read / made.scale : 1; }

// Calls make(row, x, pixels) for runs of pixels that follow one another in `in`, in `added` where a second map is read,
// and in what is made.
template <class Make>
void by_pixels(const Task& w, const View& in, const View* added, Make&& make) {
  auto joined = [&](int row) {
    if (in.width != w.out.width) return row + 1;
    const int last = std::min(in.joined(row), w.out.joined(row));
    return added ? std::min(last, added->joined(row)) : last;
  };
  by_run(w, joined, make);
}

// Of two maps, or of a map and one pixel, one channel or one number.
void pair(const Task& w, Pair pair) {
  const Shape &map = output_of(w).shape, &other = w.graph.values[w.node.inputs[1]].shape;
  const bool gate = other.height != map.height || other.width != map.width;
  by_pixels(w, w.in, gate ? nullptr : &w.added, [&](int row, int x, int pixels) {
    PairArgs args;
    args.pair = pair;
    args.a = w.in.at(row, x);
    args.b = gate ? w.added.at(0) : w.added.at(row, x);
    args.out = w.out.at(row, x);
    args.a_stride = w.in.pixel_stride;
    args.b_stride = gate ? 0 : w.added.pixel_stride;
    args.out_stride = w.out.pixel_stride;
    args.pixels = pixels;
    args.panels = w.panels.count();
    args.activation = activation(w.node, w.panels.begin);
    args.one_channel = other.channels != map.channels;
    args.a_type = input_of(w).type;
    args.b_type = w.graph.values[w.node.inputs[1]].type;
    args.out_type = made_by(w, w.node);
    args.factor = factor_of(args.a_type.scale * (pair == kMul ? args.b_type.scale : 1), args.out_type);
    args.b_factor = factor_of(args.b_type.scale, args.out_type);
    kernels_of(w).pair(&args);
  });
}

// All channels of each pixel at once.
template <class Args>
Args whole_pixels(const Task& w, int row, int x, int pixels) {
  Args args;
  args.in = w.in.at(row, x);
  args.out = w.out.at(row, x);
  args.in_stride = w.in.pixel_stride;
  args.out_stride = w.out.pixel_stride;
  args.pixels = pixels;
  args.channels = w.channels.count();
  return args;
}

}  // namespace

void add(const Task& w) {
  by_pixels(w, w.in, &w.added, [&](int row, int x, int pixels) {
    AddArgs args;
    args.a = w.in.at(row, x);
    args.b = w.added.at(row, x);
    args.out = w.out.at(row, x);
    args.a_stride = w.in.pixel_stride;
    args.b_stride = w.added.pixel_stride;
    args.out_stride = w.out.pixel_stride;
    args.pixels = pixels;
    args.panels = w.panels.count();
    args.activation = activation(w.node, w.panels.begin);
    args.a_type = input_of(w).type;
    args.b_type = w.graph.values[w.node.inputs[1]].type;
    args.out_type = made_by(w, w.node);
    kernels_of(w).add(&args);
  });
}

void mul(const Task& w) { pair(w, kMul); }
void sub(const Task& w) { pair(w, kSub); }
void max(const Task& w) { pair(w, kMax); }
void min(const Task& w) { pair(w, kMin); }
void div(const Task& w) { pair(w, kDiv); }

constexpr Scale kLeastWeighed = Scale(1e-6);

// How bytes are weighed along an axis: XNNPACK's way where halves go up, else onnxruntime's.
ByteAxis byte_axis(const Node& node, const Window& window, int size) {
  const bool by_middles = 2 * int64_t(window.term) == int64_t(window.numerator) - window.denominator;
  return {size - 1, by_middles ? Scale(0.5) : 0, node.halves_from >= 0};
}

// The scales of numbers that are weighed: what rounds halves up weighs whole ones, and scales by which float32 might
// leave what it can hold have the same ratio.
void weigh_steps(const Task& w, ResizeArgs* args) {
  Type &in = args->in_type, &out = args->out_type;
  const bool huge = out.scale < kLeastWeighed || out.scale > 1 / kLeastWeighed;
  if (w.node.halves_from >= 0 || huge) in.scale = factor_of(in.scale, out), out.scale = 1;
  round_halves(w, args);
}

void resize(const Task& w) {
  const Window &y = w.node.y, &x = w.node.x;
  const Shape& in = input_of(w).shape;
  const bool bytes = input_of(w).type.dtype == DType::kUint8;
  const ByteAxis rows = byte_axis(w.node, y, in.height);
  by_row(w, [&](int row, int x0, int x1) {
    const Position down = y.position(row), across = x.position(x0);
    auto input_row = [&](int64_t at) { return w.in.at(int(std::clamp<int64_t>(at, 0, in.height - 1))); };
    ResizeArgs args;
    args.rows[0] = input_row(down.whole);
    args.rows[1] = y.kernel == 1 ? nullptr : input_row(down.whole + 1);
    args.down = bytes
                    ? byte_fraction(int(std::min<int64_t>(down.whole, in.height)), int(down.rest), y.denominator, rows)
                    : Scale(down.rest) / Scale(y.denominator);
    args.taps = x.kernel;
    args.first = int(std::min<int64_t>(across.whole, in.width));
    args.rest = int(across.rest);
    args.step = int(x.numerator / x.denominator);
    args.step_rest = int(x.numerator % x.denominator);
    args.denominator = int(x.denominator);
    args.in_width = in.width;
    args.in_stride = w.in.pixel_stride;
    args.out = w.out.at(row, x0);
    args.out_stride = w.out.pixel_stride;
    args.pixels = x1 - x0;
    args.panels = w.panels.count();
    args.activation = activation(w.node, w.panels.begin);
    args.in_type = input_of(w).type;
    args.out_type = made_by(w, w.node);
    args.columns = byte_axis(w.node, x, in.width);
    weigh_steps(w, &args);
    kernels_of(w).resize(&args);
  });
}

void softmax(const Task& w) {
  by_pixels(w, w.in, nullptr, [&](int row, int x, int pixels) {
    auto args = whole_pixels<SoftmaxArgs>(w, row, x, pixels);
    args.logarithm = w.node.logarithm;
    args.in_type = input_of(w).type;
    args.out_type = output_of(w).type;
    kernels_of(w).softmax(&args);
  });
}

void norm(const Task& w) {
  by_pixels(w, w.in, nullptr, [&](int row, int x, int pixels) {
    auto args = whole_pixels<NormArgs>(w, row, x, pixels);
    args.window = w.node.window_channels;
    args.centred = w.node.centred;
    args.numbers = static_cast<decltype(args.numbers)>(w.node.weights);
    kernels_of(w).norm(&args);
  });
}

// What the table has for the numbers of `in`, which may be what is made.
void look_up(const Task& w, const View& in, const void* table) {
  by_pixels(w, in, nullptr, [&](int row, int x, int pixels) {
    const LookupArgs args = {in.at(row, x),      table,  w.out.at(row, x), in.pixel_stride,
                             w.out.pixel_stride, pixels, w.panels.count()};
    w.kernels.lookup(&args);
  });
}

void lookup(const Task& w) { look_up(w, w.in, w.node.weights); }

// The columns that `out` has, of the same columns of an input.
void convert(const Task& w) {
  by_pixels(w, w.in, nullptr, [&](int row, int x, int pixels) {
    const int column = w.out.first_column + x;
    ConvertArgs args;
    args.in = w.in.at(row, column);
    args.in_type = w.in_type;
    args.in_stride = w.in.pixel_stride;
    args.out = w.out.at(row, column);
    args.out_type = output_of(w).type;
    args.out_stride = w.out.pixel_stride;
    args.pixels = pixels;
    args.channels = w.channels.count();
    args.out_channels = std::min(int(w.out.pixel_stride / ptrdiff_t(size_of(output_of(w).type))),
                                 w.panels.count() * kPanel);  // fewer in a patch, more in a value that holds others
    args.mean = w.recipe ? w.recipe->mean : nullptr;
    args.scale = w.recipe ? w.recipe->scale : nullptr;
    args.factor = w.recipe && w.recipe->has_factor ? w.recipe->factor : nullptr;
    w.kernels.convert(&args);
  });
}

}  // namespace mbinfer
