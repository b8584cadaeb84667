// Operators that move numbers and compute nothing, of any type: concatenations, stacks, slices, shuffles, blocks of
// pixels.
#include "exec/moves.h"

#include <algorithm>
#include <cstring>

namespace mbinfer {
namespace {

size_t element(const Task& w) { return size_of(w.graph.values[w.node.output].type); }
const Shape& input(const Task& w, size_t i) { return w.graph.values[w.node.inputs[i]].shape; }
const Shape& output(const Task& w) { return w.graph.values[w.node.output].shape; }

// Calls move(row, x) for every pixel; channels that fill up a panel are zeros.
template <class Move>
void by_output_pixel(const Task& w, Move&& move) {
  const size_t used = size_t(output(w).channels) * element(w), all = size_t(w.panels.count()) * kPanel * element(w);
  for (int p = w.begin; p < w.end; p++) {
    const int row = w.makes.begin + p / w.out.width, x = p % w.out.width;
    move(row, x);
    std::memset(w.out.at(row, x) + used, 0, all - used);
  }
}

// Output channel c is channel c / groups of group c % groups. Constants let a compiler move vectors: a number takes
// 0.07 ns in place of 1.8 (AMD EPYC (Zen 4), GCC 12). kGroups 0: any number.
template <size_t kBytes, int kGroups>
void take_turns(const char* __restrict in, char* __restrict out, int groups, int each) {
  const int count = kGroups ? kGroups : groups;
  for (int i = 0; i < each; i++)
    for (int group = 0; group < count; group++, out += kBytes)
      std::memcpy(out, in + size_t(group * each + i) * kBytes, kBytes);
}

using TakeTurns = void (*)(const char* in, char* out, int groups, int each);

template <size_t kBytes>
TakeTurns turns_of(int groups) {  // ShuffleNetV2 has 2, ShuffleNet 2, 3, 4 or 8
  switch (groups) {
    case 2:
      return take_turns<kBytes, 2>;
    case 3:
      return take_turns<kBytes, 3>;
    case 4:
      return take_turns<kBytes, 4>;
    case 8:
      return take_turns<kBytes, 8>;
    default:
      return take_turns<kBytes, 0>;
  }
}

void fill_up(const Task& w) {
  by_output_pixel(w, [](int, int) {});
}

}  // namespace

void concat(const Task& w) {
  fill_up(w);
  size_t at = 0;
  for (size_t i = 0; i < w.node.inputs.size(); i++) {
    const View in = gathered(w, i);
    const size_t bytes = size_t(input(w, i).channels) * element(w);
    by_row(w, [&](int row, int x0, int x1) {
      for (int x = x0; x < x1; x++) std::memcpy(w.out.at(row, x) + at, in.at(row, x), bytes);
    });
    at += bytes;
  }
}

// Pixel after pixel, of one input after the other: of each those that lie in the task's.
void stack(const Task& w) {
  fill_up(w);
  const size_t bytes = size_t(output(w).channels) * element(w);
  const int width = w.out.width;
  const int64_t begin = int64_t(w.makes.begin) * width + w.begin, end = int64_t(w.makes.begin) * width + w.end;
  int64_t first = 0;  // pixel of the input, in the output
  for (size_t i = 0; i < w.node.inputs.size() && first < end; first += input(w, i++).pixels()) {
    const View in = gathered(w, i);
    const int64_t last = std::min(end, first + input(w, i).pixels());
    for (int64_t p = std::max(begin, first); p < last; p++) {
      const int from = int(p - first), to = int(p - int64_t(w.makes.begin) * width);
      std::memcpy(w.out.at(w.makes.begin + to / width, to % width), in.at(from / in.width, from % in.width), bytes);
    }
  }
}

void slice(const Task& w) {
  const int from = w.node.first_channel, channels = output(w).channels;
  const int begin = std::max(0, -from), end = std::min(channels, input(w, 0).channels - from);  // that the input has
  const size_t size = element(w);
  const int zero = w.graph.values[w.node.output].type.zero_point;  // the byte that is zero; a float32's bytes are 0
  by_output_pixel(w, [&](int row, int x) {
    char* out = w.out.at(row, x);
    std::memset(out, zero, size_t(begin) * size);
    std::memcpy(out + size_t(begin) * size, w.in.at(row, x) + size_t(from + begin) * size, size_t(end - begin) * size);
    std::memset(out + size_t(end) * size, zero, size_t(channels - end) * size);
  });
}

void shuffle(const Task& w) {
  const int groups = w.node.groups, each = output(w).channels / groups;
  const TakeTurns take_turns = element(w) == 1 ? turns_of<1>(groups) : turns_of<4>(groups);
  by_output_pixel(w, [&](int row, int x) { take_turns(w.in.at(row, x), w.out.at(row, x), groups, each); });
}

void depth_to_space(const Task& w) {
  const int down = int(w.node.y.denominator), across = int(w.node.x.denominator);
  const size_t bytes = size_t(output(w).channels) * element(w);
  by_output_pixel(w, [&](int row, int x) {
    const size_t block = size_t(row % down * across + x % across);
    std::memcpy(w.out.at(row, x), w.in.at(row / down, x / across) + block * bytes, bytes);
  });
}

}  // namespace mbinfer
