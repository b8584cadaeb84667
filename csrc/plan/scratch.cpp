#include "plan/scratch.h"

#include <algorithm>

#include "plan/stages.h"

namespace mbinfer {
namespace {

// Input rows, or columns, of some output rows next to one another: no more than there are.
int window(const Window& w, int rows, int size) { return std::min(size, (rows - 1) * w.stride + w.extent()); }

// What the patch is a part of.
const Value& image_of(const Graph& graph, const Stage& stage) {
  return graph.values[size_t(graph.nodes[size_t(stage.parts[0].node)].output)];
}

// Of all threads' patches of so many output pixels.
int64_t patch_bytes(const Graph& graph, const Stage& stage, int pixels) {
  const Value& image = image_of(graph, stage);
  const Window& x = graph.nodes[size_t(stage.parts[1].node)].x;
  const int64_t columns = window(x, pixels, image.shape.width + padding_held(x));
  const int64_t pixel = patch_channels(graph, stage);
  // The rows of a column are the pixels of one row to the kernels.
  const int64_t row = columns == 1 ? pixel : round_up<int64_t>(columns * pixel, kPanel);
  const Scratch& patch = stage.parts[0].ring;
  return patch.copies * patch.rows * row * int64_t(size_of(image.type));
}

}  // namespace

ScratchSizes::ScratchSizes(const Graph& graph, Stage* stage)
    : graph_(graph),
      stage_(*stage),
      parts_(&stage->parts[0]),
      count_(stage->part_count()),
      stepping_(stage->bottleneck() ? stage->split : stage->last()),
      channels_(expanded_channels(graph, *stage)) {
  for (int p = 0; p < count_; p++) {
    const Node& node = graph.nodes[size_t(parts_[p].node)];
    const Value& value = graph.values[size_t(node.output)];
    const Type sums = sums_of(value.type);
    Made& made = made_[p];
    made.pools = info_of(node.op).area == Area::kWhole;
    made.map_height = graph.values[size_t(node.inputs[0])].shape.height;
    made.height = value.shape.height;
    made.channels = value.stride();
    made.ring_row = int64_t(value.shape.width) * int64_t(size_of(value.type));
    made.sums_row = sums.dtype == value.type.dtype ? 0 : int64_t(value.shape.width) * int64_t(size_of(sums));
  }
}

void ScratchSizes::set() {
  const int chunks = stage_.chunk ? ceil_div(channels_, stage_.chunk) : 1;
  set_sums(chunks);
  set_rings(chunks);
  set_patch();
}

// Of pools that take their map step by step, and of a projection that takes its input chunk by chunk.
void ScratchSizes::set_sums(int chunks) {
  for (int p = 0; p < count_; p++) parts_[p].sums = {};
  for (int p = stepping_; p < count_; p++)
    if (made_[p].pools && stage_.step < made_[p].map_height)
      set_sums(p, 1, stage_.chunk && stage_.in_chunks(p) ? stage_.chunk : made_[p].channels);
  const int projection = stage_.through + 1;
  if (chunks > 1 && stage_.sums_chunks()) set_sums(projection, stage_.rows, made_[projection].channels);
}

// None where rows of the output can hold the sums.
void ScratchSizes::set_sums(int p, int rows, int channels) {
  if (made_[p].sums_row) parts_[p].sums = {0, rows * made_[p].sums_row * channels, rows, 1, false};
}

// Of a block: its expanded rows, and those that its chunks are filtered to.
void ScratchSizes::set_rings(int chunks) {
  if (!stage_.bottleneck()) return;
  const int split = stage_.split;
  const bool whole = made_[stepping_].pools;
  if (stage_.expands()) {
    const Window& y = graph_.nodes[size_t(parts_[split].node)].y;
    const int rows = whole ? stage_.step : window(y, stage_.step, made_[split - 1].height);
    set_ring(split - 1, rows, stage_.keep ? chunks : 1);
  }
  for (int p = split; p <= stage_.through && p < count_ - 1; p++) set_ring(p, whole ? 1 : stage_.step, 1);
}

void ScratchSizes::set_ring(int p, int rows, int copies) {
  parts_[p].ring = {0, rows * (made_[p].ring_row * stage_.chunk) * copies, rows, int16_t(copies), false};
}

// Of an image that is converted for a convolution: what some of its pixels see.
void ScratchSizes::set_patch() {
  Scratch& patch = parts_[0].ring;
  if (!patch.patch) return;
  const Node& conv = graph_.nodes[size_t(parts_[1].node)];
  const int made_at_once = count_ == 2 ? stage_.rows : parts_[1].ring.rows;
  patch.rows = window(conv.y, std::min(patch_rows(graph_, conv), made_at_once), image_of(graph_, stage_).shape.height);
  patch.bytes = patch_bytes(graph_, stage_, kPatchPixels);
}

int patch_pixels(const Graph& graph, const Stage& stage) {
  const Node& conv = graph.nodes[size_t(stage.parts[1].node)];
  const int64_t pixel = patch_channels(graph, stage) * int64_t(size_of(image_of(graph, stage).type));
  const Scratch& patch = stage.parts[0].ring;
  const int columns = int(patch.bytes / patch.copies / patch.rows / pixel);
  const int pixels = (columns - conv.x.extent()) / conv.x.stride + 1;
  if (pixels >= graph.values[size_t(conv.output)].shape.width) return pixels;
  return std::max(kPatchPixels, pixels / kPatchPixels * kPatchPixels);
}

int64_t widest_patch(const Graph& graph, const Stage& stage) {
  const Node& conv = graph.nodes[size_t(stage.parts[1].node)];
  return patch_bytes(graph, stage, std::max(kPatchPixels, graph.values[size_t(conv.output)].shape.width));
}

void widen_patch(const Graph& graph, Stage* stage, int64_t room) {
  const Node& conv = graph.nodes[size_t(stage->parts[1].node)];
  if (patch_rows(graph, conv) > 1) return;
  int pixels = round_up(graph.values[size_t(conv.output)].shape.width, kPatchPixels);
  while (pixels > kPatchPixels && patch_bytes(graph, *stage, pixels) > room) pixels -= kPatchPixels;
  stage->parts[0].ring.bytes = patch_bytes(graph, *stage, pixels);
}

int patch_channels(const Graph& graph, const Stage& stage) {
  return round_up(graph.values[graph.nodes[stage.parts[0].node].output].shape.channels,
                  graph.nodes[stage.parts[1].node].row_inputs());
}

void size_scratch(const Graph& graph, Stage* stage) { ScratchSizes(graph, stage).set(); }

}  // namespace mbinfer
