#include "exec/windows.h"

#include <algorithm>

namespace mbinfer {
namespace {

// A 1x1 convolution.
void pointwise(const Task& w) {
  auto joined = [&](int row) {
    const int last = std::min({w.in.joined(row), w.out.joined(row), w.sums.joined(row)});
    return w.added.memory ? std::min(last, w.added.joined(row)) : last;
  };
  Tap tap = {nullptr, filled_up(w.node, w.channels.count()), rows_of(w.node, w.channels.begin)};
  Finish finish = finish_of(w, w.panels.begin);
  GemmArgs args;
  args.taps = &tap;
  args.tap_count = 1;
  args.in_stride = w.in.pixel_stride;
  args.sums_stride = w.sums.pixel_stride;
  args.out_stride = w.out.pixel_stride;
  args.weights = w.node.weights;
  args.weight_rows = rows_of(w.node, input_of(w).shape.channels);
  args.panel = w.panels.begin;
  args.panels = w.panels.count();
  args.bias = w.starts ? bias_of(w, w.panels.begin) : nullptr;
  args.finish = w.ends ? &finish : nullptr;
  args.zero_point = input_of(w).type.zero_point;
  args.full_range = w.node.full_range;
  args.weight_dtype = w.node.weight_dtype;
  args.ahead_from = w.ahead_from;
  const Kernels& kernels = kernels_of(w);
  by_run(w, joined, [&](int row, int x, int pixels) {
    tap.in = w.in.at(row, x);
    args.sums = w.sums.at(row, x);
    args.out = w.out.at(row, x);
    args.pixels = pixels;
    if (w.add) finish.residual = residual_of(w, row, x, w.panels.begin);
    kernels.gemm(&args);
  });
}

constexpr int kPhasePixels = 2;  // of a phase of a dilated row, at least: one alone shares nothing

// Where output rows from `row` on end, at `end` at most, that lie at one distance in memory, as their sums do and what
// is added to them.
int even_outputs(const Task& w, int row, int end) {
  int last = std::min(end, w.out.wrap(row));
  for (const View* view : {&w.sums, &w.added})
    if (view->memory) last = std::min(last, view->wrap(row));
  return last;
}

// A map of one column, and a window of one: what would be many calls for one pixel each.
bool takes_rows_as_pixels(const Task& w) {
  return w.in.width == 1 && w.in_width == 1 && is_column(w.graph, w.node) && w.end - w.begin > 1;
}

// Rows of such a map that lie at one distance in memory are pixels of a row: make(task) for one run of them after the
// other, cut where a ring of the input or of the output begins anew.
template <class Make>
void along_column(const Task& w, Make&& make) {
  auto line = [](const View& view, int row, int count) {
    View turned = view;
    turned.base = view.offset(row, view.first_column);
    turned.first = turned.first_column = 0;
    turned.rows = 1;
    turned.pixel_stride = view.row_stride;
    turned.width = count;
    return turned;
  };
  const int end = w.makes.begin + w.end;
  for (int row = w.makes.begin + w.begin, last; row < end; row = last) {
    last = even_outputs(w, row, end);
    auto read = w.y.input_range(row, last, w.in_height);
    const int wrap = w.in.wrap(read.first);
    while (last > row + 1 && read.second > wrap) read = w.y.input_range(row, --last, w.in_height);
    if (read.second > wrap) {  // a window that a ring's end cuts
      Task one = w;
      one.begin = row - w.makes.begin, one.end = one.begin + 1;
      make(one);
      continue;
    }
    Task run = w;
    run.y = {};
    run.x = w.y;
    run.x.pad = read.first - (row * w.y.stride - w.y.pad);
    run.in_height = 1, run.in_width = read.second - read.first;
    run.in = line(w.in, read.first, run.in_width), run.out = line(w.out, row, last - row);
    run.sums = line(w.sums, row, last - row), run.added = line(w.added, row, last - row);
    run.makes = {0, 1};
    run.begin = 0, run.end = last - row;
    make(run);
  }
}

// What a depthwise convolution and a pool are told alike, of all rows.
template <class Args>
Args window_args(const Task& w, const void* const* rows) {
  Args args;
  args.rows = rows;
  args.kernel_h = w.y.kernel;
  args.kernel_w = w.x.kernel;
  args.stride = w.x.stride;
  args.pad_left = w.x.pad;
  args.in_width = w.in_width;
  args.in_stride = w.in.pixel_stride;
  args.out_stride = w.out.pixel_stride;
  args.panels = w.panels.count();
  args.activation = activation(w.node, w.panels.begin);
  args.in_type = input_of(w).type;
  args.out_type = made_by(w, w.node);
  return args;
}

// Calls make() for what there is of each row, which `args` say.
template <class Args, class Make>
void by_window_row(const Task& w, const void** rows, Args* args, Make&& make) {
  by_row(w, [&](int row, int x0, int x1) {
    window_rows(w, row, rows);
    args->out = w.out.at(row, x0);
    args->x0 = x0;
    args->x1 = x1;
    make();
  });
}

// Pixels that are one dilation apart see columns that are so, too: every dilation-th pixel of a row is a row of its
// own, of a window that is not dilated, whose pixels share the columns that they read.
void by_phase(const DepthwiseArgs& args, const Kernels& kernels) {
  const int step = args.dilation;
  for (int phase = 0; phase < step; phase++) {
    DepthwiseArgs some = args;
    const int skipped = (phase + args.pad_left * (step - 1)) % step;  // columns before the first that it may read
    const void* rows[kMaxKernel];
    for (int ky = 0; ky < args.kernel_h; ky++)
      rows[ky] = args.rows[ky] ? static_cast<const char*>(args.rows[ky]) + skipped * args.in_stride : nullptr;
    some.rows = rows;
    some.dilation = 1;
    some.pad_left = (skipped + args.pad_left - phase) / step;
    some.in_width = std::max(0, ceil_div(args.in_width - skipped, step));
    some.in_stride = step * args.in_stride;
    some.x0 = ceil_div(args.x0 - phase, step), some.x1 = ceil_div(args.x1 - phase, step);
    some.out = static_cast<char*>(args.out) + (phase + step * some.x0 - args.x0) * args.out_stride;
    some.out_stride = step * args.out_stride;
    if (some.x0 < some.x1) kernels.depthwise(&some);
  }
}

void depthwise_rows(const Task& w) {
  const void* rows[kMaxKernel];
  auto args = window_args<DepthwiseArgs>(w, rows);
  args.dilation = w.x.dilation;
  args.weights = w.node.weights;
  args.weight_dtype = w.node.weight_dtype;
  args.panel = w.panels.begin;
  args.bias = bias_of(w, w.panels.begin);
  const Kernels& kernels = kernels_of(w);
  by_window_row(w, rows, &args, [&] {
    const bool phases = args.dilation > 1 && args.stride == 1 && args.x1 - args.x0 >= kPhasePixels * args.dilation;
    phases ? by_phase(args, kernels) : kernels.depthwise(&args);
  });
}

// A mean whose halves go to the even number takes that number for the zero point, too, of any two types. Its factor is
// the ratio of their scales over the count, and zero points are what is added to the product.
template <class Args>
MeanZeros round_mean(const Task& w, Args* args) {
  if (!w.node.halves_even) {
    round_halves(w, args);
    return {};
  }
  Type &in = args->in_type, &out = args->out_type;
  const int from = w.node.halves_from;
  MeanZeros zeros = {};
  zeros.in = in.zero_point - from, zeros.out = out.zero_point - from;
  in.zero_point = out.zero_point = from;
  in.scale /= out.scale, out.scale = 1;
  return zeros;
}

void pool_rows(const Task& w, bool average) {
  const void* rows[kMaxKernel];
  auto args = window_args<PoolArgs>(w, rows);
  args.average = average;
  args.zeros = round_mean(w, &args);
  args.divisor = average && w.node.counts_padding ? w.y.kernel * w.x.kernel : 0;
  const Kernels& kernels = kernels_of(w);
  by_window_row(w, rows, &args, [&] { kernels.pool(&args); });
}

void pool(const Task& w, bool average) {
  auto rows = [&](const Task& some) { pool_rows(some, average); };
  takes_rows_as_pixels(w) ? along_column(w, rows) : rows(w);
}

}  // namespace

void window_rows(const Task& w, int row, const void** rows) {
  for (int ky = 0; ky < w.y.kernel; ky++) {
    const int y = row * w.y.stride - w.y.pad + ky * w.y.dilation;
    rows[ky] = y < 0 || y >= w.in_height ? nullptr : w.in.at(y, w.in.first_column);
  }
}

int even_rows(const Task& w, int row, int end) {
  const int last = even_outputs(w, row, end), first = row * w.y.stride - w.y.pad;
  if (first < 0) return row;
  const int past = std::min(w.in_height, w.in.wrap(first)), extent = w.y.extent();  // of the rows that may be seen
  return std::min(last, row + (past - first < extent ? 0 : (past - first - extent) / w.y.stride + 1));
}

void conv(const Task& w) {
  if (w.node.pointwise()) return pointwise(w);
  takes_rows_as_pixels(w) ? along_column(w, conv_rows) : conv_rows(w);
}

void depthwise(const Task& w) { takes_rows_as_pixels(w) ? along_column(w, depthwise_rows) : depthwise_rows(w); }
void max_pool(const Task& w) { pool(w, false); }
void avg_pool(const Task& w) { pool(w, true); }

// The rows that it reads, into the one pixel of the one row that it makes. Rows that follow one another in memory are
// one run of pixels.
void global_avg_pool(const Task& w) {
  const Value& in = input_of(w);
  for (int row = w.reads.begin, last; row < w.reads.end; row = last) {
    last = std::min(w.reads.end, w.in.joined(row));
    ReduceArgs args;
    args.in = w.in.at(row);
    args.in_stride = w.in.pixel_stride;
    args.pixels = in.shape.width * (last - row);
    args.panels = w.panels.count();
    args.sums = w.sums.at(w.makes.begin);
    args.out = w.out.at(w.makes.begin);
    args.first = w.starts && row == w.reads.begin;
    args.last = w.ends && last == w.reads.end;
    args.in_type = in.type;
    args.out_type = made_by(w, w.node);
    const MeanZeros zeros = round_mean(w, &args);
    const auto pixels = decltype(args.factor)(in.shape.pixels());
    args.factor = args.out_type.scale > 0 ? args.in_type.scale / (args.out_type.scale * pixels) : 1 / pixels;
    args.offset = offset_of(zeros, pixels, args.factor);
    args.activation = activation(w.node, w.panels.begin);
    kernels_of(w).reduce(&args);
  }
}

}  // namespace mbinfer
