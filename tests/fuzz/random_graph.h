// A valid model file for any bytes: they are read as a sequence of choices, and every choice leads to a graph that the
// format allows. A file made here that the library refuses is a finding.
#pragma once

#include <cmath>

#include "model/graph.h"
#include "model/rules.h"
#include "model_file.h"

namespace fuzz {

class Choices {  // zeros once the bytes are used up
 public:
  Choices(const uint8_t* data, size_t size) : data_(data), end_(data + size) {}
  bool left() const { return data_ < end_; }
  int below(int count) { return left() ? *data_++ % count : 0; }
  int between(int low, int high) { return low + below(high - low + 1); }
  bool one_in(int count) { return below(count) == count - 1; }

 private:
  const uint8_t *data_, *end_;
};

class RandomGraph {
 public:
  explicit RandomGraph(Choices* choices) : choices_(*choices) {}

  Bytes make() {
    for (int count = choices_.one_in(4) ? 2 : 1; count > 0; count--) add_input();
    for (int tries = choices_.between(1, 24); tries > 0; tries--) add_node();
    for (size_t v = 0; v < file_.inputs.size(); v++)
      if (!read_[v]) use(int(v));
    for (size_t v = file_.inputs.size(); v < graph_.values.size(); v++)
      if (!read_[v] || choices_.one_in(16)) add_output(int(v));
    write_weights();
    keep_an_input();
    return file_.encode();
  }

 private:
  using Op = mbinfer::Op;
  using DType = mbinfer::DType;
  using Window = mbinfer::Window;
  static constexpr int64_t kMostElements = 1 << 13, kMostMacs = 1 << 20;  // a value's, all nodes'

  // A uint8 value has one of three scales and zero points.
  int add_value(mbinfer::Shape shape, mbinfer::Type type) {
    format::ValueRecord record = {};
    record.name = file_.add_string("v" + std::to_string(file_.values.size()));
    record.height = uint32_t(shape.height), record.width = uint32_t(shape.width);
    record.channels = uint32_t(shape.channels);
    record.dtype = uint8_t(type.dtype), record.quant = format::kNone;
    if (type.dtype == DType::kUint8) {
      record.quant = uint32_t(file_.quants.size());
      format::QuantRecord quant = {};
      quant.scale = type.scale, quant.zero_point = type.zero_point;
      file_.quants.push_back(quant);
    }
    file_.values.push_back(record);
    mbinfer::Value value;
    value.shape = shape, value.type = type;
    graph_.values.push_back(value);
    read_.push_back(false);
    return int(graph_.values.size()) - 1;
  }

  mbinfer::Type bytes() {
    static const float kScales[] = {0.0625f, 0.03f, 2.0f};
    const int i = choices_.below(3);
    return {DType::kUint8, kScales[i], i * 100};
  }

  void add_input() {
    format::InputRecord record = {};
    const int side = choices_.one_in(8) ? 96 : 20;
    const int channels = choices_.one_in(3) ? choices_.between(1, 40) : 3;
    const mbinfer::Type type = choices_.one_in(3) ? bytes() : mbinfer::Type();
    record.value = uint32_t(add_value({choices_.between(1, side), choices_.between(1, side), channels}, type));
    if (channels == 3 && choices_.one_in(2) && type.dtype == DType::kFloat32) {
      record.has_recipe = 1, record.crop = 0.875f;
      for (int c = 0; c < 3; c++) record.mean[c] = 127.5f, record.scale[c] = 1 / 127.5f;
    }
    file_.inputs.push_back(record);
  }

  void add_output(int value) {
    format::OutputRecord record = {};
    const format::ValueRecord& shape = file_.values[size_t(value)];
    record.value = uint32_t(value);
    record.name = file_.add_string("o" + std::to_string(file_.outputs.size()));
    record.rank = 4;
    record.dims[0] = 1, record.dims[1] = shape.height, record.dims[2] = shape.width, record.dims[3] = shape.channels;
    file_.outputs.push_back(record);
  }

  Window window(int size, bool pools) {
    static const int kKernels[] = {3, 1, 5, 2, 7, 3, 4, 9};
    Window w;
    w.kernel = choices_.one_in(12) ? std::min(size, 64) : kKernels[choices_.below(8)];  // no kernel has more rows
    w.stride = choices_.one_in(3) ? 2 : choices_.one_in(12) ? choices_.between(1, 7) : 1;
    w.dilation = !pools && choices_.one_in(8) ? choices_.between(1, 3) : 1;
    w.pad = w.pad_end = w.dilation * (w.kernel - 1) / 2;
    if (choices_.one_in(4)) w.pad = choices_.below(w.kernel), w.pad_end = choices_.below(w.kernel);
    return w;
  }

