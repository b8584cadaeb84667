// Vectors over the panels of a node: wide ones of an instruction set, and single panels at the ends. Included by
// isa.cpp, after the leaf, which has `wide`.
#pragma once

namespace mbinfer {
namespace {

template <class V>
constexpr int kLanes = V::kPanels * kPanel;

// Of some panels of a node, from `panel` on: before `first` there is the second one of a pair, or none; from `last` on
// one that fills no wide vector, or none.
struct Cut {
  int first, last;
};
inline Cut cut_panels(int panel, int panels) {
  const int first = panel % 2 < panels ? panel % 2 : panels;
  return {first, first + (panels - first) / wide::kPanels * wide::kPanels};
}

// body(V(), panel) for each vector of so many panels.
template <class Body>
MBI_INLINE void for_each_vector(int panels, Body&& body) {
  int panel = 0;
  if constexpr (wide::kPanels > 1)
    for (; panels - panel >= wide::kPanels; panel += wide::kPanels) body(wide(), panel);
  for (; panel < panels; panel++) body(f32x8(), panel);
}

}  // namespace
}  // namespace mbinfer
