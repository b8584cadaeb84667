// Depthwise convolutions of 3 x 3 where the CPU adds four products of bytes to a sum in one instruction: three rows of
// a column are multiplied together, some panels at a time. A column is transposed once for all pixels that read it. The
// leaf has
//   DotColumn              of_rows(a, b, c), of_outside(zero_point)
//   DotGroup(args, panel, panels)
//                          kPanels panels or fewer, of which the first one begins a pair, at least kLeast to be worth
//                          it: weights and channels in the order of DotColumn; load(row), store(out, bytes); fits():
//                          whether what is made of its sums is an int32
//   DotFilter(group, output)
//                          operator()(left, middle, right): the bytes of a pixel
// Included by isa.cpp only.
#pragma once

namespace mbinfer {
namespace {

// The columns of a group, one after the other.
struct DotColumns {
  const DotGroup& group;
  const uint8_t* rows[3];
  ptrdiff_t at;
  const ptrdiff_t stride;
  const int width;
  int x;
  const int zero_point;

  DotColumns(const DepthwiseArgs& a, int panel, const DotGroup& of)
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
  MBI_INLINE DotColumn next() {
    const DotColumn column =
        __builtin_expect(unsigned(x) < unsigned(width), 1)
            ? DotColumn::of_rows(group.load(rows[0] + at), group.load(rows[1] + at), group.load(rows[2] + at))
            : DotColumn::of_outside(zero_point);
    x++;
    at += stride;
    return column;
  }
};

// False where the group's sums are scaled by too much.
template <int kStride>
__attribute__((noinline)) bool dot_group(const DepthwiseArgs& a, int panel, int panels, const ByteOutput& output) {
  const DotGroup group(a, panel, panels);
  if (!group.fits()) return false;
  const DotFilter filter(group, output);
  DotColumns columns(a, panel, group);
  const ptrdiff_t out_stride = a.out_stride;
  uint8_t* out = static_cast<uint8_t*>(a.out) + panel * kPanel;
  int pixels = a.x1 - a.x0;
  // The right column of a pixel is the left one of its right neighbour with a stride of 2, its middle one with 1: the
  // three change places, so that none is moved.
  auto put = [&](const DotColumn& left, const DotColumn& middle, const DotColumn& right)
                 __attribute__((always_inline)) {
                   group.store(out, filter(left, middle, right));
                   out += out_stride;
                   return --pixels > 0;
                 };
  DotColumn first = columns.next();
  if constexpr (kStride == 2) {
    for (;;) {
      DotColumn second = columns.next(), third = columns.next();
      if (!put(first, second, third)) return true;
      second = columns.next(), first = columns.next();
      if (!put(third, second, first)) return true;
    }
  }
  DotColumn second = columns.next();
  for (;;) {
    const DotColumn third = columns.next();
    if (!put(first, second, third)) return true;
    first = columns.next();
    if (!put(second, third, first)) return true;
    second = columns.next();
    if (!put(third, first, second)) return true;
  }
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

void depthwise_dot_u8(const DepthwiseArgs* a) {
  const bool dots = a->kernel_h == 3 && a->kernel_w == 3 && a->dilation == 1 && (a->stride == 1 || a->stride == 2) &&
                    (a->rows[0] || a->rows[1] || a->rows[2]) && a->x0 < a->x1;
  if (!dots) return depthwise_u8(a);
  const ByteOutput output(a->activation, a->out_type);
  auto make = [&](int panel, int panels) {
    if (panels < DotGroup::kLeast) return false;
    return a->stride == 1 ? dot_group<1>(*a, panel, panels, output) : dot_group<2>(*a, panel, panels, output);
  };
  int panel = 0;
  if (a->panel % 2) other_panels(*a, panel++, 1);
  for (int some; panel < a->panels; panel += some) {
    some = a->panels - panel < DotGroup::kPanels ? a->panels - panel : DotGroup::kPanels;
    if (!make(panel, some)) other_panels(*a, panel, some);
  }
}

}  // namespace
}  // namespace mbinfer
