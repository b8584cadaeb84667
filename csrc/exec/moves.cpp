// Operators that move numbers and compute nothing, of any type: concatenations, slices, shuffles, blocks of pixels.
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

}  // namespace

void concat(const Task& w) {
  const size_t first = size_t(input(w, 0).channels) * element(w), second = size_t(input(w, 1).channels) * element(w);
  by_output_pixel(w, [&](int row, int x) {
    std::memcpy(w.out.at(row, x), w.in.at(row, x), first);
    std::memcpy(w.out.at(row, x) + first, w.added.at(row, x), second);
  });
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

// Output channel c is channel c / groups of group c % groups.
void shuffle(const Task& w) {
  const int channels = output(w).channels, groups = w.node.groups, each = channels / groups;
  const size_t size = element(w);
  by_output_pixel(w, [&](int row, int x) {
    const char* in = w.in.at(row, x);
    char* out = w.out.at(row, x);
    for (int i = 0; i < each; i++)
      for (int group = 0; group < groups; group++, out += size)
        std::memcpy(out, in + size_t(group * each + i) * size, size);
  });
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
