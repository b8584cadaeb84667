// The scratch that a stage needs for its strip, chunk and step.
#pragma once

#include "plan/plan.h"

namespace mbinfer {

// Sets the scratch sizes from rows, chunk, step and keep.
void size_scratch(const Graph& graph, Stage* stage);

// The same for one way to run a stage after the other: what all have in common is looked up once.
class ScratchSizes {
 public:
  ScratchSizes(const Graph& graph, Stage* stage);  // both have to outlive it
  void set();

 private:
  struct Made {  // of a part
    bool pools;  // the whole map that it reads
    int map_height, height, channels;
    int64_t ring_row, sums_row;  // bytes for each channel; sums_row 0: the sums are no larger than what they become
  };
  void set_sums(int chunks);
  void set_sums(int part, int rows, int channels);
  void set_rings(int chunks);
  void set_ring(int part, int rows, int copies);
  void set_patch();

  const Graph& graph_;
  Stage& stage_;
  Part* const parts_;
  const int count_;
  const int stepping_;  // the part that goes step by step
  const int channels_;  // of the expanded tensor
  Made made_[kMaxParts];
};

// A converted image is held a patch at a time: the input of this many output pixels of a row of a convolution, or of
// this many rows of a column, whose pixels may have a hundred channels.
constexpr int kPatchPixels = 32, kPatchRows = 16;
inline int patch_rows(const Graph& graph, const Node& conv) { return is_column(graph, conv) ? kPatchRows : 1; }

// Output pixels that the patch of a stage, its part 0, is wide enough for: kPatchPixels, or as often that as it was
// widened.
int patch_pixels(const Graph& graph, const Stage& stage);

// Bytes of a patch that is as wide as the map.
int64_t widest_patch(const Graph& graph, const Stage& stage);

// Widens the stage's patch to what `room` bytes hold from its offset on. More pixels at a time are fewer calls.
void widen_patch(const Graph& graph, Stage* stage, int64_t room);

// Columns of padding that a patch holds beside those of the image: pixels at its edges go with their neighbours.
inline int padding_held(const Window& x) { return x.pad + x.pad_end; }

// Channels of a pixel of the patch that part 0 makes: filled up to what the convolution takes at a time.
int patch_channels(const Graph& graph, const Stage& stage);

}  // namespace mbinfer
