// Depthwise convolutions of 3 x 3 where several products of bytes are added at a time: three columns of three rows are
// in registers, in the order in which the leaf multiplies them, some panels at a time. A column is loaded and put in
// order once for all pixels that read it. The leaf, one of filter_vnni_u8.h, filter_madd_u8.h, filter_sdot_u8.h and
// filter_smull_u8.h, has
//   FilterGroup(args, panel, panels)
//                          kPanels panels or fewer, of which the first one begins a pair, at least kLeast to be worth
//                          it: weights and channels as the leaf multiplies them; fits(): whether it makes the right
//                          bytes of them, whatever the inputs are
//   filter_pixels<kStride>(args, panel, group, output)
//                          all pixels of a call, of a group
// Included by isa.cpp only.
#pragma once

namespace mbinfer {
namespace {

// False where the group does not fit, and nothing is made.
template <int kStride>
__attribute__((noinline)) bool filter_group(const DepthwiseArgs& a, int panel, int panels, const ByteOutput& output) {
  const FilterGroup group(a, panel, panels);
  if (!group.fits()) return false;
  filter_pixels<kStride>(a, panel, group, output);
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
