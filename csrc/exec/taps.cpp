// Convolutions of any window, as calls of the matrix kernel: which pixels of the input meet which rows of weights.
#include <algorithm>

#include "exec/windows.h"

namespace mbinfer {
namespace {

constexpr int kTaps = 32;  // of one call of the matrix kernel; larger windows go on from the sums of the call before

// Panels that read the same channels of some neighbouring pixels, which see the same taps [kx0, kx1) of the window.
struct Run {
  int x, pixels;
  int kx0, kx1;
  Range panels;
  int channel, count;  // of the input, that the panels read
};

class ConvRow {
 public:
  ConvRow(const Task& task, const void* const* rows, int row)
      : task_(task),
        node_(task.node),
        window_(task.x),
        in_(task.graph.values[task.node.inputs[0]]),
        out_(task.graph.values[task.node.output]),
        rows_(rows),
        row_(row),
        read_(in_.shape.channels, out_.shape.channels, node_.groups),
        inputs_(filled_up(node_, read_.count)),
        // A kernel row's channels follow one another in memory.
        whole_rows_(node_.groups == 1 && window_.dilation == 1 &&
                    task.in.pixel_stride == inputs_ * ptrdiff_t(size_of(in_.type))) {}

  // Pixels whose taps all lie inside go together; each of the others has its own cut.
  void make(int x0, int x1) {
    const int room = task_.in_width - window_.extent() + window_.pad;  // the last pixel inside starts here at most
    const int begin = std::min(x1, std::max(x0, ceil_div<int>(window_.pad, window_.stride)));
    const int end = std::max(begin, std::min(x1, room < 0 ? 0 : room / window_.stride + 1));
    for (int x = x0; x < begin; x++) pixels(x, 1);
    if (end > begin) pixels(begin, end - begin);
    for (int x = end; x < x1; x++) pixels(x, 1);
  }

 private:
  void pixels(int x, int count) {
    const int first = x * window_.stride - window_.pad, width = task_.in_width;
    Run run;
    run.x = x;
    run.pixels = count;
    run.kx0 = first < 0 ? ceil_div<int>(-first, window_.dilation) : 0;
    run.kx1 = first >= width ? 0 : std::min<int>(window_.kernel, ceil_div<int>(width - first, window_.dilation));
    run.count = read_.count;
    for (int panel = task_.panels.begin; panel < task_.panels.end; panel = run.panels.end) {
      run.panels = {panel, panel + 1};
      run.channel = read_.first(panel);
      while (run.panels.end < task_.panels.end && read_.first(run.panels.end) == run.channel) run.panels.end++;
      multiply(run);
    }
  }

  // Sums that wait between calls wait in the output, where it can hold them; else some of them at a time do so here.
  void multiply(const Run& run) {
    const int64_t sum = int64_t(size_of(sums_of(out_.type)));
    const int taps = task_.y.kernel * (whole_rows_ ? 3 : window_.kernel);
    if (taps <= kTaps || sum == int64_t(size_of(out_.type))) return multiply(run, nullptr);
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

  void multiply(const Run& run, char* sums) {
    const int first = run.x * window_.stride - window_.pad;
    const Finish finish = finish_of(task_, row_, run.x, run.panels.begin);
    Tap taps[kTaps];
    GemmArgs args = arguments(run, taps, sums);
    auto call = [&](bool last) {
      if (last) args.finish = &finish;
      task_.kernels.of(out_.type.dtype).gemm(&args);
      args.tap_count = 0;
      args.bias = nullptr;
    };
    auto tap = [&](int ky, int kx, int count, bool inside) {
      if (args.tap_count == kTaps) call(false);
      const ptrdiff_t column = first + kx * window_.dilation - task_.in.first_column;
      const char* in = inside ? static_cast<const char*>(rows_[ky]) + column * task_.in.pixel_stride +
                                    run.channel * ptrdiff_t(size_of(in_.type))
                              : nullptr;
      taps[args.tap_count++] = {in, count * inputs_, (ky * window_.kernel + kx) * rows_of(node_, run.count)};
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

  GemmArgs arguments(const Run& run, const Tap* taps, char* sums) const {
    const int panel = run.panels.begin - task_.panels.begin;
    const ptrdiff_t sums_panel = kPanel * ptrdiff_t(size_of(sums_of(out_.type)));
    GemmArgs args;
    args.taps = taps;
    args.tap_count = 0;
    args.in_stride = window_.stride * task_.in.pixel_stride;
    args.sums = sums ? sums : task_.sums.at(row_, run.x) + panel * sums_panel;
    args.sums_stride = sums ? run.panels.count() * sums_panel : task_.sums.pixel_stride;
    args.out = task_.out.at(row_, run.x) + panel * kPanel * ptrdiff_t(size_of(out_.type));
    args.out_stride = task_.out.pixel_stride;
    args.pixels = run.pixels;
    args.weights = node_.weights;
    args.weight_rows = task_.y.kernel * window_.kernel * rows_of(node_, run.count);
    args.panel = run.panels.begin;
    args.panels = run.panels.count();
    args.bias = bias_of(task_, run.panels.begin);
    args.finish = nullptr;
    args.zero_point = in_.type.zero_point;
    args.full_range = node_.full_range;
    args.weight_dtype = node_.weight_dtype;
    args.ahead_from = task_.ahead_from;
    return args;
  }

  const Task& task_;
  const Node& node_;
  const Window& window_;
  const Value &in_, &out_;
  const void* const* rows_;
  const int row_;
  const PanelChannels read_;
  const int inputs_;  // of a tap, filled up to whole rows of weights
  const bool whole_rows_;
};

}  // namespace

void conv_row(const Task& task, const void* const* rows, int row, int x0, int x1) {
  ConvRow(task, rows, row).make(x0, x1);
}

}  // namespace mbinfer
