// The inputs of a call of the matrix kernel of uint8, some pixels at a time, as the leaf wants them. Included by
// isa.cpp only.
#pragma once

namespace mbinfer {
namespace {

inline int quads_of(const Tap& tap) { return int(unsigned(tap.k) / kQuad); }

// The inputs of a tap; or, prepared, of several taps whose weights follow one another, and whose inputs then do so too.
struct ByteLine {
  const uint8_t* in;        // of the call's first pixel; null: outside
  const uint8_t* prepared;  // of the block's; where nothing is prepared as `in`
  int k, columns, quads;    // inputs of each tap; taps; inputs of all, by four
  int weight_row;
};

// Some pixels of a call, prepared where the leaf wants that: of each line the inputs of all pixels, one after the
// other. Taps that lie at one distance, of which the pixels are a multiple apart, are columns of one line, each of
// which is prepared once for all pixels that read it.
struct ByteBlock {
  static constexpr bool kPrepared = ByteInputs::kPrepared;
  static constexpr int kMostPixels = 64, kMostTaps = 64;
  static constexpr ptrdiff_t kMostBytes = ByteInputs::kQuadBytes * ByteInputs::kMostQuads;
  const GemmArgs& a;
  int first = 0, pixels = 0, line_count = 0;
  bool shared = true;               // neighbouring pixels read some inputs in common, or all that lies between them
  int step = 1, most = 0;           // columns from one pixel to the next, where they do not; inputs of a column
  ptrdiff_t column = 0;             // bytes of the input from one column to the next
  ptrdiff_t stride;                 // from one pixel to the next, in bytes of inputs
  alignas(32) uint8_t outside[64];  // inputs of a tap that is outside
  int corrections[kMostPixels];     // where the leaf wants them
  ByteLine lines[kPrepared ? kMostTaps : 1];  // of the call
  alignas(32) uint8_t prepared[kPrepared ? ByteInputs::kRoom : 1];

  explicit ByteBlock(const GemmArgs& a) : a(a), stride(a.in_stride) {
    __builtin_memset(outside, a.zero_point, sizeof outside);
    if (!kPrepared || a.tap_count > kMostTaps) return;
    int least = a.tap_count ? a.taps[0].k : 0;
    for (int t = 0; t < a.tap_count; t++) {
      const Tap& tap = a.taps[t];
      most = tap.k > most ? tap.k : most;
      least = tap.k < least ? tap.k : least;
      shared = shared && (!tap.in || tap.k >= stride);
    }
    shared = shared && stride % kQuad == 0 && stride >= 0;
    if (shared || most > least || !joined()) {
      line_count = 0, step = 1, column = a.in_stride;
      for (int t = 0; t < a.tap_count; t++) add_line(a.taps[t]);
    }
    if (!shared) stride = ptrdiff_t(step) * most;
  }

  static ByteLine line_of(const Tap& tap) {
    const auto* in = static_cast<const uint8_t*>(tap.in);
    return {in, in, tap.k, 1, quads_of(tap), tap.weight_row};
  }
  void add_line(const Tap& tap) { lines[line_count++] = line_of(tap); }

  // Whether taps could be joined to lines whose columns are all read.
  bool joined() {
    for (int t = 0; t < a.tap_count; t++)
      if (!is_next_column(a.taps[t])) add_line(a.taps[t]);
    bool all_read = line_count < a.tap_count;
    for (int i = 0; i < line_count; i++) all_read = all_read && (!lines[i].in || lines[i].columns >= step);
    return all_read;
  }

  // Of the last line, to which it is joined.
  bool is_next_column(const Tap& tap) {
    if (!tap.in || !line_count) return false;
    ByteLine& last = lines[line_count - 1];
    if (!last.in || tap.weight_row != last.weight_row + last.quads) return false;
    const ptrdiff_t distance = static_cast<const uint8_t*>(tap.in) - last.in - (last.columns - 1) * column;
    if (column ? distance != column : !can_be_column(distance, tap.k)) return false;
    column = distance;
    last.columns++;
    last.quads += quads_of(tap);
    return true;
  }

  bool can_be_column(ptrdiff_t distance, int k) {
    if (distance < k) return false;
    if (a.pixels > 1) {
      if (a.in_stride < distance || a.in_stride % distance) return false;
      step = int(a.in_stride / distance);
    }
    return true;
  }

  static constexpr ptrdiff_t prepared_bytes(ptrdiff_t inputs) { return inputs / kQuad * ByteInputs::kQuadBytes; }
  ptrdiff_t pixel_bytes() const { return prepared_bytes(stride); }
  int count() const { return kPrepared ? line_count : a.tap_count; }
  MBI_INLINE ByteLine line(int i) const { return kPrepared ? lines[i] : line_of(a.taps[i]); }

  // So many pixels that their inputs find room.
  int most_pixels() const {
    if (a.tap_count > kMostTaps) return 0;
    ptrdiff_t fixed = 0;
    for (int i = 0; i < line_count; i++) fixed += prepared_bytes(kQuad * lines[i].quads);
    const ptrdiff_t room = kMostBytes - fixed, each = line_count * pixel_bytes();
    if (room < 0) return 0;
    const ptrdiff_t fit = each ? room / each + 1 : kMostPixels;
    return fit < kMostPixels ? int(fit) : kMostPixels;
  }

  // body(in, k) for all inputs of a tap that is outside.
  template <class Body>
  MBI_INLINE void for_each_outside(int k, Body&& body) const {
    for (int i = 0, some; i < k; i += some) {
      some = k - i < int(sizeof outside) ? k - i : int(sizeof outside);
      body(outside, i, some);
    }
  }

  void prepare_all() {
    uint8_t* to = prepared;
    for (int i = 0; i < line_count; i++) to = prepare_line(&lines[i], to);
    if (ByteInputs::kCorrected) correct();
  }

 private:
  // Of what is outside one number is added to the sums of all pixels.
  void correct() {
    const ptrdiff_t each = pixel_bytes();
    auto total = [](const uint8_t* in, int quads) {
      ByteCorrection all;
      all.add(in, quads);
      return all.total();
    };
    int beside = 0;
    for (int i = 0; i < line_count; i++)
      if (!lines[i].in) beside += total(lines[i].prepared, lines[i].quads);
    bool begun = false;
    for (int i = 0; i < line_count; i++) {
      const uint8_t* in = lines[i].prepared;
      const int quads = lines[i].quads, count = lines[i].in ? pixels : 0;
      for (int p = 0; p < count; p++, in += each) corrections[p] = (begun ? corrections[p] : beside) + total(in, quads);
      begun = begun || count;
    }
    for (int p = 0; !begun && p < pixels; p++) corrections[p] = beside;
  }

  // Returns where the next one is written.
  uint8_t* prepare_line(ByteLine* line, uint8_t* to) {
    line->prepared = to;
    const int k = line->k;
    if (!line->in) {
      for_each_outside(k, [&](const uint8_t* in, int i, int some) { prepare(in, some, to + prepared_bytes(i)); });
      return to + prepared_bytes(k);
    }
    const uint8_t* in = line->in + first * a.in_stride;
    if (shared) {
      prepare(in, int(ptrdiff_t(pixels - 1) * stride) + k, to);
    } else {
      const int columns = (pixels - 1) * step + line->columns;
      const ptrdiff_t each = prepared_bytes(most);
      for (int c = 0; c < columns; c++) prepare(in + c * column, k, to + c * each);
    }
    return to + (pixels - 1) * pixel_bytes() + prepared_bytes(kQuad * line->quads);
  }
};

}  // namespace
}  // namespace mbinfer
