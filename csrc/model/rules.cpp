#include "model/rules.h"

#include <algorithm>
#include <cmath>

namespace mbinfer {
namespace {

int64_t channels_read(const Graph& graph, const Node& node) {
  const int in = graph.values[node.inputs[0]].shape.channels, out = graph.values[node.output].shape.channels;
  return info_of(node.op).keeps_channels ? 1 : PanelChannels(in, out, node.groups).count;
}

std::string wrong_with_window(Op of, const Window& w, int in, int out) {
  const OpInfo& op = info_of(of);
  if (w.kernel < 1 || w.stride < 1 || w.dilation < 1) return "has a kernel, stride or dilation of 0";
  if (in_fractions(of)) {
    for (int64_t number : {w.numerator, w.denominator, w.term})
      if (std::abs(number) > kMaxFraction) return "has positions of too large numbers";
    if (w.numerator < 0 || w.denominator < 1 || w.kernel > 2)
      return "has positions without a denominator, or more than two taps";
  }
  if (op.area != Area::kWindow) {
    const bool plain = (w.kernel == 1 || in_fractions(of)) && w.stride == 1 && w.dilation == 1 && !w.pad && !w.pad_end;
    return plain ? "" : "has a window that its op does not take";
  }
  if (int64_t(in) + w.pad + w.pad_end < int64_t(w.dilation) * (w.kernel - 1) + 1 || w.output_size(in) != out)
    return "has an output shape that its kernel, stride and padding do not give";
  if (op.pools && (w.dilation != 1 || w.pad >= w.kernel || (out - 1) * int64_t(w.stride) - w.pad >= in))
    return "pools padding only, or with dilation";
  return "";
}

// Scales so far apart that a product with such a factor, or a sum of two, might be no number.
std::string wrong_with_scales(const Graph& graph, const Node& node) {
  float largest = 0, product = 1;
  for (int input : node.inputs) {
    const float scale = graph.values[input].type.scale;
    largest = std::max(largest, scale);
    product *= scale;
  }
  const float factor = (multiplies(node.op) ? product : largest) / graph.values[node.output].type.scale;
  return factor <= kMaxFactor ? "" : "reads steps of more than 1e30 of those that it makes";
}

// What a node tells by its numbers has to fit their type.
std::string wrong_with_numbers(const Value& in, const Type& out) {
  const bool byte = out.dtype == DType::kUint8 && out.scale == 1 && out.zero_point == 0;
  if (!byte && out.dtype != DType::kFloat32) return "makes other numbers than float32, or uint8 of scale 1";
  if (in.type.dtype != DType::kFloat32 && in.type.dtype != DType::kUint8)
    return "reads other numbers than float32 or uint8";
  return byte && in.shape.channels > kMaxToldApart ? "has more channels than a byte tells apart" : "";
}

// Types that its kernels do not take.
std::string wrong_with_types(const Graph& graph, const Node& node) {
  const Type& out = graph.values[node.output].type;
  const Types types = info_of(node.op).types;
  if (types == Types::kAny) {
    for (const DType dtype : {graph.values[node.inputs[0]].type.dtype, out.dtype})
      if (dtype != DType::kFloat32 && dtype != DType::kUint8 && dtype != DType::kInt8)
        return "converts a type that no kernel knows; they know float32, uint8 and int8";
    return node.activation == Activation::kNone ? "" : "converts with an activation, which is for another node";
  }
  if (types == Types::kReals) {
    for (int input : node.inputs)
      if (graph.values[input].type.dtype != DType::kFloat32 && graph.values[input].type.dtype != DType::kUint8)
        return "reads other numbers than float32 or uint8";
    return out.dtype == DType::kFloat32 ? "" : "makes other numbers than float32";
  }
  if (types == Types::kNumbers) return wrong_with_numbers(graph.values[node.inputs[0]], out);
  if (out.dtype != DType::kFloat32 && out.dtype != DType::kUint8)
    return "makes values of a type that only conversions make; operators make float32 or uint8";
  for (int input : node.inputs)
    if (graph.values[input].type.dtype != out.dtype) return "reads values of another dtype than it makes";
  if (out.dtype == DType::kFloat32) return types == Types::kTable ? "looks up what is not uint8" : "";
  if (node.logarithm) return "makes logarithms of a quantised softmax";
  const bool clamps = node.activation == Activation::kClamp && types != Types::kTable;
  if (node.activation != Activation::kNone && !clamps) return "has an activation that uint8 values take from a lookup";
  if (types == Types::kFloats || types == Types::kFactors) return "makes uint8, which its op does not";
  for (int input : node.inputs)
    if (types == Types::kKept && !(graph.values[input].type == out))
      return "reads values of another scale or zero point than it makes";
  return info_of(node.op).weights || types == Types::kTable ? "" : wrong_with_scales(graph, node);
}

// Of a mean, or of a picture resized, whose halves do not go to even steps.
std::string wrong_with_halves(const Graph& graph, const Node& node) {
  if (node.halves_from < 0) return "";
  const Value &in = graph.values[node.inputs[0]], &out = graph.values[node.output];
  const bool fits = node.halves_even ? in.type.dtype == DType::kUint8 : in.type == out.type;
  if (out.type.dtype != DType::kUint8 || !fits || node.counts_padding)
    return "rounds halves away, which means and resizes of uint8 of one scale and zero point do, without padding";
  if (info_of(node.op).area == Area::kScaled || node.halves_even) return "";
  const int64_t count = info_of(node.op).area == Area::kWindow ? int64_t(node.y.kernel) * node.x.kernel
                                                               : int64_t(in.shape.height) * in.shape.width;
  return count <= kMaxHalved ? "" : "rounds halves away of a mean of too many numbers";
}

// Of a node that makes boxes: shapes, and numbers by themselves.
std::string wrong_with_boxes(const Graph& graph, const Node& node) {
  const Boxes& b = graph.boxes[size_t(node.boxes)];
  const bool decodes = takes_anchors(node.op);
  bool fits = b.least_score >= 0 && b.overlap >= 0 && std::isfinite(b.least_score) && std::isfinite(b.overlap);
  for (float scale : b.scale) fits = fits && (decodes ? std::isnormal(scale) && scale > 0 : scale == 0);
  if (!fits || (decodes ? b.overlap != 0 : b.least_score != 0))
    return "has a score, overlap or scale that makes no sense";
  const Shape &in = graph.values[node.inputs[0]].shape, &out = graph.values[node.output].shape;
  if (out.channels % kBoxNumbers) return "makes numbers that are no boxes";
  if (!decodes) {
    const int64_t boxes = int64_t(in.height) * in.width * (in.channels / kBoxNumbers);
    if (in.width != 1 || in.channels % kBoxNumbers) return "reads numbers that are no boxes";
    return boxes <= kMaxBoxes ? "" : "has too many boxes to choose from";
  }
  const Shape& places = graph.values[node.inputs[1]].shape;
  const int anchors = places.channels / 4;
  if (places.height != in.height || places.width != in.width || places.channels % 4 || in.channels % anchors)
    return "has scores and places of different anchors";
  if (node.anchorwise && int64_t(in.width) * anchors * kBoxNumbers != out.channels)
    return "makes other numbers than a box for each anchor";
  return node.first_channel >= 0 && node.first_channel < in.channels / anchors ? "" : "takes no class";
}

constexpr char kWrongGroups[] = "has groups that do not divide its channels";

// The pixels of a block, and the channels of each, follow from the denominators alone.
std::string wrong_with_blocks(const Node& node, int in, int out) {
  for (const Window& w : {node.y, node.x})
    if (w.kernel != 1 || w.numerator != 1 || w.term != 0) return "has positions that are no blocks";
  const int64_t pixels = int64_t(node.y.denominator) * node.x.denominator;
  const bool fits = pixels <= in && out * pixels == in && node.groups == 1;
  return fits ? "" : "has channels that do not fill its blocks";
}

std::string wrong_with_channels(const Node& node, int in, int out) {
  const Area area = info_of(node.op).area;
  const bool slices = area == Area::kSliced;
  if (node.window_channels > (info_of(node.op).types == Types::kFactors ? kMaxWindowChannels : 0))
    return "has a window of channels that its op does not take";
  if (has_boxes(node.op))
    return node.groups == 1 && (takes_anchors(node.op) || !node.first_channel) ? "" : kWrongGroups;
  if (slices ? node.first_channel <= -out || node.first_channel >= in : node.first_channel != 0)
    return "takes channels that do not exist";
  if (node.centred && node.window_channels) return "is centred over a window of channels";
  if (area == Area::kShuffled) return in == out && node.groups >= 1 && in % node.groups == 0 ? "" : kWrongGroups;
  if (area == Area::kBlocks) return wrong_with_blocks(node, in, out);
  if (slices || area == Area::kJoined || area == Area::kRow)
    return node.groups == 1 ? "" : "has groups that its op does not take";
  if (info_of(node.op).keeps_channels) return in == out && node.groups == 1 ? "" : "has the wrong channels or groups";
  if (node.groups < 1 || in % node.groups || out % node.groups) return kWrongGroups;
  if (node.groups > 1 && node.groups == in && node.groups == out)
    return "has a group for every channel, which is depthwise";
  return "";
}

// Of an operator that keeps height and width.
std::string wrong_with_shapes(const Graph& graph, const Node& node) {
  const Shape& out = graph.values[node.output].shape;
  const Area area = info_of(node.op).area;
  int64_t channels = 0;
  for (size_t i = 0; i < node.inputs.size(); i++) {
    const Shape& in = graph.values[node.inputs[i]].shape;
    channels += in.channels;
    const bool any_channels = area == Area::kJoined || area == Area::kSliced;
    if (any_channels ? in.height == out.height && in.width == out.width : in == out) continue;
    const bool pixel = in.height == 1 && in.width == 1, map = in.height == out.height && in.width == out.width;
    if (area == Area::kGated && i > 0 && (pixel || map) && (in.channels == 1 || in.channels == out.channels)) continue;
    return "has inputs of another shape than its output";
  }
  return area == Area::kJoined && channels != out.channels ? "has other channels than its inputs together" : "";
}

// Of an operator whose output has the pixels of all inputs.
std::string wrong_with_pixels(const Graph& graph, const Node& node) {
  const Shape& out = graph.values[node.output].shape;
  int64_t pixels = 0;
  for (int input : node.inputs) {
    const Shape& in = graph.values[input].shape;
    if (in.channels != out.channels) return "has inputs of other channels than its output";
    pixels += in.pixels();
  }
  return pixels == out.pixels() ? "" : "has other pixels than its inputs together";
}

}  // namespace

bool is_utf8(const char* text, size_t bytes) {
  const auto* s = reinterpret_cast<const uint8_t*>(text);
  for (size_t i = 0; i < bytes;) {
    const uint8_t lead = s[i];
    if (lead < 0x80) {
      i++;
      continue;
    }
    const size_t more = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : 1;
    if (lead < 0xC2 || lead > 0xF4 || more >= bytes - i) return false;
    // The second byte of some leads is limited: overlong forms, surrogates, beyond U+10FFFF.
    const uint8_t least = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    const uint8_t most = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    if (s[i + 1] < least || s[i + 1] > most) return false;
    for (size_t k = 2; k <= more; k++)
      if ((s[i + k] & 0xC0) != 0x80) return false;
    i += more + 1;
  }
  return true;
}

std::string wrong_with_value(const Value& v) {
  for (int side : {v.shape.height, v.shape.width, v.shape.channels})
    if (side < 1 || side > kMaxSide) return "has a side of " + std::to_string(unsigned(side));
  if (v.shape.elements() > kMaxElements || v.shape.pixels() * v.stride() > kMaxStored) return "is too large";
  const bool quantised = v.type.dtype == DType::kInt8 || v.type.dtype == DType::kUint8;
  if (!quantised) return v.type.scale == 0 && v.type.zero_point == 0 ? "" : "has a scale that its dtype does not take";
  if (!std::isnormal(v.type.scale) || v.type.scale <= 0)
    return "is quantised without a scale, or by one that runs take for zero";
  const int least = v.type.dtype == DType::kInt8 ? -128 : 0;
  return v.type.zero_point >= least && v.type.zero_point < least + 256 ? "" : "has a zero point out of range";
}

std::string wrong_with_node(const Graph& graph, const Node& node) {
  const OpInfo& op = info_of(node.op);
  const size_t inputs = node.inputs.size();
  if (op.inputs < 0 ? inputs < 2 : inputs != size_t(op.inputs))
    return "has " + std::to_string(inputs) + " inputs, " + op.name + " takes " +
           (op.inputs < 0 ? std::string("two or more") : std::to_string(op.inputs));
  if (node.activation != Activation::kNone && !takes_activation(node.op))
    return "has an activation that its op does not take";
  if (node.activation == Activation::kClamp ? !(node.lo <= node.hi) : node.lo != -INFINITY || node.hi != INFINITY)
    return "has clamp bounds that are out of order, or no clamp";
  const Shape &in = graph.values[node.inputs[0]].shape, &out = graph.values[node.output].shape;
  std::string wrong = wrong_with_window(node.op, node.y, in.height, out.height);
  if (wrong.empty()) wrong = wrong_with_window(node.op, node.x, in.width, out.width);
  if (wrong.empty()) wrong = wrong_with_channels(node, in.channels, out.channels);
  if (wrong.empty()) wrong = wrong_with_types(graph, node);
  if (wrong.empty()) wrong = wrong_with_halves(graph, node);
  if (!wrong.empty()) return wrong;
  if (has_boxes(node.op)) {
    wrong = wrong_with_boxes(graph, node);
    if (!wrong.empty()) return wrong;
  }
  if ((op.area == Area::kWhole || op.area == Area::kAll) && (out.height != 1 || out.width != 1))
    return "has the wrong output shape";
  if (by_pixel(node.op)) {
    wrong = wrong_with_shapes(graph, node);
    if (!wrong.empty()) return wrong;
  }
  const bool numbers = op.types == Types::kNumbers;
  if (op.area == Area::kRow && (out.height != in.height || out.width != 1 || (numbers && out.channels != in.width)))
    return "has an output of another shape than a pixel for each row";
  if (op.area == Area::kStacked) {
    wrong = wrong_with_pixels(graph, node);
    if (!wrong.empty()) return wrong;
  }
  if (op.area == Area::kBlocks &&
      (out.height != in.height * int64_t(node.y.denominator) || out.width != in.width * int64_t(node.x.denominator)))
    return "has an output that its blocks do not fill";
  if (reads(graph, node) > kMaxReads) return "has too large a kernel";
  return "";
}

std::string wrong_with_recipe(const Value& value, const Recipe& recipe) {
  bool finite = std::isfinite(recipe.crop);
  for (int c = 0; c < 4; c++) finite = finite && std::isfinite(recipe.mean[c]) && std::isfinite(recipe.scale[c]);
  if (!finite || recipe.color < 0 || recipe.color > 2) return "has an invalid recipe";
  if (recipe.present) {
    if (value.type.dtype != DType::kFloat32) return "has a recipe, which is for float32";
    if (recipe.crop <= 0 || recipe.crop > 1) return "has an invalid recipe";
    if (value.shape.channels != (recipe.color == 2 ? 1 : 3)) return "has a recipe for other channels than its own";
    for (int c = value.shape.channels; c < 4; c++)
      if (recipe.mean[c] != 0 || recipe.scale[c] != 0) return "has numbers of a recipe beyond its channels";
    return "";
  }
  bool empty = recipe.color == 0 && recipe.crop == 0;
  for (int c = 0; c < 4; c++) empty = empty && recipe.mean[c] == 0 && recipe.scale[c] == 0;
  return empty ? "" : "has numbers of a recipe, but no recipe";
}

int64_t reads(const Graph& graph, const Node& node) {
  return int64_t(node.y.kernel) * node.x.kernel * channels_read(graph, node);
}

int64_t packed_weights(const Graph& graph, const Node& node) {
  if (info_of(node.op).types == Types::kTable) return 256;
  if (takes_anchors(node.op)) return graph.values[node.inputs[1]].shape.elements();
  if (info_of(node.op).types == Types::kFactors) return kNormFactors;
  // None of the products of a row may belong to the next tap.
  const int64_t channels = round_up<int64_t>(channels_read(graph, node), node.row_inputs());
  constexpr int kPair = 2 * kPanel;  // panels lie two by two, the second one zeros where there is none
  return round_up<int64_t>(graph.values[node.output].shape.channels, kPair) * node.y.kernel * node.x.kernel * channels;
}

}  // namespace mbinfer
