// Detection: boxes decoded of the anchors that score enough, and those kept that no better one covers. One scalar
// routine for every instruction set, whose order of operations is the specification.
#include "kernels/exponential.h"
#include "kernels/kernels.h"

namespace mbinfer {
namespace {

class Reals {  // of a pixel: float32, or what bytes stand for
 public:
  Reals(const void* pixel, const Type& type) : pixel_(pixel), type_(type) {}
  float operator[](int i) const {
    if (type_.dtype != DType::kUint8) return static_cast<const float*>(pixel_)[i];
    return float(static_cast<const uint8_t*>(pixel_)[i] - type_.zero_point) * type_.scale;
  }

 private:
  const void* pixel_;
  const Type& type_;
};

float clipped(float x) { return x > 0.0f ? x < 1.0f ? x : 1.0f : 0.0f; }  // 0 for NaN

float exponential(float x) { return x > 0.0f ? 1.0f / exp_nonpositive(-x) : exp_nonpositive(x); }

// The box of an anchor (middle y and x, height, width), moved and scaled by four numbers.
void decode(const CandidatesArgs* a, const float* anchor, const Reals& places, int first, float* box) {
  for (int axis = 0; axis < 2; axis++) {
    const float size = anchor[2 + axis],
                half = size * exponential(places[first + 2 + axis] / a->scale[2 + axis]) * 0.5f,
                middle = places[first + axis] / a->scale[axis] * size + anchor[axis];
    box[axis] = a->anchorwise ? middle - half : clipped(middle - half);
    box[2 + axis] = a->anchorwise ? middle + half : clipped(middle + half);
  }
}

// The best boxes of a row, the first of equal ones first.
class Best {
 public:
  Best(float* boxes, int most) : boxes_(boxes), most_(most) {}
  bool takes(float score) const { return count_ < most_ || score > boxes_[(count_ - 1) * kBox + 4]; }
  float* add(float score) {
    int at = count_ < most_ ? count_++ : most_ - 1;
    for (; at > 0 && score > boxes_[(at - 1) * kBox + 4]; at--)
      memcpy(boxes_ + at * kBox, boxes_ + (at - 1) * kBox, kBox * sizeof(float));
    return boxes_ + at * kBox;
  }

 private:
  float* boxes_;
  int most_, count_ = 0;
};

// Scores of an anchor's classes as probabilities. exp(d) <= 1 / (1 - d), which says of most anchors that none counts.
class Softmax {
 public:
  Softmax(const Reals& scores, int first, int classes, float least)
      : scores_(scores), first_(first), classes_(classes), least_(least), largest_(scores[first]) {
    for (int c = 1; c < classes; c++) largest_ = scores[first + c] > largest_ ? scores[first + c] : largest_;
  }
  float operator[](int c) {
    const float below = scores_[first_ + c] - largest_;
    if ((1.0f - below) * least_ > 2.0f) return 0.0f;
    if (sum_ == 0.0f)
      for (int i = 0; i < classes_; i++) sum_ += exp_nonpositive(scores_[first_ + i] - largest_);
    return exp_nonpositive(below) / sum_;
  }

 private:
  const Reals& scores_;
  const int first_, classes_;
  const float least_;
  float largest_, sum_ = 0.0f;
};

struct Place {  // of a box among all, in order
  float score;
  int row, at;
  bool before(const Place& o) const {
    return score != o.score ? score > o.score : row != o.row ? row < o.row : at < o.at;
  }
};

// The best box that comes after `last`; of score 0 where there is none.
Place next(const NmsArgs* a, const Place& last) {
  Place found = {0.0f, 0, 0};
  for (int row = 0; row < a->rows; row++) {
    const float* boxes = reinterpret_cast<const float*>(static_cast<const char*>(a->in) + row * a->in_stride);
    for (int i = 0; i < a->boxes; i++) {
      const Place place = {boxes[i * kBox + 4], row, i};
      if (place.score > found.score && last.before(place)) found = place;
    }
  }
  return found;
}

float area(const float* box) { return (box[2] - box[0]) * (box[3] - box[1]); }

bool covers(const float* a, const float* b, float overlap, bool any_class) {
  if ((a[5] != b[5] && !any_class) || overlap >= 1.0f) return false;
  const float y0 = a[0] > b[0] ? a[0] : b[0], y1 = a[2] < b[2] ? a[2] : b[2], x0 = a[1] > b[1] ? a[1] : b[1],
              x1 = a[3] < b[3] ? a[3] : b[3];
  if (!(y1 > y0) || !(x1 > x0)) return false;
  const float shared = (y1 - y0) * (x1 - x0);
  return shared > overlap * (area(a) + area(b) - shared);
}

}  // namespace

void candidates(const CandidatesArgs* a) {
  const int anchors = a->anchors, classes = a->classes;
  float* out = static_cast<float*>(a->out);
  const float* table = static_cast<const float*>(a->table) + ptrdiff_t(a->first_pixel) * anchors * 4;
  memset(out, 0, size_t(a->boxes) * kBox * sizeof(float));
  Best of_row(out, a->boxes);
  for (int x = 0; x < a->pixels; x++) {
    const Reals scores(static_cast<const char*>(a->scores) + x * a->scores_stride, a->scores_type),
        places(static_cast<const char*>(a->places) + x * a->places_stride, a->places_type);
    for (int n = 0; n < anchors; n++) {
      Softmax softmax(scores, n * classes, classes, a->least_score);
      Best of_anchor(out + (ptrdiff_t(x) * anchors + n) * kBox, 1);
      Best& best = a->anchorwise ? of_anchor : of_row;
      for (int c = a->first_class; c < classes; c++) {
        const float score = a->softmax ? softmax[c] : scores[n * classes + c];
        if (!(score > a->least_score) || !best.takes(score)) continue;
        float* box = best.add(score);
        decode(a, table + (ptrdiff_t(x) * anchors + n) * 4, places, n * 4, box);
        box[4] = score;
        box[5] = float(c);
      }
    }
  }
}

void nms(const NmsArgs* a) {
  float* out = static_cast<float*>(a->out);
  memset(out, 0, size_t(a->most) * kBox * sizeof(float));
  Place last = {INFINITY, -1, -1};
  for (int count = 0; count < a->most;) {
    last = next(a, last);
    if (!(last.score > 0.0f)) return;
    const float* box =
        reinterpret_cast<const float*>(static_cast<const char*>(a->in) + last.row * a->in_stride) + last.at * kBox;
    bool covered = false;
    for (int i = 0; i < count && !covered; i++) covered = covers(out + i * kBox, box, a->overlap, a->anchorwise);
    if (!covered) memcpy(out + count++ * kBox, box, kBox * sizeof(float));
  }
}

}  // namespace mbinfer
