// The depthwise kernel of uint8: as in depthwise.h, a column of the input is loaded once for every pixel of a tile that
// reads it; of some rows and panels together, as the leaf multiplies them. Rows and columns outside the input are those
// of its zero point. Included by isa.cpp only.
#pragma once

namespace mbinfer {
namespace {

constexpr int kByteRows = ByteColumns::kRows;

// Where rows of something lie that are multiplied together; those that do not exist are `missing`, again and again.
struct ByteRows {
  const uint8_t* row[kByteRows];
  ptrdiff_t step[kByteRows];  // to the next column
  MBI_INLINE ByteRows(const void* const* rows, int count, ptrdiff_t offset, ptrdiff_t stride, const uint8_t* missing) {
    MBI_UNROLL for (int r = 0; r < kByteRows; r++) {
      const bool exists = r < count && rows[r];
      row[r] = exists ? static_cast<const uint8_t*>(rows[r]) + offset : missing;
      step[r] = exists ? stride : 0;
    }
  }
  MBI_INLINE void next() { MBI_UNROLL for (int r = 0; r < kByteRows; r++) row[r] = pace(row[r] + step[r]); }
};

// Some panels of a call that are filtered at a time: their weights, and what becomes of their sums.
template <class Columns, int kPanels>
struct BytePanels;

template <class Columns>
struct BytePanels<Columns, 1> {
  const int panel;
  const typename Columns::Lanes lanes = {};
  const int8_t* const weights;
  const Channels& channels;
  BytePanels(const DepthwiseArgs& a, int index)
      : panel(index - a.panel),
        weights(static_cast<const int8_t*>(a.weights) + ptrdiff_t(index / 2) * a.kernel_h * a.kernel_w * kRow +
                index % 2 * kPanel),
        channels(static_cast<const Channels*>(a.bias)[panel]) {}
  i32x8 bias() const { return i32x8::load(channels.bias); }

  template <int kPixels>
  MBI_INLINE void finish(const DepthwiseArgs& a, const i32x8 (&sums)[kPixels], const ByteOutput& output,
                         uint8_t* out) const {
    const f32x8 multiplier = f32x8::load(channels.multiplier);
    auto steps = [&](int t) { return mul(to_float(sums[t]), multiplier); };
    out += panel * kPanel;
    MBI_UNROLL for (int t = 0; t < kPixels; t += 2) {
      const f32x8 first = steps(t);
      const u8x16 bytes = output(first, t + 1 < kPixels ? steps(t + 1 < kPixels ? t + 1 : t) : first);
      store_half(out + t * a.out_stride, bytes);
      if (t + 1 < kPixels) store_second_half(out + (t + 1) * a.out_stride, bytes);
    }
  }
};

template <class Columns>
struct BytePanels<Columns, 2> {
  const BytePair pair;
  const int panel;
  const typename Columns::Lanes lanes;
  const int8_t* const weights;
  const Channels *const first, *const second;
  BytePanels(const DepthwiseArgs& a, int index)
      : pair(a.panel, a.panels, index),
        panel(pair.panel),
        lanes(Columns::lanes(pair.has[0], pair.has[1])),
        weights(static_cast<const int8_t*>(a.weights) + ptrdiff_t(index) * a.kernel_h * a.kernel_w * kRow),
        first(static_cast<const Channels*>(a.bias) + pair.made(0)),
        second(static_cast<const Channels*>(a.bias) + pair.made(1)) {}
  i32x16 bias() const { return i32x16::load(first->bias, second->bias); }

