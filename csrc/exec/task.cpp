#include "exec/task.h"

#include <cmath>

namespace mbinfer {
namespace {

// In the order of Activation.
constexpr Curve kCurves[] = {kNoCurve, kNoCurve, kHardSwish, kSigmoid, kSilu, kTanh,       kGelu,     kGeluTanh,
                             kPrelu,   kElu,     kExp,       kLog,     kRoot, kReciprocal, kSoftplus, kMish};

const Type& added_type(const Task& w, const Node& add, const Value& to) {
  const int first = add.inputs[0];
  return w.graph.values[&w.graph.values[first] == &to ? add.inputs[1] : first].type;
}

}  // namespace

ActivationArgs activation(const Node& node, int panel) {
  ActivationArgs args = {node.lo, node.hi, kCurves[int(node.activation)], nullptr};
  if (node.slopes) args.slopes = node.slopes + panel * kPanel;
  return args;
}

const Type& made_by(const Task& w, const Node& node) {
  return node.table >= 0 ? w.graph.tables[node.table].made : w.graph.values[node.output].type;
}

const void* bias_of(const Task& w, int panel) {
  return static_cast<const char*>(w.node.bias) + panel * bias_panel_bytes(w.node);
}

Finish finish_of(const Task& w, int panel) {
  Finish finish = {activation(w.node, panel), nullptr, 0, {-INFINITY, INFINITY, kNoCurve, nullptr}};
  finish.channels = static_cast<const Channels*>(bias_of(w, panel));
  finish.made = made_by(w, w.node);
  if (!w.add) return finish;
  finish.residual_stride = w.added.pixel_stride;
  finish.after = activation(*w.add, panel);
  finish.added = added_type(w, *w.add, output_of(w));
  finish.sum = made_by(w, *w.add);
  return finish;
}

const char* residual_of(const Task& w, int row, int x, int panel) {
  const ptrdiff_t bytes = kPanel * ptrdiff_t(size_of(output_of(w).type));
  return w.added.at(row, x) + (panel - w.panels.begin) * bytes;
}

}  // namespace mbinfer
