#include "exec/runner.h"

#include <algorithm>
#include <chrono>
#include <climits>
#include <cmath>
#include <cstring>

#include "plan/stages.h"

namespace mbinfer {
namespace {

constexpr int kTaps = 32;  // of one call of the matrix kernel; larger kernels go on from the sums of the call before
constexpr int64_t kSoftmaxWork = 64;  // of a value, in multiply-adds
constexpr int kPieces = 4;            // of a thread's share of a part, at most
constexpr int64_t kPieceWork =
    64 << 10;  // multiply-adds, at least: two microseconds, next to which taking a piece is nothing

ActivationArgs activation(const Node& node) {
  if (node.activation == Activation::kClamp) return {node.lo, node.hi, 0};
  return {-INFINITY, INFINITY, node.activation == Activation::kHardSwish};
}

constexpr ptrdiff_t kFloat = sizeof(float);  // strides of views are floats, those of kernels bytes
const ActivationArgs kIdentity = {-INFINITY, INFINITY, 0};

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

}  // namespace

Runner::Runner(Session& session, ThreadPool::Member& member)
    : session_(session),
      graph_(session.graph()),
      plan_(session.plan()),
      table_(session.kernels()),
      kernels_(table_.of(DType::kFloat32)),
      member_(member),
      pictures_(session.pictures_[size_t(member.thread())].data()),
      pulls_(session.source_.pull != nullptr),
      threads_(member.team()) {}

Runner::View Runner::view(int value) const {
  const Value& v = graph_.values[value];
  const Placement& placed = plan_.values[value];
  if (placed.kind == Placement::kExternal) {
    float* base = static_cast<float*>(const_cast<void*>(pictures_[value].data));
    return {base, source_rows(), v.shape.width, ptrdiff_t(v.shape.width) * v.shape.channels, v.shape.channels};
  }
  float* base = reinterpret_cast<float*>(session_.arena_.get() + placed.at(segment_));
  return {base, placed.rows, v.shape.width, ptrdiff_t(v.shape.width) * v.stride(), v.stride()};
}

// Rows of the caller's array: all of them, or a ring of those that were pulled.
int Runner::source_rows() const { return pulls_ ? plan_.input_rows[0] : INT_MAX; }

// A pass over `total`, which is `work` multiply-adds: cut into a piece of whole grains for each thread, or into several
// where they are worth it, so that a thread whose core is taken from it for a while does not keep the others waiting.
// Which thread makes a piece changes no bit. `alone`: this is within a piece already.
template <class Make>
void Runner::in_pieces(bool alone, int total, int grain, int64_t work, Make&& make) {
  if (alone) return make(Part{0, total});
  if (threads_ == 1) return member_.parallel_for(1, [&](int) { make(Part{0, total}); });
  const int grains = ceil_div(total, grain);
  const int pieces =
      threads_ * std::max(1, int(std::min<int64_t>({kPieces, grains / threads_, work / threads_ / kPieceWork})));
  auto edge = [&](int piece) { return std::min(total, int(int64_t(grains) * piece / pieces) * grain); };
  member_.parallel_for(pieces, [&](int piece) {
    const Part part = {edge(piece), edge(piece + 1)};
    if (part.begin < part.end) make(part);
  });
}

int64_t Runner::work(const Node& node, int pixels, int panels) const {
  if (threads_ == 1) return 0;  // nobody to share with, nobody asks
  const Shape& out = graph_.values[node.output].shape;
  return int64_t(pixels) * panels * (macs(graph_, node) * kPanel / out.elements());
}

void Runner::enter(int segment) {
  segment_ = segment;
  for (size_t v = 0; v < plan_.values.size(); v++) {
    const Placement& placed = plan_.values[v];
    if (placed.moved_before != segment) continue;
    uint8_t* arena = session_.arena_.get();
    member_.on_caller(
        [&] { std::memmove(arena + placed.moved_offset, arena + placed.offset, size_t(graph_.values[v].bytes())); });
  }
}

void Runner::strip(int index, int r0, int r1, StageTime* times) {
  const Stage& stage = plan_.stages[index];
  const double start = times ? now() : 0;
  const bool pulled = pulls_ && (stage.load >= 0 || plan_.values[stage.input].kind == Placement::kExternal);
  const bool by_step = pulled && pulled_by_step(graph_, stage);
  auto pull = [&](int upto) { member_.on_caller([&] { session_.pull(upto); }); };
  if (pulled && !by_step) pull(strip_rows(graph_, stage, r0, r1).end);
  if (stage.load >= 0) {
    load(stage, r0, r1);
  } else {
    for_each_step(graph_, stage, r0, r1, chunk_count(graph_, stage), [&](const Step& s) {
      if (by_step) pull(s.source.end);
      step(stage, s, r0);
    });
  }
  if (times) times[index].seconds += now() - start;
}

// Expand the fresh rows of a chunk, run the spatial part over them, project into the output rows: each part where the
// stage has it, reading the stage's input and writing its output where it has not.
void Runner::step(const Stage& stage, const Step& s, int r0) {
  const bool global = is_global(graph_, stage);
  const Rows made = global ? Rows{r0, r0 + 1} : Rows{s.t0, s.t1};
  const int channel = s.chunk * stage.chunk, all = expanded_channels(graph_, stage);
  const int channels = stage.chunk ? std::min(stage.chunk, all - channel) : all;
  const Part panels = {channel / kPanel, (channel + channels) / kPanel};
  // A thread goes on with what it made itself, without waiting, because its cache holds that. Where the map is larger
  // than the weights, it filters and projects the same rows; not where rows projected may lie over rows that others
  // still filter.
  const bool by_rows = shares_rows(stage, made);
  // Else it expands and filters the same panels, where there are enough of them: in pairs, because two share a cache
  // line, which no two threads should write. Not where it would filter into the output, which may lie over the input
  // that other threads still expand.
  const int count = panels.end - panels.begin;
  const bool alone = threads_ > 1 && !by_rows && stage.expand >= 0 && stage.project >= 0 &&
                     plan_.values[stage.input].kind == Placement::kArena && graph_.nodes[stage.expand].pointwise() &&
                     (count % (2 * threads_) == 0 || count >= 8 * threads_);
  uint8_t* arena = session_.arena_.get();
  const View out = view(stage.output);
  View in = view(stage.input);
  Finish epilogue = {{}, nullptr, 0, kIdentity};

  if (stage.expand >= 0) {
    const Node& expand = graph_.nodes[stage.expand];
    const int width = graph_.values[expand.output].shape.width;
    const int64_t ring = stage.keep ? s.chunk * (stage.expanded_bytes / chunk_count(graph_, stage)) : 0;
    const View expanded = {reinterpret_cast<float*>(arena + stage.expanded_offset + ring), stage.expanded_rows, width,
                           ptrdiff_t(width) * stage.chunk, stage.chunk};
    epilogue.activation = activation(expand);
    if (!alone && !s.fresh.empty()) {
      conv(stage, expand, in, expanded, s.fresh, panels, epilogue, nullptr);
    }
    in = expanded;
  } else if (stage.spatial >= 0) {
    in.base += channel;
  }

  View middle = out;
  if (stage.spatial >= 0) {
    middle.base += channel;
    if (stage.project >= 0) {
      const int width = graph_.values[graph_.nodes[stage.spatial].output].shape.width;
      middle = {reinterpret_cast<float*>(arena + stage.spatial_offset), INT_MAX, width, ptrdiff_t(width) * stage.chunk,
                stage.chunk};
      middle.base -= made.begin * middle.row_stride;
    }
    if (alone) {
      const Node& expand = graph_.nodes[stage.expand];
      const int64_t both = work(expand, s.fresh.count() * in.width, count) +
                           work(graph_.nodes[stage.spatial], (s.t1 - s.t0) * middle.width, count);
      in_pieces(false, count, 2, both, [&](Part own) {
        const int first = own.begin * kPanel;
        if (!s.fresh.empty())
          pointwise(expand, view(stage.input), in.from(first), s.fresh,
                    {0, graph_.values[stage.input].shape.channels, true},
                    {panels.begin + own.begin, panels.begin + own.end}, &epilogue, nullptr, true);
        spatial(stage, s, r0, in.from(first), middle.from(first), channel + first, own.end - own.begin, true);
      });
    } else if (!by_rows) {
      spatial(stage, s, r0, in, middle, channel, count);
    }
    if (global && s.t1 < window_rows(graph_, stage, 0, 1).end) return;
  }

  if (stage.project >= 0) {
    const Node& project = graph_.nodes[stage.project];
    epilogue.activation = activation(project);
    View residual = {};
    if (stage.add >= 0) {
      residual = view(stage.residual);
      epilogue.after = activation(graph_.nodes[stage.add]);
    }
    const View* added = stage.add >= 0 ? &residual : nullptr;
    const Part all_panels = {0, int(out.stride / kPanel)};
    if (stage.spatial >= 0) {
      const Channels read = {channel, std::min(channels, graph_.values[project.inputs[0]].shape.channels - channel),
                             s.chunk == 0};
      const Finish* finish = s.last_chunk ? &epilogue : nullptr;
      if (by_rows) {
        const int pixels = made.count() * out.width;
        const int64_t both = work(graph_.nodes[stage.spatial], pixels, count) +
                             work(project, pixels, all_panels.end) / chunk_count(graph_, stage);
        in_pieces(false, made.count(), 1, both, [&](Part part) {
          Step own = s;
          own.t0 = made.begin + part.begin, own.t1 = made.begin + part.end;
          spatial(stage, own, r0, in, middle, channel, count, true);
          pointwise(project, middle, out, {own.t0, own.t1}, read, all_panels, finish, added, true);
        });
      } else {
        pointwise(project, middle, out, made, read, all_panels, finish, added);
      }
    } else {
      conv(stage, project, in, out, made, all_panels, epilogue, added);
    }
  } else if (stage.add >= 0) {
    add(stage, made);
  }
}

bool Runner::shares_rows(const Stage& stage, Rows made) const {
  if (threads_ == 1 || stage.spatial < 0 || stage.project < 0 || is_global(graph_, stage) || made.count() < threads_)
    return false;
  const Value &in = graph_.values[stage.input], &out = graph_.values[stage.output];
  if (2 * made.count() * out.shape.width < (stage.expand >= 0 ? in.shape.channels : 0) + out.shape.channels)
    return false;
  if (stage.expand >= 0) return true;
  const Placement &from = plan_.values[stage.input], &to = plan_.values[stage.output];
  const int64_t begin = to.at(segment_), end = begin + to.rows * out.row_bytes();
  return from.kind == Placement::kArena &&
         (end <= from.at(segment_) || from.at(segment_) + from.rows * in.row_bytes() <= begin);
}

void Runner::load(const Stage& stage, int r0, int r1) {
  size_t input = 0;
  while (graph_.inputs[input].value != stage.load) input++;
  const Recipe& recipe = graph_.inputs[input].recipe;
  const Shape& shape = graph_.values[stage.load].shape;
  const Picture& picture = pictures_[stage.load];
  const Placement& placed = plan_.values[stage.load];
  const int stride = graph_.values[stage.load].stride();
  in_pieces(false, r1 - r0, 1, int64_t(r1 - r0) * shape.width * shape.channels, [&](Part part) {
    for (int r = r0 + part.begin; r < r0 + part.end; r++) {
      float* to = reinterpret_cast<float*>(session_.arena_.get() + placed.at(segment_)) +
                  ptrdiff_t(r % placed.rows) * shape.width * stride;
      const int64_t first = int64_t(r % source_rows()) * shape.width * shape.channels;
      const ConvertArgs args = {static_cast<const uint8_t*>(picture.data) + first * int64_t(size_of(picture.dtype)),
                                picture.dtype,
                                to,
                                stride * kFloat,
                                shape.width,
                                shape.channels,
                                stride,
                                recipe.mean,
                                recipe.scale};
      table_.convert(&args);
    }
  });
}

// A 1x1 convolution of some channels of its input into some of its panels. Rows that follow one another in memory on
// all sides are one run of pixels.
void Runner::pointwise(const Node& node, View in, View out, Rows made, Channels channels, Part panels,
                       const Finish* epilogue, const View* residual, bool alone) {
  const int width = in.width, pixels = made.count() * width, panel_count = panels.end - panels.begin;
  auto follows = [](const View& v, int r) { return r % v.rows != 0; };  // row r comes right after row r - 1

  auto make = [&](Part part, Part own) {  // own: of `panels`, from its first on
    for (int p = part.begin; p < part.end;) {
      const int row = made.begin + p / width, x = p % width;
      int last = row + 1;
      while (last < made.end && follows(in, last) && follows(out, last) && (!residual || follows(*residual, last)))
        last++;
      const int run = std::min(part.end, (last - made.begin) * width) - p, first = panels.begin + own.begin;
      const Tap tap = {in.row(row) + x * in.stride, channels.count, channels.first};
      Finish finish;
      if (epilogue) {
        finish = *epilogue;
        if (residual) {
          finish.residual = residual->row(row) + x * residual->stride + first * kPanel;
          finish.residual_stride = residual->stride * kFloat;
        }
      }
      GemmArgs args;
      args.taps = &tap;
      args.tap_count = 1;
      args.in_stride = in.stride * kFloat;
      args.sums = args.out = out.row(row) + x * out.stride + own.begin * kPanel;
      args.sums_stride = args.out_stride = out.stride * kFloat;
      args.pixels = run;
      args.weights = node.weights;
      args.weight_rows = graph_.values[node.inputs[0]].shape.channels;
      args.node_panels = graph_.values[node.output].stride() / kPanel;
      args.panel = first;
      args.panels = own.end - own.begin;
      args.bias = channels.from_bias ? static_cast<const float*>(node.bias) + first * kPanel : nullptr;
      args.finish = epilogue ? &finish : nullptr;
      kernels_.gemm(&args);
      p += run;
    }
  };
  const int64_t all = work(node, pixels, panel_count) * channels.count / graph_.values[node.inputs[0]].shape.channels;
  // Threads share out whichever is larger, weights or pixels, so that each core reads its own part of it once.
  if (panel_count * kPanel > pixels ? panel_count > kernels_.tile.panels : pixels < 2 * kernels_.tile.pixels * threads_)
    in_pieces(alone, panel_count, kernels_.tile.panels, all, [&](Part own) { make({0, pixels}, own); });
  else
    in_pieces(alone, pixels, kernels_.tile.pixels, all, [&](Part part) { make(part, {0, panel_count}); });
}

// Any convolution of the stage's input into some of its panels. A uint8 image is normalised a patch at a time.
void Runner::conv(const Stage& stage, const Node& node, View in, View out, Rows made, Part panels, Finish epilogue,
                  const View* residual) {
  const bool external = plan_.values[stage.input].kind == Placement::kExternal;
  const bool bytes = external && pictures_[stage.input].dtype == DType::kUint8;
  const Shape& shape = graph_.values[stage.input].shape;
  if (!bytes && node.pointwise())
    return pointwise(node, in, out, made, {0, shape.channels, true}, panels, &epilogue, residual);

  const int total = made.count() * out.width;
  in_pieces(false, total, kPatchPixels, work(node, total, panels.end - panels.begin), [&](Part part) {
    const float* rows[kMaxKernel];
    for (int p = part.begin; p < part.end;) {
      const int t = made.begin + p / out.width, x0 = p % out.width;
      int x1 = std::min(out.width, x0 + part.end - p);
      if (bytes) x1 = std::min(x1, x0 + kPatchPixels);
      for (int ky = 0; ky < node.y.kernel; ky++) {
        const int iy = t * node.y.stride - node.y.pad + ky * node.y.dilation;
        rows[ky] = iy < 0 || iy >= shape.height ? nullptr : bytes ? patch_row(stage, node, ky, iy, x0, x1) : in.row(iy);
      }
      if (residual) {
        epilogue.residual = residual->row(t) + x0 * residual->stride;
        epilogue.residual_stride = residual->stride * kFloat;
      }
      conv_row(node, rows, in.stride, out.row(t) + x0 * out.stride, out.stride, x0, x1, panels, epilogue);
      p += x1 - x0;
    }
  });
}

// Normalises what output pixels [x0, x1) read of row iy of the caller's uint8 image. Returns where pixel 0 of the row
// would lie.
const float* Runner::patch_row(const Stage& stage, const Node& node, int ky, int iy, int x0, int x1) {
  size_t input = 0;
  while (graph_.inputs[input].value != stage.input) input++;
  const Shape& shape = graph_.values[stage.input].shape;
  const auto columns = node.x.input_range(x0, x1, shape.width);
  const int64_t bytes = stage.patch_bytes / stage.patches;
  float* patch = reinterpret_cast<float*>(session_.arena_.get() + stage.patch_offset + bytes * member_.thread() +
                                          bytes / node.y.kernel * ky);
  const uint8_t* image = static_cast<const uint8_t*>(pictures_[stage.input].data);
  const Recipe& recipe = graph_.inputs[input].recipe;
  const ConvertArgs args = {image + (int64_t(iy % source_rows()) * shape.width + columns.first) * shape.channels,
                            DType::kUint8,
                            patch,
                            shape.channels * kFloat,
                            columns.second - columns.first,
                            shape.channels,
                            shape.channels,
                            recipe.mean,
                            recipe.scale};
  table_.convert(&args);
  return patch - ptrdiff_t(columns.first) * shape.channels;
}

// Output pixels [x0, x1) of one row. Pixels whose taps all lie inside go together; each of the others has its own cut.
void Runner::conv_row(const Node& node, const float* const* rows, ptrdiff_t in_stride, float* out, ptrdiff_t out_stride,
                      int x0, int x1, Part panels, Finish epilogue) {
  const Shape& in = graph_.values[node.inputs[0]].shape;
  const PanelChannels read(in.channels, graph_.values[node.output].shape.channels, node.groups);
  const Window& w = node.x;
  const int in_width = in.width, k_rows = node.y.kernel * w.kernel * read.count;
  // A kernel row's channels follow one another in memory.
  const bool whole_rows = node.groups == 1 && w.dilation == 1 && in_stride == in.channels;
  const float* residual = static_cast<const float*>(epilogue.residual);

  auto pixels = [&](int x, int count) {
    const int first = x * w.stride - w.pad;
    const int kx0 = first < 0 ? ceil_div(-first, w.dilation) : 0;
    const int kx1 = first >= in_width ? 0 : std::min(w.kernel, ceil_div(in_width - first, w.dilation));
    for (int panel = panels.begin; panel < panels.end;) {
      int panel_end = panel + 1;
      const int channel = read.first(panel);
      while (panel_end < panels.end && read.first(panel_end) == channel) panel_end++;
      Tap taps[kTaps];
      GemmArgs args;
      args.taps = taps;
      args.tap_count = 0;
      args.in_stride = w.stride * in_stride * kFloat;
      args.sums = args.out = out + (x - x0) * out_stride + (panel - panels.begin) * kPanel;
      args.sums_stride = args.out_stride = out_stride * kFloat;
      args.pixels = count;
      args.weights = node.weights;
      args.weight_rows = k_rows;
      args.node_panels = graph_.values[node.output].stride() / kPanel;
      args.panel = panel;
      args.panels = panel_end - panel;
      args.bias = static_cast<const float*>(node.bias) + panel * kPanel;
      args.finish = nullptr;
      auto flush = [&](bool last) {
        Finish finish = epilogue;
        if (residual) finish.residual = residual + (x - x0) * (epilogue.residual_stride / kFloat) + panel * kPanel;
        if (last) args.finish = &finish;
        kernels_.gemm(&args);
        args.tap_count = 0;
        args.bias = nullptr;
      };
      auto tap = [&](int ky, int kx, int k) {
        if (args.tap_count == kTaps) flush(false);
        taps[args.tap_count++] = {rows[ky] + (first + kx * w.dilation) * in_stride + channel, k,
                                  (ky * w.kernel + kx) * read.count};
      };
      for (int ky = 0; ky < node.y.kernel; ky++) {
        if (!rows[ky] || kx0 >= kx1) continue;
        if (whole_rows)
          tap(ky, kx0, (kx1 - kx0) * in.channels);
        else
          for (int kx = kx0; kx < kx1; kx++) tap(ky, kx, read.count);
      }
      flush(true);
      panel = panel_end;
    }
  };

  const int room = in_width - w.extent() + w.pad;  // the last pixel inside starts here at most
  int begin = std::min(x1, std::max(x0, ceil_div(w.pad, w.stride)));
  int end = std::max(begin, std::min(x1, room < 0 ? 0 : room / w.stride + 1));
  for (int x = x0; x < begin; x++) pixels(x, 1);
  if (end > begin) pixels(begin, end - begin);
  for (int x = end; x < x1; x++) pixels(x, 1);
}

void Runner::spatial(const Stage& stage, const Step& s, int r0, View in, View out, int channel, int panels,
                     bool alone) {
  const Node& node = graph_.nodes[stage.spatial];
  const Shape& shape = graph_.values[node.inputs[0]].shape;
  if (node.op == Op::kSoftmax)
    return in_pieces(
        alone, (s.t1 - s.t0) * out.width, 1, kSoftmaxWork * (s.t1 - s.t0) * out.width * shape.channels, [&](Part part) {
          for (int p = part.begin; p < part.end; p++) {
            const int t = s.t0 + p / out.width, x = p % out.width;
            const SoftmaxArgs args = {in.row(t) + x * in.stride, out.row(t) + x * out.stride, 0, 0, 1, shape.channels};
            kernels_.softmax(&args);
          }
        });
  if (node.op == Op::kGlobalAvgPool)
    return in_pieces(alone, panels, 2, int64_t(s.t1 - s.t0) * shape.width * panels * kPanel, [&](Part part) {
      for (int t = s.t0; t < s.t1; t++) {
        float* sums = out.row(r0) + part.begin * kPanel;
        const ReduceArgs args = {in.row(t) + part.begin * kPanel,
                                 in.stride * kFloat,
                                 shape.width,
                                 part.end - part.begin,
                                 sums,
                                 sums,
                                 t == 0,
                                 t == shape.height - 1,
                                 1.0f / float(shape.pixels()),
                                 activation(node)};
        kernels_.reduce(&args);
      }
    });
  in_pieces(alone, (s.t1 - s.t0) * panels, 2, work(node, (s.t1 - s.t0) * out.width, panels),
            [&](Part units) {  // a panel of a row each
              const void* rows[kMaxKernel];
              for (int unit = units.begin; unit < units.end;) {
                const int t = s.t0 + unit / panels, panel = unit % panels,
                          last = std::min(panels, panel + units.end - unit);
                for (int ky = 0; ky < node.y.kernel; ky++) {
                  const int iy = t * node.y.stride - node.y.pad + ky * node.y.dilation;
                  rows[ky] = iy < 0 || iy >= shape.height ? nullptr : in.row(iy) + panel * kPanel;
                }
                float* to = out.row(t) + panel * kPanel;
                const int first = channel / kPanel + panel;
                if (node.op == Op::kDepthwise) {
                  const DepthwiseArgs args = {rows,
                                              node.y.kernel,
                                              node.x.kernel,
                                              node.x.stride,
                                              node.x.dilation,
                                              node.x.pad,
                                              shape.width,
                                              in.stride * kFloat,
                                              to,
                                              out.stride * kFloat,
                                              0,
                                              out.width,
                                              node.weights,
                                              graph_.values[node.output].stride() / kPanel,
                                              first,
                                              last - panel,
                                              static_cast<const float*>(node.bias) + first * kPanel,
                                              activation(node)};
                  kernels_.depthwise(&args);
                } else {
                  const bool average = node.op == Op::kAvgPool;
                  const PoolArgs args = {rows,
                                         node.y.kernel,
                                         node.x.kernel,
                                         node.x.stride,
                                         node.x.pad,
                                         shape.width,
                                         in.stride * kFloat,
                                         to,
                                         out.stride * kFloat,
                                         0,
                                         out.width,
                                         last - panel,
                                         average,
                                         average && node.counts_padding ? node.y.kernel * node.x.kernel : 0,
                                         activation(node)};
                  kernels_.pool(&args);
                }
                unit += last - panel;
              }
            });
}

void Runner::add(const Stage& stage, Rows made) {
  const View a = view(stage.input), b = view(stage.residual), out = view(stage.output);
  in_pieces(false, made.count() * out.width, 1, int64_t(made.count()) * out.width * out.stride, [&](Part part) {
    for (int p = part.begin; p < part.end;) {
      const int t = made.begin + p / out.width, x = p % out.width, run = std::min(out.width - x, part.end - p);
      const AddArgs args = {a.row(t) + x * a.stride,
                            b.row(t) + x * b.stride,
                            out.row(t) + x * out.stride,
                            a.stride * kFloat,
                            b.stride * kFloat,
                            out.stride * kFloat,
                            run,
                            int(out.stride / kPanel),
                            activation(graph_.nodes[stage.add])};
      kernels_.add(&args);
      p += run;
    }
  });
}

}  // namespace mbinfer
