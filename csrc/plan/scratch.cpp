#include "plan/scratch.h"

#include <algorithm>

#include "plan/stages.h"

namespace mbinfer {
namespace {

// Input rows, or columns, of some output rows next to one another: no more than there are.
int window(const Window& w, int rows, int size) { return std::min(size, (rows - 1) * w.stride + w.extent()); }

class Sizes {
 public:
  Sizes(const Graph& graph, Stage* stage)
      : graph_(graph),
        stage_(*stage),
        stepping_(stage->bottleneck() ? stage->split : stage->last()),
        whole_(pools_map(stepping_)) {}

  // Of pools that take their map step by step, and of a projection that takes its input chunk by chunk.
  void set_sums() {
    for (int p = 0; p < stage_.part_count(); p++) stage_.parts[p].sums = {};
    for (int p = stepping_; p < stage_.part_count(); p++)
      if (pools_map(p) && stage_.step < graph_.values[node(p).inputs[0]].shape.height)
        set_sums(p, 1, stage_.chunk && stage_.in_chunks(p) ? stage_.chunk : made(p).stride());
    const int projection = stage_.through + 1;
    if (stage_.sums_chunks() && chunk_count(graph_, stage_) > 1)
      set_sums(projection, stage_.rows, made(projection).stride());
  }

  // Of a block: its expanded rows, and those that its chunks are filtered to.
  void set_rings() {
    if (!stage_.bottleneck()) return;
    const int split = stage_.split;
    if (stage_.expands()) {
      const int rows = whole_ ? stage_.step : window(node(split).y, stage_.step, made(split - 1).shape.height);
      set_ring(split - 1, rows, stage_.keep ? chunk_count(graph_, stage_) : 1);
    }
    for (int p = split; p <= stage_.through && p < stage_.last(); p++) set_ring(p, whole_ ? 1 : stage_.step, 1);
  }

  // Of an image that is converted for a convolution: what some of its pixels see.
  void set_patch() {
    Scratch& patch = stage_.parts[0].ring;
    if (!patch.patch) return;
    const Node& conv = node(1);
    const Value& image = made(0);
    const int64_t pixels = window(conv.x, kPatchPixels, image.shape.width + padding_held(image.type, conv.x));
    const int made_at_once = stage_.last() == 1 ? stage_.rows : stage_.parts[1].ring.rows;
    patch.rows = window(conv.y, std::min(patch_rows(graph_, conv), made_at_once), image.shape.height);
    // The rows of a column are the pixels of one row to the kernels.
    const int64_t pixel = patch_channels(graph_, stage_);
    const int64_t row = pixels == 1 ? pixel : round_up<int64_t>(pixels * pixel, kPanel);
    patch.bytes = patch.rows * row * int64_t(size_of(image.type)) * patch.copies;
  }

 private:
  const Node& node(int p) const { return graph_.nodes[size_t(stage_.parts[p].node)]; }
  const Value& made(int p) const { return graph_.values[size_t(node(p).output)]; }
  bool pools_map(int p) const { return info_of(node(p).op).area == Area::kWhole; }

  // None where rows of the output can hold the sums.
  void set_sums(int p, int rows, int channels) {
    const Type type = sums_of(made(p).type);
    if (type.dtype == made(p).type.dtype) return;
    const int64_t row = int64_t(made(p).shape.width) * channels * int64_t(size_of(type));
    stage_.parts[p].sums = {0, rows * row, rows, 1, false};
  }

  void set_ring(int p, int rows, int copies) {
    const int64_t row = int64_t(made(p).shape.width) * stage_.chunk * int64_t(size_of(made(p).type));
    stage_.parts[p].ring = {0, rows * row * copies, rows, int16_t(copies), false};
  }

  const Graph& graph_;
  Stage& stage_;
  const int stepping_;  // the part that goes step by step
  const bool whole_;    // it pools its whole map
};

}  // namespace

int patch_channels(const Graph& graph, const Stage& stage) {
  return round_up(graph.values[graph.nodes[stage.parts[0].node].output].shape.channels,
                  graph.nodes[stage.parts[1].node].row_inputs());
}

void size_scratch(const Graph& graph, Stage* stage) {
  Sizes sizes(graph, stage);
  sizes.set_sums();
  sizes.set_rings();
  sizes.set_patch();
}

}  // namespace mbinfer