  mbinfer::Node choose(int input) {
    static const Op kChoice[] = {Op::kConv,    Op::kDepthwise,    Op::kConv,      Op::kDepthwise, Op::kAdd,
                                 Op::kConv,    Op::kMaxPool,      Op::kConv,      Op::kAvgPool,   Op::kGlobalAvgPool,
                                 Op::kSoftmax, Op::kMul,          Op::kConcat,    Op::kSub,       Op::kMax,
                                 Op::kMin,     Op::kDiv,          Op::kConvert,   Op::kLookup,    Op::kResize,
                                 Op::kSlice,   Op::kAdd,          Op::kDepthwise, Op::kConcat,    Op::kShuffle,
                                 Op::kConvert, Op::kDepthToSpace, Op::kArgmax,    Op::kStack,     Op::kNorm};
    mbinfer::Node node;
    node.op = kChoice[choices_.below(sizeof kChoice / sizeof kChoice[0])];
    node.inputs = {input};
    const mbinfer::OpInfo& op = mbinfer::info_of(node.op);
    const mbinfer::Shape in = graph_.values[size_t(input)].shape;
    const bool pointwise = node.op == Op::kConv && !choices_.one_in(3);
    if (op.area == mbinfer::Area::kWindow && !pointwise)
      node.y = window(in.height, op.pools), node.x = window(in.width, op.pools);
    for (int more = op.inputs < 0 ? choices_.between(1, 3) : op.inputs - 1; more > 0; more--) {
      std::vector<int> fit;
      for (size_t v = 0; v < graph_.values.size(); v++) {
        const mbinfer::Shape& other = graph_.values[v].shape;
        const bool pixel = other.height == 1 && other.width == 1,
                   map = other.height == in.height && other.width == in.width;
        const bool gate = op.area == mbinfer::Area::kGated && (pixel || map) &&
                          (other.channels == 1 || other.channels == in.channels);
        const bool joins = op.area == mbinfer::Area::kJoined && other.height == in.height && other.width == in.width;
        const bool stacks = op.area == mbinfer::Area::kStacked && other.channels == in.channels;
        const mbinfer::Type &type = graph_.values[v].type, &first = graph_.values[size_t(input)].type;
        const bool alike = op.types == mbinfer::Types::kKept ? type == first : type.dtype == first.dtype;
        if ((other == in || gate || joins || stacks) && alike) fit.push_back(int(v));
      }
      node.inputs.push_back(fit[size_t(choices_.below(int(fit.size())))]);
    }
    const bool quantised = graph_.values[size_t(input)].type.dtype == DType::kUint8;
    if (op.weights) node.weight_dtype = quantised ? DType::kInt8 : DType::kFloat32;
    if (node.op == Op::kConv) node.full_range = quantised && choices_.one_in(2);
    choose_channels(in, &node);
    node.counts_padding = (op.flags & mbinfer::format::kCountsPadding) && choices_.one_in(2);
    node.lo = -INFINITY, node.hi = INFINITY;
    const int activation = choices_.below(quantised ? 5 : 19);
    node.activation = mbinfer::Activation(activation < 3 ? 0 : activation < 5 ? 1 : activation - 3);
    if (!takes_activation(node.op)) node.activation = mbinfer::Activation::kNone;
    if (node.activation == mbinfer::Activation::kClamp)
      node.lo = 0, node.hi = activation == 4 ? 6 : quantised ? 255 : INFINITY;
    return node;
  }

  // Which channels an operator takes that moves them, and the fractions of one that makes other maps.
  void choose_channels(mbinfer::Shape in, mbinfer::Node* node) {
    if (node->op == Op::kSlice) node->first_channel = choices_.below(in.channels + 4) - 4;
    if (node->op == Op::kNorm) node->window_channels = choices_.below(6), node->centred = !node->window_channels;
    if (node->op == Op::kSoftmax) node->logarithm = choices_.one_in(3);
    if (node->op == Op::kShuffle) node->groups = in.channels % 3 ? in.channels % 2 ? in.channels : 2 : 3;
    if (!mbinfer::in_fractions(node->op)) return;
    const bool blocks = node->op == Op::kDepthToSpace;
    for (Window* w : {&node->y, &node->x}) {
      w->denominator = blocks ? choices_.between(1, 2) : choices_.between(1, 7);
      w->numerator = blocks ? 1 : choices_.below(9);
      w->term = blocks ? 0 : choices_.between(-9, 9);
      w->kernel = blocks ? 1 : choices_.between(1, 2);
    }
  }

