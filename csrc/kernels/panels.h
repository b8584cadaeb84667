// Where the weights of a panel and the pixels of a resized row lie: see kernels.h. Included by isa.cpp, before the
// leaf.
#pragma once

namespace mbinfer {
namespace {

// The floats that lie so many bytes after p.
inline const float* at(const void* p, ptrdiff_t bytes) {
  return reinterpret_cast<const float*>(static_cast<const char*>(p) + bytes);
}
inline float* at(void* p, ptrdiff_t bytes) { return reinterpret_cast<float*>(static_cast<char*>(p) + bytes); }

constexpr int kRow = 2 * kPanel;  // weights of two panels lie side by side, see kernels.h

// Weights W are float or Half. From one pair of panels to the next, of a node whose panels have so many rows.
template <class W>
inline ptrdiff_t pair_bytes(int rows) {
  return ptrdiff_t(rows) * kRow * ptrdiff_t(sizeof(W));
}

// From panel 0 to another one.
template <class W>
inline ptrdiff_t bytes_to(int rows, int panel) {
  return panel / 2 * pair_bytes<W>(rows) + panel % 2 * kPanel * ptrdiff_t(sizeof(W));
}

template <class W>
inline const W* weights_at(const void* weights, ptrdiff_t bytes) {
  return reinterpret_cast<const W*>(static_cast<const char*>(weights) + bytes);
}
template <class W>
inline const W* panel_weights(const void* weights, int rows, int panel) {
  return weights_at<W>(weights, bytes_to<W>(rows, panel));
}

// The weights of a tile are in parts: pairs of panels, where it has an even number of them and begins with a pair, so
// that one address serves two panels; else single vectors, from any panel on.
template <class V>
constexpr int parts_of(int vectors) {
  return vectors * V::kPanels % 2 ? vectors : vectors * V::kPanels / 2;
}

// A row of one of the vectors.
template <class V, int kVectors, class W>
MBI_INLINE const W* row_of(const W* weights, const ptrdiff_t (&parts)[parts_of<V>(kVectors)], int vector) {
  if (parts_of<V>(kVectors) == kVectors) return weights_at<W>(weights, parts[vector]);
  return weights_at<W>(weights, parts[vector / 2]) + vector % 2 * kPanel;
}

// Of a leaf whose tiles of bytes are of one pair of panels, see vec_u8.h.
struct PairByPair {
  static constexpr int wide_pixels = 0, wide_pairs = 1;
  static int pairs_of(int) { return 1; }
};

// The pixels of a row that one of a resized row is made of, one after the other.
class ResizePositions {
 public:
  explicit ResizePositions(const ResizeArgs* args) : a_(*args), whole_(args->first), rest_(args->rest) {}
  ptrdiff_t pixel(int tap) const {  // where it lies in the row, to which positions are cut
    const int x = whole_ + tap;
    return (x < 0 ? 0 : x > a_.in_width - 1 ? a_.in_width - 1 : x) * a_.in_stride;
  }
  float fraction() const { return float(rest_) / float(a_.denominator); }
  float byte_fraction() const { return mbinfer::byte_fraction(whole_, rest_, a_.denominator, a_.columns); }
  void next() {
    rest_ += a_.step_rest;
    whole_ += a_.step + (rest_ >= a_.denominator);
    if (rest_ >= a_.denominator) rest_ -= a_.denominator;
    if (whole_ > a_.in_width) whole_ = a_.in_width;  // where the last pixel is all there is
  }

 private:
  const ResizeArgs& a_;
  int whole_, rest_;
};

}  // namespace
}  // namespace mbinfer
