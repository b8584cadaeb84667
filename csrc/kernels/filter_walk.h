// The walk over the columns of a group where the compiler has registers for it: what those leaves of depthwise_3x3_u8.h
// have in common that make a pixel of three FilterColumns. Included by them only.
//   FilterColumn           of_rows(a, b, c), of_outside(zero_point)
//   FilterGroup            load(row), store(out, bytes); kWaits: a pixel's sums wait until those of the next one are
//   made FilterSums, Filter3x3(group, output)
//                          sums(left, middle, right) of a pixel, bytes(sums)
#pragma once

namespace mbinfer {
namespace {

// The columns of a group, one after the other.
struct FilterColumns {
  const FilterGroup& group;
  const uint8_t* rows[3];
  ptrdiff_t at;
  const ptrdiff_t stride;
  const int width;
  int x;
  const int zero_point;

  FilterColumns(const DepthwiseArgs& a, int panel, const FilterGroup& of)
      : group(of),
        at(0),
        stride(a.in_stride),
        width(a.in_width),
        x(a.x0 * a.stride - a.pad_left),
        zero_point(a.in_type.zero_point) {
    const void* any = a.rows[0] ? a.rows[0] : a.rows[1] ? a.rows[1] : a.rows[2];
    for (int ky = 0; ky < 3; ky++)
      rows[ky] = static_cast<const uint8_t*>(a.rows[ky] ? a.rows[ky] : any) + panel * kPanel;
    at = x * stride;
  }
  MBI_INLINE FilterColumn next() {
    const FilterColumn column =
        __builtin_expect(unsigned(x) < unsigned(width), 1)
            ? FilterColumn::of_rows(group.load(rows[0] + at), group.load(rows[1] + at), group.load(rows[2] + at))
            : FilterColumn::of_outside(zero_point);
    x++;
    at += stride;
    return column;
  }
};

// put(left, middle, right) for one pixel after the other, until it says that there are no more. The right column of a
// pixel is the left one of its right neighbour with a stride of 2, its middle one with 1: the three change places, so
// that none is moved.
template <int kStride, class Put>
MBI_INLINE void walk_columns(FilterColumns& columns, Put&& put) {
  FilterColumn first = columns.next();
  if constexpr (kStride == 2) {
    for (;;) {
      FilterColumn second = columns.next(), third = columns.next();
      if (!put(first, second, third)) return;
      second = columns.next(), first = columns.next();
      if (!put(third, second, first)) return;
    }
  }
  FilterColumn second = columns.next();
  for (;;) {
    const FilterColumn third = columns.next();
    if (!put(first, second, third)) return;
    first = columns.next();
    if (!put(second, third, first)) return;
    second = columns.next();
    if (!put(third, first, second)) return;
  }
}

template <int kStride>
MBI_INLINE void filter_pixels(const DepthwiseArgs& a, int panel, const FilterGroup& group, const ByteOutput& output) {
  const Filter3x3 filter(group, output);
  FilterColumns columns(a, panel, group);
  const ptrdiff_t out_stride = a.out_stride;
  uint8_t* out = static_cast<uint8_t*>(a.out) + panel * kPanel;
  int pixels = a.x1 - a.x0;
  if constexpr (FilterGroup::kWaits) {
    uint8_t nowhere[FilterGroup::kPanels * kPanel], *to = nowhere;
    FilterSums waiting = {};
    walk_columns<kStride>(columns, [&](const FilterColumn& left, const FilterColumn& middle, const FilterColumn& right)
                                       __attribute__((always_inline)) {
                                         const FilterSums sums = filter.sums(left, middle, right);
                                         group.store(to, filter.bytes(waiting));
                                         waiting = sums;
                                         to = out;
                                         out += out_stride;
                                         return --pixels > 0;
                                       });
    group.store(to, filter.bytes(waiting));
  } else {
    walk_columns<kStride>(columns, [&](const FilterColumn& left, const FilterColumn& middle, const FilterColumn& right)
                                       __attribute__((always_inline)) {
                                         group.store(out, filter.bytes(filter.sums(left, middle, right)));
                                         out += out_stride;
                                         return --pixels > 0;
                                       });
  }
}

}  // namespace
}  // namespace mbinfer