  // The shape that a node makes, of no height where there is none.
  mbinfer::Shape shape_of(const mbinfer::Node& node) {
    using mbinfer::Area;
    mbinfer::Shape shape = graph_.values[size_t(node.inputs[0])].shape;
    switch (mbinfer::info_of(node.op).area) {
      case Area::kWhole:
        return {1, 1, shape.channels};
      case Area::kWindow:
        if (shape.height + node.y.pad + node.y.pad_end < node.y.extent()) return {};
        if (shape.width + node.x.pad + node.x.pad_end < node.x.extent()) return {};
        return {node.y.output_size(shape.height), node.x.output_size(shape.width), shape.channels};
      case Area::kJoined:
        shape.channels = 0;
        for (int input : node.inputs) shape.channels += graph_.values[size_t(input)].shape.channels;
        return shape;
      case Area::kStacked: {
        int64_t pixels = 0;
        for (int input : node.inputs) pixels += graph_.values[size_t(input)].shape.pixels();
        return pixels < 400 ? mbinfer::Shape{int(pixels), 1, shape.channels} : mbinfer::Shape();
      }
      case Area::kSliced:
        return {shape.height, shape.width, choices_.between(1, 20)};
      case Area::kScaled:
        return {choices_.between(1, 30), choices_.between(1, 30), shape.channels};
      case Area::kRow:
        return {shape.height, 1, shape.width};
      case Area::kBlocks:
        return {shape.height * node.y.denominator, shape.width * node.x.denominator,
                shape.channels / (node.y.denominator * node.x.denominator)};
      default:
        return shape;
    }
  }

  mbinfer::Type type_of(const mbinfer::Node& node) {
    const mbinfer::Type& in = graph_.values[size_t(node.inputs[0])].type;
    const mbinfer::Types types = mbinfer::info_of(node.op).types;
    if (types == mbinfer::Types::kAny) return choices_.one_in(3) ? mbinfer::Type() : bytes();
    if (types == mbinfer::Types::kNumbers)
      return choices_.one_in(3) ? mbinfer::Type() : mbinfer::Type{DType::kUint8, 1, 0};
    if (types == mbinfer::Types::kKept || node.op == Op::kLookup) return in;
    return in.dtype == DType::kUint8 ? bytes() : in;
  }

  void add_node() {
    const int last = int(graph_.values.size()) - 1;
    const int input = choices_.one_in(4) ? choices_.below(last + 1) : last;
    mbinfer::Node node = choose(input);
    mbinfer::Shape shape = shape_of(node);
    if (shape.height < 1 || shape.channels < 1) return;
    if (node.op == Op::kConv) {
      const int channels = choices_.one_in(8) ? choices_.between(1, 200) : choices_.between(1, 40);
      const int groups = choices_.one_in(6) ? choices_.between(1, shape.channels) : 1;
      node.groups = shape.channels % groups || channels % groups || (groups > 1 && groups == channels) ? 1 : groups;
      shape.channels = channels;
    }
    if (shape.elements() > kMostElements) return;
    const size_t quants = file_.quants.size();
    node.output = add_value(shape, type_of(node));
    if (wrong_with_node(graph_, node).empty() && macs_ + macs(graph_, node) <= kMostMacs)
      write(node);
    else
      file_.values.pop_back(), graph_.values.pop_back(), read_.pop_back(), file_.quants.resize(quants);
  }

  // An input that nothing reads is added to itself.
  void use(int value) {
    mbinfer::Node node;
    node.op = Op::kAdd, node.inputs = {value, value};
    node.lo = -INFINITY, node.hi = INFINITY;
    node.output = add_value(graph_.values[size_t(value)].shape, graph_.values[size_t(value)].type);
    write(node);
  }