  template <int kPixels>
  MBI_INLINE void finish(const DepthwiseArgs& a, const i32x16 (&sums)[kPixels], const ByteOutput& output,
                         uint8_t* out) const {
    const ByteScale scale(first->multiplier, second->multiplier);
    out += pair.made(0) * kPanel;
    u8x16 bytes[kPixels];
    output(sums, scale, bytes);
    MBI_UNROLL for (int t = 0; t < kPixels; t++, out += a.out_stride) {
      if (__builtin_expect(pair.has[0] && pair.has[1], 1))
        store(out, bytes[t]);
      else if (pair.has[0])
        store_half(out, bytes[t]);
      else
        store_second_half(out, bytes[t]);
    }
  }
};

using ByteGroup = BytePanels<ByteColumns, ByteColumns::kPanels>;

template <class Body>
MBI_INLINE void for_each_group(const DepthwiseArgs& a, Body&& body) {
  for (int i = a.panel / ByteColumns::kPanels; i * ByteColumns::kPanels < a.panel + a.panels; i++)
    body(ByteGroup(a, i));
}

// Weights of as many taps as are multiplied together, so far apart, of which there are `count`, kLeast at least.
template <int kLeast = 1>
MBI_INLINE ByteColumns::Weight byte_weight(const int8_t* weights, ptrdiff_t step, int count) {
  alignas(16) static constexpr int8_t kNone[kRow] = {};
  const int8_t* rows[kByteRows];
  MBI_UNROLL for (int r = 0; r < kByteRows; r++) rows[r] = r < kLeast || r < count ? weights + r * step : kNone;
  return ByteColumns::weight(rows);
}

// The columns that a tile of kPixels reads for kKernel taps of a row, from column `first` of the input on. kOuter: so
// many of them, on either side, may be outside.
template <int kKernel, int kStride, int kPixels, int kOuter>
struct ByteSpan {
  static constexpr int kColumns = (kPixels - 1) * kStride + kKernel;
  const int first, inside;
  ByteSpan(const DepthwiseArgs& a, int first) : first(first), inside(a.in_width - first) {}
  MBI_INLINE bool exists(int c) const { return (c >= kOuter || c >= -first) && (c < kColumns - kOuter || c < inside); }
};

// Adds, of rows that are multiplied together, from ky on, the products of taps [kx0, kx0 + kKernel).
template <int kKernel, int kStride, int kPixels, int kOuter, bool kWide, class Sum>
MBI_INLINE void rows_together(const DepthwiseArgs& a, const ByteGroup& group, int x, int ky, int kx0,
                              const uint8_t* missing, Sum (&sums)[kPixels]) {
  using Span = ByteSpan<kKernel, kStride, kPixels, kOuter>;
  constexpr int kColumns = Span::kColumns;
  const Span span(a, x * kStride - a.pad_left + kx0);
  ByteRows in(a.rows + ky, a.kernel_h - ky, span.first * a.in_stride + group.panel * kPanel, a.in_stride, missing);
  const auto outside = ByteColumns::outside(a.in_type.zero_point);
  ByteColumns::Weight w[kKernel];
  MBI_UNROLL for (int kx = 0; kx < kKernel; kx++) w[kx] =
      byte_weight<kWide ? 0 : 1>(group.weights + (ky * a.kernel_w + kx0 + kx) * kRow, a.kernel_w * kRow,
                                 !kWide || kx0 + kx < a.kernel_w ? a.kernel_h - ky : 0);
  MBI_UNROLL for (int c = 0; c < kColumns; c++) {
    const auto column = span.exists(c) ? ByteColumns::column(in.row, group.lanes) : outside;
    in.next();
    MBI_UNROLL for (int t = 0; t < kPixels; t++) {
      const int kx = c - t * kStride;
      if (kx >= 0 && kx < kKernel) sums[t] = ByteColumns::multiply(column, w[kx], sums[t]);
    }
  }
}

// A tile of kPixels from x on, a group of panels after the other; at an edge the outer columns may not exist, nor some
// rows. kWide: of a kernel that may be wider than kKernel, so many taps of a row after the other; any column may be
// outside.
template <int kKernel, int kStride, int kPixels, bool kEdge, bool kWide>
MBI_INLINE void byte_tile(const DepthwiseArgs& a, int x, const ByteOutput& output, const uint8_t* missing) {
  constexpr int kOuter = kWide ? (kPixels - 1) * kStride + kKernel : kEdge ? kKernel / 2 : 0;
  uint8_t* out = static_cast<uint8_t*>(a.out) + (x - a.x0) * a.out_stride;
  for_each_group(a, [&](const ByteGroup& group) {
    const auto bias = group.bias();
    decltype(group.bias()) sums[kPixels];
    MBI_UNROLL for (int t = 0; t < kPixels; t++) sums[t] = bias;
    for (int ky = 0; ky < a.kernel_h; ky += kByteRows) {
      int kx0 = 0;
      do {
        rows_together<kKernel, kStride, kPixels, kOuter, kWide>(a, group, x, ky, kx0, missing, sums);
        kx0 += kKernel;
      } while (kWide && kx0 < a.kernel_w);
    }
    group.finish(a, sums, output, out);
  });
}

// Any kernel, stride and dilation, pixels [x, end): one at a time, and of each some taps after the other, which are
// looked up once for all panels.
__attribute__((noinline)) void byte_pixels(const DepthwiseArgs& a, int x, int end, const ByteOutput& output,
                                           const uint8_t* missing) {
  constexpr int kMost = 128;
  const void* taps[kMost];  // null: outside
  const int all = a.kernel_h * a.kernel_w;
  auto look_up = [&](int first, int begin, int count) {
    int ky = begin / a.kernel_w, kx = begin % a.kernel_w;
    for (int i = 0; i < count; i++) {
      const int ix = first + kx * a.dilation;
      const bool inside = a.rows[ky] && ix >= 0 && ix < a.in_width;
      taps[i] = inside ? static_cast<const uint8_t*>(a.rows[ky]) + ix * a.in_stride : nullptr;
      if (++kx == a.kernel_w) ky++, kx = 0;
    }
  };
  for (; x < end; x++) {
    uint8_t* out = static_cast<uint8_t*>(a.out) + (x - a.x0) * a.out_stride;
    int held = -1;
    for_each_group(a, [&](const ByteGroup& group) {
      decltype(group.bias()) sum[1] = {group.bias()};
      for (int begin = 0; begin < all; begin += kMost) {
        const int count = all - begin < kMost ? all - begin : kMost;
        if (held != begin) look_up(x * a.stride - a.pad_left, held = begin, count);
        for (int i = 0; i < count; i += kByteRows) {
          const ByteRows in(taps + i, count - i, group.panel * kPanel, 0, missing);
          sum[0] = ByteColumns::multiply(ByteColumns::column(in.row, group.lanes),
                                         byte_weight(group.weights + (begin + i) * kRow, kRow, count - i), sum[0]);
        }
      }
      group.finish(a, sum, output, out);
    });
  }
}

template <int kKernel, int kStride, int kPixels, bool kWide>
__attribute__((noinline)) int byte_row_tiles(const DepthwiseArgs& a, int x, const ByteOutput& output,
                                             const uint8_t* missing) {
  constexpr int kOuter = kKernel / 2;
  bool whole = true;
  for (int ky = 0; ky < a.kernel_h; ky++) whole = whole && a.rows[ky];
  for (; a.x1 - x >= kPixels; x += kPixels) {
    const int first = x * kStride - a.pad_left, past = first + (kPixels - 1) * kStride + kKernel - a.in_width;
    if constexpr (kWide)
      byte_tile<kKernel, kStride, kPixels, true, true>(a, x, output, missing);
    else if (whole && first >= 0 && past <= 0)
      byte_tile<kKernel, kStride, kPixels, false, false>(a, x, output, missing);
    else if (first >= -kOuter && past <= kOuter)
      byte_tile<kKernel, kStride, kPixels, true, false>(a, x, output, missing);
    else
      byte_pixels(a, x, x + kPixels, output, missing);
  }
  return x;
}

template <int kKernel, int kStride>
void byte_row(const DepthwiseArgs& a, const ByteOutput& output, const uint8_t* missing) {
  constexpr int kMost = ByteTiles::depthwise_pixels[kKernel / 2];
  int x = a.x0;
  if constexpr (kMost >= 8) {
    if ((a.x1 - x) % 8 && (a.x1 - x) % 7 == 0) x = byte_row_tiles<kKernel, kStride, 7, false>(a, x, output, missing);
    x = byte_row_tiles<kKernel, kStride, 8, false>(a, x, output, missing);
  }
  x = byte_row_tiles<kKernel, kStride, 4, false>(a, x, output, missing);
  x = byte_row_tiles<kKernel, kStride, 2, false>(a, x, output, missing);
  byte_row_tiles<kKernel, kStride, 1, false>(a, x, output, missing);
}

// A kernel of any width, three taps of a row at a time.
template <int kStride>
void wide_row(const DepthwiseArgs& a, const ByteOutput& output, const uint8_t* missing) {
  const int x = byte_row_tiles<3, kStride, 4, true>(a, a.x0, output, missing);
  byte_row_tiles<3, kStride, 1, true>(a, x, output, missing);
}

constexpr int kMostOfOneRow = 64;

// A kernel of one row, whose taps are multiplied together as rows of others are: pixels all of whose taps are inside.
// What follows each tap is a row of a kernel of one column.
template <int kStride>
void inside_one_row(const DepthwiseArgs& a, int x, int end, const ByteOutput& output, const uint8_t* missing) {
  const void* rows[kMostOfOneRow];
  for (int kx = 0; kx < a.kernel_w; kx++)
    rows[kx] = static_cast<const uint8_t*>(a.rows[0]) + kx * a.dilation * a.in_stride;
  DepthwiseArgs inside = a;
  inside.rows = rows;
  inside.kernel_h = a.kernel_w, inside.kernel_w = 1;
  inside.x0 = x, inside.x1 = end;
  inside.out = static_cast<uint8_t*>(a.out) + (x - a.x0) * a.out_stride;
  byte_row<1, kStride>(inside, output, missing);
}

// Pixels that see columns outside: of a copy of what they see, if that finds room.
template <int kStride>
void beside_one_row(const DepthwiseArgs& a, int x, int end, const ByteOutput& output, const uint8_t* missing) {
  constexpr int kRoom = 4096;
  alignas(64) uint8_t seen[kRoom];
  const int first = x * kStride - a.pad_left, pixel = a.panels * kPanel;
  const int columns = (end - 1 - x) * kStride + (a.kernel_w - 1) * a.dilation + 1;
  if (x >= end || columns > kRoom / pixel) return byte_pixels(a, x, end, output, missing);
  for (int c = 0; c < columns; c++) {
    const bool exists = unsigned(first + c) < unsigned(a.in_width);
    const uint8_t* from = exists ? static_cast<const uint8_t*>(a.rows[0]) + (first + c) * a.in_stride : missing;
    for (int p = 0; p < a.panels; p++, from += exists ? kPanel : 0)
      __builtin_memcpy(seen + c * pixel + p * kPanel, from, kPanel);
  }
  const void* row = seen;
  DepthwiseArgs copied = a;
  copied.rows = &row;
  copied.in_stride = pixel, copied.in_width = columns;
  copied.pad_left = 0, copied.x0 = 0;
  copied.out = static_cast<uint8_t*>(a.out) + (x - a.x0) * a.out_stride;
  inside_one_row<kStride>(copied, 0, end - x, output, missing);
}

template <int kStride>
void one_row(const DepthwiseArgs& a, const ByteOutput& output, const uint8_t* missing) {
  const int room = a.in_width - 1 - (a.kernel_w - 1) * a.dilation + a.pad_left;  // the last pixel inside starts here
  const int first = (a.pad_left + kStride - 1) / kStride, past = room < 0 ? 0 : room / kStride + 1;
  const int begin = first < a.x0 ? a.x0 : first < a.x1 ? first : a.x1;
  const int end = past > a.x1 ? a.x1 : past > begin ? past : begin;
  if (begin == end) return beside_one_row<kStride>(a, a.x0, a.x1, output, missing);
  beside_one_row<kStride>(a, a.x0, begin, output, missing);
  inside_one_row<kStride>(a, begin, end, output, missing);
  beside_one_row<kStride>(a, end, a.x1, output, missing);
}

void depthwise_u8(const DepthwiseArgs* a) {
  const ByteOutput output(a->activation, a->out_type);
  alignas(16) uint8_t missing[2 * kPanel];  // of a row that does not exist
  __builtin_memset(missing, a->in_type.zero_point, sizeof missing);
  const bool one = a->stride == 1;
  const bool line = a->kernel_h == 1 && a->kernel_w > 1 && a->kernel_w <= kMostOfOneRow && a->rows[0];
  if constexpr (kByteRows > 1)
    if (line && a->stride <= 2) return one ? one_row<1>(*a, output, missing) : one_row<2>(*a, output, missing);
  if (a->dilation == 1 && a->stride <= 2) {
    if (a->kernel_w == 3) return one ? byte_row<3, 1>(*a, output, missing) : byte_row<3, 2>(*a, output, missing);
    if (a->kernel_w == 5) return one ? byte_row<5, 1>(*a, output, missing) : byte_row<5, 2>(*a, output, missing);
    if (a->kernel_w == 7) return one ? byte_row<7, 1>(*a, output, missing) : byte_row<7, 2>(*a, output, missing);
    if (a->kernel_w == 1) return one ? byte_row<1, 1>(*a, output, missing) : byte_row<1, 2>(*a, output, missing);
    return one ? wide_row<1>(*a, output, missing) : wide_row<2>(*a, output, missing);
  }
  byte_pixels(*a, a->x0, a->x1, output, missing);
}

}  // namespace
}  // namespace mbinfer
