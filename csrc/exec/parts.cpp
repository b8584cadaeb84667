#include "exec/parts.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "exec/moves.h"

namespace mbinfer {
namespace {

// In the order of Activation.
constexpr Curve kCurves[] = {kNoCurve, kNoCurve, kHardSwish, kSigmoid, kSilu, kTanh,       kGelu,     kGeluTanh,
                             kPrelu,   kElu,     kExp,       kLog,     kRoot, kReciprocal, kSoftplus, kMish};

// From the node's panel `panel` on.
ActivationArgs activation(const Node& node, int panel) {
  ActivationArgs args = {node.lo, node.hi, kCurves[int(node.activation)], nullptr};
  if (node.slopes) args.slopes = node.slopes + panel * kPanel;
  return args;
}

const Value& input_of(const Task& w) { return w.graph.values[w.node.inputs[0]]; }
const Value& output_of(const Task& w) { return w.graph.values[w.node.output]; }
const Type& added_type(const Task& w, const Node& add, const Value& to) {
  const int first = add.inputs[0];
  return w.graph.values[&w.graph.values[first] == &to ? add.inputs[1] : first].type;
}
const Kernels& kernels_of(const Task& w) { return w.kernels.of(output_of(w).type.dtype); }

// What its kernel makes: what a table is asked about, where there is one.
const Type& made_by(const Task& w, const Node& node) {
  return node.table >= 0 ? w.graph.tables[node.table].made : w.graph.values[node.output].type;
}

// Calls make(row, x0, x1) for what there is of each row.
template <class Make>
void by_row(const Task& w, Make&& make) {
  for (int p = w.begin; p < w.end;) {
    const int x0 = p % w.out.width, x1 = std::min(w.out.width, x0 + w.end - p);
    make(w.makes.begin + p / w.out.width, x0, x1);
    p += x1 - x0;
  }
}

// A 1x1 convolution. Rows that follow one another in memory on all sides are one run of pixels.
void pointwise(const Task& w) {
  const int width = w.out.width;
  auto follows = [&](int row) {
    return w.in.follows(row) && w.out.follows(row) && w.sums.follows(row) && (!w.added.memory || w.added.follows(row));
  };
  for (int p = w.begin; p < w.end;) {
    const int row = w.makes.begin + p / width, x = p % width;
    int last = row + 1;
    while (last < w.makes.end && follows(last)) last++;
    const Tap tap = {w.in.at(row, x), filled_up(w.node, w.channels.count()), rows_of(w.node, w.channels.begin)};
    const Finish finish = finish_of(w, row, x, w.panels.begin);
    GemmArgs args;
    args.taps = &tap;
    args.tap_count = 1;
    args.in_stride = w.in.pixel_stride;
    args.sums = w.sums.at(row, x);
    args.sums_stride = w.sums.pixel_stride;
    args.out = w.out.at(row, x);
    args.out_stride = w.out.pixel_stride;
    args.pixels = std::min(w.end, (last - w.makes.begin) * width) - p;
    args.weights = w.node.weights;
    args.weight_rows = rows_of(w.node, input_of(w).shape.channels);
    args.panel = w.panels.begin;
    args.panels = w.panels.count();
    args.bias = w.starts ? bias_of(w, w.panels.begin) : nullptr;
    args.finish = w.ends ? &finish : nullptr;
    args.zero_point = input_of(w).type.zero_point;
    args.full_range = w.node.full_range;
    args.weight_dtype = w.node.weight_dtype;
    kernels_of(w).gemm(&args);
    p += args.pixels;
  }
}

// The rows of the input that a window over one output row sees, from the view's first column on; null outside.
void window_rows(const Task& w, int row, const void** rows) {
  for (int ky = 0; ky < w.y.kernel; ky++) {
    const int y = row * w.y.stride - w.y.pad + ky * w.y.dilation;
    rows[ky] = y < 0 || y >= w.in_height ? nullptr : w.in.at(y, w.in.first_column);
  }
}

// A map of one column, and a window of one: what would be many calls for one pixel each.
bool is_column(const Task& w) {
  return w.in.width == 1 && w.out.width == 1 && w.in_width == 1 && w.x.kernel == 1 && !w.x.pad && !w.x.pad_end &&
         w.end - w.begin > 1;
}

// Rows of such a map that lie at one distance in memory are pixels of a row: make(task) for one run of them after the
// other, cut where a ring of the input or of the output begins anew.
template <class Make>
void along_column(const Task& w, Make&& make) {
  auto before_wrap = [](const View& view, int row) { return row + view.rows - (row - view.first) % view.rows; };
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
    last = std::min(end, before_wrap(w.out, row));
    for (const View* view : {&w.sums, &w.added})
      if (view->memory) last = std::min(last, before_wrap(*view, row));
    auto read = w.y.input_range(row, last, w.in_height);
    const int wrap = before_wrap(w.in, read.first);
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

void conv_rows(const Task& w) {
  const void* rows[kMaxKernel];
  by_row(w, [&](int row, int x0, int x1) {
    window_rows(w, row, rows);
    conv_row(w, rows, row, x0, x1);
  });
}

void conv(const Task& w) {
  if (w.node.pointwise()) return pointwise(w);
  is_column(w) ? along_column(w, conv_rows) : conv_rows(w);
}

// What a depthwise convolution and a pool are told alike: pixels [x0, x1) of a row.
template <class Args>
Args window_args(const Task& w, const void* const* rows, int row, int x0, int x1) {
  Args args;
  args.rows = rows;
  args.kernel_h = w.y.kernel;
  args.kernel_w = w.x.kernel;
  args.stride = w.x.stride;
  args.pad_left = w.x.pad;
  args.in_width = w.in_width;
  args.in_stride = w.in.pixel_stride;
  args.out = w.out.at(row, x0);
  args.out_stride = w.out.pixel_stride;
  args.x0 = x0;
  args.x1 = x1;
  args.panels = w.panels.count();
  args.activation = activation(w.node, w.panels.begin);
  args.in_type = input_of(w).type;
  args.out_type = made_by(w, w.node);
  return args;
}

void depthwise_rows(const Task& w) {
  const void* rows[kMaxKernel];
  by_row(w, [&](int row, int x0, int x1) {
    window_rows(w, row, rows);
    auto args = window_args<DepthwiseArgs>(w, rows, row, x0, x1);
    args.dilation = w.x.dilation;
    args.weights = w.node.weights;
    args.weight_dtype = w.node.weight_dtype;
    args.panel = w.panels.begin;
    args.bias = bias_of(w, w.panels.begin);
    kernels_of(w).depthwise(&args);
  });
}

void depthwise(const Task& w) { is_column(w) ? along_column(w, depthwise_rows) : depthwise_rows(w); }

// A mean whose halves are rounded away from a number: its kernel takes that one for the zero point of both types, which
// are the same, and a factor that is larger by less than any other fraction of kMaxHalved numbers needs to be rounded
// up.
constexpr auto kBeyondHalf = 1 + 1.0f / (1 << 21);

template <class Args>
void round_halves(const Task& w, Args* args) {
  if (w.node.halves_from < 0) return;
  args->in_type.zero_point = args->out_type.zero_point = w.node.halves_from;
  args->in_type.scale *= kBeyondHalf;
}

void pool_rows(const Task& w, bool average) {
  const void* rows[kMaxKernel];
  by_row(w, [&](int row, int x0, int x1) {
    window_rows(w, row, rows);
    auto args = window_args<PoolArgs>(w, rows, row, x0, x1);
    args.average = average;
    round_halves(w, &args);
    args.divisor = average && w.node.counts_padding ? w.y.kernel * w.x.kernel : 0;
    kernels_of(w).pool(&args);
  });
}

void pool(const Task& w, bool average) {
  auto rows = [&](const Task& some) { pool_rows(some, average); };
  is_column(w) ? along_column(w, rows) : rows(w);
}

void max_pool(const Task& w) { pool(w, false); }
void avg_pool(const Task& w) { pool(w, true); }

// The rows that it reads, into the one pixel of the one row that it makes. Rows that follow one another in memory are
// one run of pixels.
void global_avg_pool(const Task& w) {
  const Value& in = input_of(w);
  for (int row = w.reads.begin, last; row < w.reads.end; row = last) {
    last = row + 1;
    while (last < w.reads.end && w.in.follows(last)) last++;
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
    round_halves(w, &args);
    const auto pixels = decltype(args.factor)(in.shape.pixels());
    args.factor = args.out_type.scale > 0 ? args.in_type.scale / (args.out_type.scale * pixels) : 1 / pixels;
    args.activation = activation(w.node, w.panels.begin);
    kernels_of(w).reduce(&args);
  }
}

void add(const Task& w) {
  by_row(w, [&](int row, int x0, int x1) {
    AddArgs args;
    args.a = w.in.at(row, x0);
    args.b = w.added.at(row, x0);
    args.out = w.out.at(row, x0);
    args.a_stride = w.in.pixel_stride;
    args.b_stride = w.added.pixel_stride;
    args.out_stride = w.out.pixel_stride;
    args.pixels = x1 - x0;
    args.panels = w.panels.count();
    args.activation = activation(w.node, w.panels.begin);
    args.a_type = input_of(w).type;
    args.b_type = w.graph.values[w.node.inputs[1]].type;
    args.out_type = made_by(w, w.node);
    kernels_of(w).add(&args);
  });
}

using Scale = decltype(Type::scale);
// Steps of the type that is made in one of what is read. No scales are so far apart that this times zero were no
// number: what is beyond is clamped anyway.
Scale factor_of(Scale read, const Type& made) { return made.scale > 0 ? std::min(read / made.scale, Scale(1e30)) : 1; }

// Of two maps, or of a map and one pixel, one channel or one number.
void pair(const Task& w, Pair pair) {
  const Shape &map = output_of(w).shape, &other = w.graph.values[w.node.inputs[1]].shape;
  const bool gate = other.height != map.height || other.width != map.width;
  by_row(w, [&](int row, int x0, int x1) {
    PairArgs args;
    args.pair = pair;
    args.a = w.in.at(row, x0);
    args.b = gate ? w.added.at(0) : w.added.at(row, x0);
    args.out = w.out.at(row, x0);
    args.a_stride = w.in.pixel_stride;
    args.b_stride = gate ? 0 : w.added.pixel_stride;
    args.out_stride = w.out.pixel_stride;
    args.pixels = x1 - x0;
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

void mul(const Task& w) { pair(w, kMul); }
void sub(const Task& w) { pair(w, kSub); }
void max(const Task& w) { pair(w, kMax); }
void min(const Task& w) { pair(w, kMin); }
void div(const Task& w) { pair(w, kDiv); }

void resize(const Task& w) {
  const Window &y = w.node.y, &x = w.node.x;
  const Shape& in = input_of(w).shape;
  by_row(w, [&](int row, int x0, int x1) {
    const Position down = y.position(row), across = x.position(x0);
    auto input_row = [&](int64_t at) { return w.in.at(int(std::clamp<int64_t>(at, 0, in.height - 1))); };
    ResizeArgs args;
    args.rows[0] = input_row(down.whole);
    args.rows[1] = y.kernel == 1 ? nullptr : input_row(down.whole + 1);
    args.down = decltype(args.down)(down.rest) / decltype(args.down)(y.denominator);
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
    args.factor = factor_of(args.in_type.scale, args.out_type);
    kernels_of(w).resize(&args);
  });
}

// Pixels [x0, x1) of a row, all channels of each at once.
template <class Args>
Args whole_pixels(const Task& w, int row, int x0, int x1) {
  Args args;
  args.in = w.in.at(row, x0);
  args.out = w.out.at(row, x0);
  args.in_stride = w.in.pixel_stride;
  args.out_stride = w.out.pixel_stride;
  args.pixels = x1 - x0;
  args.channels = w.channels.count();
  return args;
}

void softmax(const Task& w) {
  by_row(w, [&](int row, int x0, int x1) {
    auto args = whole_pixels<SoftmaxArgs>(w, row, x0, x1);
    args.logarithm = w.node.logarithm;
    args.in_type = input_of(w).type;
    args.out_type = output_of(w).type;
    kernels_of(w).softmax(&args);
  });
}

void norm(const Task& w) {
  by_row(w, [&](int row, int x0, int x1) {
    auto args = whole_pixels<NormArgs>(w, row, x0, x1);
    args.window = w.node.window_channels;
    args.centred = w.node.centred;
    args.numbers = static_cast<decltype(args.numbers)>(w.node.weights);
    kernels_of(w).norm(&args);
  });
}

// What the table has for the numbers of `in`, which may be what is made.
void look_up(const Task& w, const View& in, const void* table) {
  by_row(w, [&](int row, int x0, int x1) {
    const LookupArgs args = {in.at(row, x0),     table,   w.out.at(row, x0), in.pixel_stride,
                             w.out.pixel_stride, x1 - x0, w.panels.count()};
    w.kernels.lookup(&args);
  });
}

void lookup(const Task& w) { look_up(w, w.in, w.node.weights); }

// Zeros behind the numbers of a row that is one pixel.
void fill_up(const Task& w, int row) {
  const Value& out = output_of(w);
  const ptrdiff_t made = out.shape.channels * ptrdiff_t(size_of(out.type));
  std::memset(w.out.at(row) + made, 0, size_t(out.pixel_bytes() - made));
}

// Each row becomes one pixel: a number for each of the row's pixels.
void argmax(const Task& w) {
  by_row(w, [&](int row, int, int) {
    const Value &in = input_of(w), &out = output_of(w);
    const ArgmaxArgs args = {w.in.at(row),      w.in_type.dtype, w.out.at(row),    out.type.dtype,
                             w.in.pixel_stride, in.shape.width,  in.shape.channels};
    mbinfer::argmax(&args);
    fill_up(w, row);
  });
}

// The best boxes of each row.
void candidates(const Task& w) {
  const Value &in = input_of(w), &places = w.graph.values[w.node.inputs[1]], &out = output_of(w);
  CandidatesArgs args = {};
  args.scores_type = w.in_type, args.places_type = places.type;
  args.scores_stride = w.in.pixel_stride, args.places_stride = w.added.pixel_stride;
  args.pixels = in.shape.width;
  args.anchors = places.shape.channels / 4;
  args.classes = in.shape.channels / args.anchors;
  args.first_class = w.node.first_channel;
  args.softmax = w.node.softmax, args.anchorwise = w.node.anchorwise;
  const Boxes& boxes = w.graph.boxes[size_t(w.node.boxes)];
  args.least_score = boxes.least_score;
  std::copy(boxes.scale, boxes.scale + 4, args.scale);
  args.boxes = out.shape.channels / kBox;
  args.table = w.node.weights;
  by_row(w, [&](int row, int, int) {
    args.scores = w.in.at(row), args.places = w.added.at(row);
    args.first_pixel = row * places.shape.width;
    args.out = w.out.at(row);
    mbinfer::candidates(&args);
    fill_up(w, row);
  });
}

void nms(const Task& w) {
  const Shape& in = input_of(w).shape;
  const int row = w.makes.begin;
  const NmsArgs args = {w.in.at(0),
                        w.in.row_stride,
                        in.height,
                        in.channels / kBox,
                        w.graph.boxes[size_t(w.node.boxes)].overlap,
                        w.node.anchorwise,
                        w.out.at(row),
                        output_of(w).shape.channels / kBox};
  mbinfer::nms(&args);
  fill_up(w, row);
}

// The columns that `out` has, of the same columns of an input.
void convert(const Task& w) {
  by_row(w, [&](int row, int x0, int x1) {
    const int column = w.out.first_column + x0;
    ConvertArgs args;
    args.in = w.in.at(row, column);
    args.in_type = w.in_type;
    args.in_stride = w.in.pixel_stride;
    args.out = w.out.at(row, column);
    args.out_type = output_of(w).type;
    args.out_stride = w.out.pixel_stride;
    args.pixels = x1 - x0;
    args.channels = w.channels.count();
    args.out_channels = std::min(int(w.out.pixel_stride / ptrdiff_t(size_of(output_of(w).type))),
                                 w.panels.count() * kPanel);  // fewer in a patch, more in a value that holds others
    args.mean = w.recipe ? w.recipe->mean : nullptr;
    args.scale = w.recipe ? w.recipe->scale : nullptr;
    w.kernels.convert(&args);
  });
}

constexpr int kSoftmaxWork = 64;

struct Maker {
  void (*make)(const Task&);
  int work_per_element;
};
// In the order of kOps.
constexpr Maker kMakers[] = {{conv, 1},
                             {depthwise, 1},
                             {add, 1},
                             {max_pool, 1},
                             {avg_pool, 1},
                             {global_avg_pool, 1},
                             {softmax, kSoftmaxWork},
                             {convert, 1},
                             {lookup, 1},
                             {concat, 1},
                             {mul, 1},
                             {resize, 4},
                             {sub, 1},
                             {max, 1},
                             {min, 1},
                             {div, 8},
                             {slice, 1},
                             {shuffle, 4},
                             {depth_to_space, 1},
                             {argmax, 32},
                             {nullptr, 0},  // what is stacked is a place in every plan
                             {candidates, 4},
                             {nms, 64},
                             {norm, 8}};
static_assert(sizeof kMakers / sizeof kMakers[0] == kOpCount, "every operator has a function");

const Maker& maker_of(const Node& node) { return kMakers[int(node.op) - 1]; }

}  // namespace

const void* bias_of(const Task& w, int panel) {
  const int64_t panels = output_of(w).stride() / kPanel;
  return static_cast<const char*>(w.node.bias) + panel * (w.node.bias_bytes / panels);
}

Finish finish_of(const Task& w, int row, int x, int panel) {
  Finish finish = {activation(w.node, panel), nullptr, 0, {-INFINITY, INFINITY, kNoCurve, nullptr}};
  finish.channels = static_cast<const Channels*>(bias_of(w, panel));
  finish.made = made_by(w, w.node);
  if (!w.add) return finish;
  const ptrdiff_t bytes = kPanel * ptrdiff_t(size_of(output_of(w).type));
  finish.residual = w.added.at(row, x) + (panel - w.panels.begin) * bytes;
  finish.residual_stride = w.added.pixel_stride;
  finish.after = activation(*w.add, panel);
  finish.added = added_type(w, *w.add, output_of(w));
  finish.sum = made_by(w, *w.add);
  return finish;
}

void make_part(const Task& task) {
  maker_of(task.node).make(task);
  const int table = (task.add ? task.add : &task.node)->table;
  if (table >= 0 && task.ends) look_up(task, task.out, task.graph.tables[table].numbers);
}

int work_per_element(const Node& node) { return maker_of(node).work_per_element; }

}  // namespace mbinfer