  void write(const mbinfer::Node& node) {
    format::NodeRecord r = {};
    r.name = file_.add_string("n" + std::to_string(file_.nodes.size()));
    r.op = uint8_t(node.op), r.activation = uint8_t(node.activation), r.weight_dtype = uint8_t(node.weight_dtype);
    r.flags = uint8_t((node.counts_padding ? format::kCountsPadding : 0) | (node.full_range ? format::kFullRange : 0) |
                      (node.logarithm ? format::kLogarithm : 0) | (node.centred ? format::kCentred : 0));
    r.window_channels = uint32_t(node.window_channels);
    r.first_input = uint32_t(file_.node_inputs.size()), r.input_count = uint32_t(node.inputs.size());
    for (int input : node.inputs) {
      file_.node_inputs.push_back(uint32_t(input));
      read_[size_t(input)] = true;
    }
    r.output = uint32_t(node.output), r.groups = uint32_t(node.groups);
    r.kernel_h = uint16_t(node.y.kernel), r.stride_h = uint16_t(node.y.stride),
    r.dilation_h = uint16_t(node.y.dilation);
    r.kernel_w = uint16_t(node.x.kernel), r.stride_w = uint16_t(node.x.stride),
    r.dilation_w = uint16_t(node.x.dilation);
    r.pad_top = uint16_t(node.y.pad), r.pad_bottom = uint16_t(node.y.pad_end);
    r.pad_left = uint16_t(node.x.pad), r.pad_right = uint16_t(node.x.pad_end);
    r.clamp_lo = node.lo, r.clamp_hi = node.hi;
    r.row_numerator = uint32_t(node.y.numerator), r.row_denominator = uint32_t(node.y.denominator);
    r.row_term = node.y.term, r.first_channel = node.first_channel;
    r.column_numerator = uint32_t(node.x.numerator), r.column_denominator = uint32_t(node.x.denominator);
    r.column_term = node.x.term;
    if (node.op == Op::kLookup) r.weight_dtype = format::kUint8, r.weight_bytes = 256;
    if (node.op == Op::kNorm) r.weight_dtype = format::kFloat32, r.weight_bytes = mbinfer::kNormFactors * sizeof(float);
    if (mbinfer::info_of(node.op).weights) {
      const bool quantised = node.weight_dtype == DType::kInt8;
      r.weight_bytes = uint64_t(packed_weights(graph_, node)) * size_of(node.weight_dtype);
      const uint64_t stride = uint64_t(graph_.values[size_t(node.output)].stride());
      r.bias_bytes = quantised ? stride / mbinfer::kPanel * sizeof(format::ChannelRecord) : stride * sizeof(float);
    }
    weights_bytes_ = std::max(weights_bytes_, int64_t(std::max(r.weight_bytes, r.bias_bytes)));
    if (has_slopes(node.activation))
      weights_bytes_ = std::max(weights_bytes_, graph_.values[size_t(node.output)].stride() * int64_t(sizeof(float)));
    macs_ += macs(graph_, node);
    file_.nodes.push_back(r);
  }

  // One block of small numbers serves all: tensors may share their place. Behind it, for the weights of every so many
  // nodes, lies the same of float16.
  void write_weights() {
    const size_t bytes = size_t(mbinfer::round_up<int64_t>(weights_bytes_, 64));
    file_.weights.resize(bytes * 2);
    uint32_t state = 1;
    for (size_t i = 0; i + 4 <= bytes; i += 4) {
      state = state * 1664525u + 1013904223u;
      const float weight = float(int(state >> 24) - 128) / 512.0f;
      std::memcpy(&file_.weights[i], &weight, sizeof weight);
      const uint16_t exponent = uint16_t(9 + (state >> 12) % 4), fraction = uint16_t(state >> 16 & 0x83FF);
      const uint16_t half = uint16_t(fraction | exponent << 10);
      std::memcpy(&file_.weights[bytes + i / 2], &half, sizeof half);
    }
    const size_t every = size_t(choices_.below(4));
    for (size_t i = 0; every && i < file_.nodes.size(); i += every) {
      format::NodeRecord& r = file_.nodes[i];
      if (r.weight_dtype != format::kFloat32 || Op(r.op) == Op::kNorm) continue;
      r.weight_dtype = format::kFloat16, r.weight_offset = bytes, r.weight_bytes /= 2;
    }
  }

  // One of several inputs becomes a state, where some node makes what it can become. Chosen last, so that the bytes of
  // older findings still say what they said.
  void keep_an_input() {
    if (file_.inputs.size() < 2 || !choices_.one_in(2)) return;
    const format::InputRecord& kept = file_.inputs[size_t(choices_.below(int(file_.inputs.size())))];
    const mbinfer::Value& state = graph_.values[kept.value];
    std::vector<uint32_t> made;
    for (const format::NodeRecord& node : file_.nodes) {
      const mbinfer::Value& value = graph_.values[node.output];
      if (value.shape == state.shape && value.type == state.type) made.push_back(node.output);
    }
    if (made.empty()) return;
    format::StateRecord record = {};
    record.value = kept.value, record.next = made[size_t(choices_.below(int(made.size())))];
    const uint64_t bytes = uint64_t(state.shape.elements()) * size_t(size_of(state.type.dtype));
    if (choices_.one_in(2) && bytes <= file_.weights.size()) record.initial_bytes = bytes;
    file_.states.push_back(record);
    file_.inputs.erase(file_.inputs.begin() + (&kept - file_.inputs.data()));
  }

  Choices& choices_;
  ModelFile file_;
  mbinfer::Graph graph_;    // shapes alone, for the rules
  std::vector<bool> read_;  // by value: somebody reads it
  int64_t weights_bytes_ = 64, macs_ = 0;
};

}  // namespace fuzz
