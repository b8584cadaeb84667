#include "exec/taps.h"

#include <algorithm>

#include "exec/windows.h"

namespace mbinfer {
namespace {

constexpr int kTaps = 32;  // of one call of the matrix kernel; larger windows go on from the sums of the call before

}  // namespace

Convolution::Convolution(const Task& task)
    : task_(task),
      node_(task.node),
      window_(task.x),
      in_(input_of(task)),
      out_(output_of(task)),
      kernels_(kernels_of(task)),
      sum_bytes_(int(size_of(sums_of(out_.type)))),
      element_bytes_(int(size_of(in_.type))),
      read_(in_.shape.channels, out_.shape.channels, node_.groups),
      inputs_(filled_up(node_, read_.count)),
      tap_rows_(rows_of(node_, read_.count)),
      whole_rows_(node_.groups == 1 && window_.dilation == 1 && task.in.pixel_stride == inputs_ * element_bytes_),
      sums_wait_here_(task.y.kernel * (whole_rows_ ? 3 : window_.kernel) > kTaps &&
                      sum_bytes_ != int(size_of(out_.type))),
      args_(shared_arguments()),
      finish_(finish_of(task, task.panels.begin)),
      finish_panel_(task.panels.begin) {}

Range Convolution::inside(int x0, int x1) const {
  const int room = task_.in_width - window_.extent() + window_.pad;  // the last pixel inside starts here at most
  const int begin = std::min(x1, std::max(x0, ceil_div<int>(window_.pad, window_.stride)));
  return {begin, std::max(begin, std::min(x1, room < 0 ? 0 : room / window_.stride + 1))};
}

void Convolution::begin_at(int row) {
  row_ = row;
  window_rows(task_, row, rows_);
}

// Pixels of a row whose taps all lie inside go together. Each of the others has its own cut, which is the same in every
// row.
void Convolution::make(Rows rows, int x0, int x1) {
  const Range together = inside(x0, x1);
  begin_at(rows.begin);
  for (int x = x0; x < together.begin; x++) pixels(x, rows.count(), true);
  for (int x = together.end; x < x1; x++) pixels(x, rows.count(), true);
  for (int row = rows.begin; row < rows.end && together.begin < together.end; row++) {
    if (row > rows.begin) begin_at(row);
    pixels(together.begin, together.count(), false);
  }
}

void Convolution::pixels(int x, int count, bool down) {
  const int first = x * window_.stride - window_.pad, width = task_.in_width;
  Run run;
  run.x = x;
  run.pixels = count;
  run.down = down;
  run.kx0 = first < 0 ? ceil_div<int>(-first, window_.dilation) : 0;
  run.kx1 = first >= width ? 0 : std::min<int>(window_.kernel, ceil_div<int>(width - first, window_.dilation));
  run.panels = task_.panels;
  run.channel = 0;
  if (node_.groups == 1) return multiply(run);
  for (int panel = task_.panels.begin; panel < task_.panels.end; panel = run.panels.end) {
    run.panels = {panel, panel + 1};
    run.channel = read_.first(panel);
    while (run.panels.end < task_.panels.end && read_.first(run.panels.end) == run.channel) run.panels.end++;
    multiply(run);
  }
}

// Sums that wait between calls wait in the output, where it can hold them; else some of them at a time do so here.
void Convolution::multiply(const Run& run) {
  if (!sums_wait_here_) return multiply(run, nullptr);
  constexpr int kPixels = 8, kPanels = 4;
  alignas(64) char sums[kPixels * kPanels * kPanel * sizeof(int64_t)];
  for (Run some = run; some.x < run.x + run.pixels; some.x += some.pixels) {
    some.pixels = std::min(kPixels, run.x + run.pixels - some.x);
    for (int panel = run.panels.begin; panel < run.panels.end; panel = some.panels.end) {
      some.panels = {panel, std::min(run.panels.end, panel + kPanels)};
      multiply(some, sums);
    }
  }
}

void Convolution::multiply(const Run& run, char* sums) {
  Tap taps[kTaps];
  GemmArgs& args = args_;
  tell(run, sums);
  args.taps = taps;
  args.tap_count = 0;
  auto call = [&](bool last) {
    args.finish = last ? &finish_ : nullptr;
    kernels_.gemm(&args);
    args.tap_count = 0;
    args.bias = nullptr;
  };
  const ptrdiff_t first = run.x * window_.stride - window_.pad - task_.in.first_column;
  const ptrdiff_t pixel = task_.in.pixel_stride, channel = run.channel * ptrdiff_t(element_bytes_);
  auto tap = [&](int ky, int kx, int count, bool inside) {
    if (args.tap_count == kTaps) call(false);
    const ptrdiff_t offset = (first + kx * window_.dilation) * pixel + channel;
    const char* in = inside ? static_cast<const char*>(rows_[ky]) + offset : nullptr;
    taps[args.tap_count++] = {in, count * inputs_, (ky * window_.kernel + kx) * tap_rows_};
  };
  auto taps_of_row = [&](int ky, int begin, int end, bool inside) {
    if (whole_rows_ && begin < end) return tap(ky, begin, end - begin, inside);
    for (int kx = begin; kx < end; kx++) tap(ky, kx, 1, inside);
  };
  const bool pads = in_.type.scale > 0;  // else a tap outside is left out
  for (int ky = 0; ky < task_.y.kernel; ky++) {
    const Range inside = rows_[ky] && run.kx0 < run.kx1 ? Range{run.kx0, run.kx1} : Range{0, 0};
    if (pads) taps_of_row(ky, 0, inside.begin, false);
    taps_of_row(ky, inside.begin, inside.end, true);
    if (pads) taps_of_row(ky, inside.end, window_.kernel, false);
  }
  call(true);
}

GemmArgs Convolution::shared_arguments() const {
  GemmArgs args = {};
  args.weights = node_.weights;
  args.weight_rows = task_.y.kernel * window_.kernel * tap_rows_;
  args.zero_point = in_.type.zero_point;
  args.full_range = node_.full_range;
  args.weight_dtype = node_.weight_dtype;
  args.ahead_from = task_.ahead_from;
  return args;
}

void Convolution::tell(const Run& run, char* sums) {
  const int panel = run.panels.begin - task_.panels.begin;
  const ptrdiff_t sums_panel = kPanel * sum_bytes_, out_panel = kPanel * ptrdiff_t(size_of(out_.type));
  auto step = [&](const View& view) { return run.down ? view.row_stride : view.pixel_stride; };
  args_.in_stride = (run.down ? task_.y : window_).stride * step(task_.in);
  args_.out_stride = step(task_.out);
  args_.sums = sums ? sums : task_.sums.at(row_, run.x) + panel * sums_panel;
  args_.sums_stride = sums ? run.panels.count() * sums_panel : step(task_.sums);
  args_.out = task_.out.at(row_, run.x) + panel * out_panel;
  args_.pixels = run.pixels;
  args_.panel = run.panels.begin;
  args_.panels = run.panels.count();
  args_.bias = bias_of(task_, run.panels.begin);
  if (finish_panel_ != run.panels.begin) finish_ = finish_of(task_, finish_panel_ = run.panels.begin);
  if (task_.add) {
    finish_.residual = residual_of(task_, row_, run.x, run.panels.begin);
    finish_.residual_stride = step(task_.added);
  }
}

void conv_rows(const Task& task) {
  Convolution convolution(task);
  const int width = task.out.width, end = task.makes.begin + task.end / width;
  const bool whole = task.begin % width == 0 && task.end % width == 0;
  if (!whole || !convolution.joins_rows())
    return by_row(task, [&](int row, int x0, int x1) { convolution.make({row, row + 1}, x0, x1); });
  for (int row = task.makes.begin + task.begin / width, last; row < end; row = last) {
    last = std::max(row + 1, even_rows(task, row, end));
    convolution.make({row, last}, 0, width);
  }
}

}  // namespace mbinfer
