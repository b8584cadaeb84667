// Depthwise convolutions of 3 x 3 where several products of bytes are added at a time: three columns of three rows are
// in registers, in the order in which the leaf multiplies them, some panels at a time. A column is loaded and put in
// order once for all pixels that read it. The leaf, one of filter_vnni_u8.h, filter_madd_u8.h, filter_sdot_u8.h and
// filter_smull_u8.h, has
//   FilterColumn           of_rows(a, b, c), of_outside(zero_point)
//   FilterGroup(args, panel, panels)
//                          kPanels panels or fewer, of which the first one begins a pair, at least kLeast to be worth
//                          it: weights and channels in the order of FilterColumn; load(row), store(out, bytes); fits():
//                          whether the leaf makes the right bytes of its weights and channels, whatever the inputs are
//   FilterSums, Filter3x3(group, output)
//                          sums(left, middle, right) of a pixel, bytes(sums); kWaits of FilterGroup: a pixel's sums
//                          wait until those of the next one are made
// Included by isa.cpp only.
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

// False where the group does not fit, and nothing is made.
template <int kStride>
__attribute__((noinline)) bool filter_group(const DepthwiseArgs& a, int panel, int panels, const ByteOutput& output) {
  const FilterGroup group(a, panel, panels);
  if (!group.fits()) return false;
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
  return true;
}

// Some panels as any other kernel's.
void other_panels(const DepthwiseArgs& a, int panel, int panels) {
  DepthwiseArgs some = a;
  const void* rows[3];
  for (int ky = 0; ky < 3; ky++)
    rows[ky] = a.rows[ky] ? static_cast<const uint8_t*>(a.rows[ky]) + panel * kPanel : nullptr;
  some.rows = rows;
  some.out = static_cast<uint8_t*>(a.out) + panel * kPanel;
  some.bias = static_cast<const Channels*>(a.bias) + panel;
  some.panel = a.panel + panel;
  some.panels = panels;
  depthwise_u8(&some);
}

void depthwise_3x3_u8(const DepthwiseArgs* a) {
  const bool suits = a->kernel_h == 3 && a->kernel_w == 3 && a->dilation == 1 && (a->stride == 1 || a->stride == 2) &&
                     (a->rows[0] || a->rows[1] || a->rows[2]) && a->x0 < a->x1;
  if (!suits) return depthwise_u8(a);
  const ByteOutput output(a->activation, a->out_type);
  auto make = [&](int panel, int panels) {
    if (panels < FilterGroup::kLeast) return false;
    return a->stride == 1 ? filter_group<1>(*a, panel, panels, output) : filter_group<2>(*a, panel, panels, output);
  };
  int panel = 0;
  if (a->panel % 2) other_panels(*a, panel++, 1);
  for (int some; panel < a->panels; panel += some) {
    some = a->panels - panel < FilterGroup::kPanels ? a->panels - panel : FilterGroup::kPanels;
    if (!make(panel, some)) other_panels(*a, panel, some);
  }
}

}  // namespace
}  // namespace mbinfer
