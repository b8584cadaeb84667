#include "exec/picks.h"

#include <algorithm>
#include <cstring>

namespace mbinfer {
namespace {

// Zeros behind the numbers of a row that is one pixel.
void fill_up(const Task& w, int row) {
  const Value& out = output_of(w);
  const ptrdiff_t made = out.shape.channels * ptrdiff_t(size_of(out.type));
  std::memset(w.out.at(row) + made, 0, size_t(out.pixel_bytes() - made));
}

}  // namespace

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

}  // namespace mbinfer
