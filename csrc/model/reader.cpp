#include "model/reader.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "model/format.h"
#include "model/rules.h"
#include "model/structure.h"

namespace mbinfer {
namespace {

using namespace format;

class Reader {
 public:
  explicit Reader(Source& source) : source_(source), file_(source) {}

  Graph read(const ReadOptions& options) {
    strings_ = graph_.keep(std::string(file_.strings(), file_.header().string_bytes)).c_str();
    if (options.verify) file_.verify_weights();
    weights_ = source_.hold(file_.header().weights_offset, options.copy);
    read_quants();
    read_values();
    read_inputs();
    read_states();
    read_nodes();
    read_outputs();
    check_states();
    read_texts();
    check_dataflow();
    graph_.weight_bytes = int64_t(file_.header().weights_bytes);
    prepare(&graph_);
    return std::move(graph_);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const { file_.fail(what); }
  void require(bool ok, const char* what) const { file_.require(ok, what); }
  template <class... Fields>
  void require_reserved(const Fields&... fields) const {
    file_.require_reserved(fields...);
  }
  void require_about(bool ok, const char* kind, Text name, const char* what) const {
    if (!ok) fail(std::string(kind) + " '" + name + "' " + what);
  }
  void require_none(const std::string& wrong, const char* kind, Text name) const {
    if (!wrong.empty()) fail(std::string(kind) + " '" + name + "' " + wrong);
  }
  // A string begins where another ends, so that a file's names cannot overlap to be many times its size.
  Text text(uint32_t offset, uint32_t longest) const {
    require(offset < file_.header().string_bytes, "a string lies outside the string section");
    require(!offset || !strings_[offset - 1], "a string begins inside another");
    const char* at = strings_ + offset;
    if (std::strlen(at) > longest) fail("a string has more than " + std::to_string(longest) + " bytes");
    return at;
  }

  using Names = std::vector<const char*>;
  Text name(const char* kind, uint32_t offset, Names* names) const {
    const Text found = text(offset, kMaxName);
    if (!*found.c_str()) fail(std::string(kind) + " without a name");
    names->push_back(found.c_str());
    return found;
  }
  void require_different(const char* kind, Names names) const {
    std::sort(names.begin(), names.end(), [](const char* a, const char* b) { return std::strcmp(a, b) < 0; });
    const auto twice =
        std::adjacent_find(names.begin(), names.end(), [](const char* a, const char* b) { return !std::strcmp(a, b); });
    if (twice != names.end()) require_about(false, kind, *twice, "is there twice");
  }

  const uint8_t* tensor(uint64_t offset, uint64_t bytes, const char* kind, Text name) const {
    require_about(offset % kWeightAlign == 0 && offset <= file_.header().weights_bytes &&
                      bytes <= file_.header().weights_bytes - offset,
                  kind, name, "has numbers outside the weights");
    return weights_ + offset;
  }

  void read_quants() {
    for (uint32_t i = 0; i < file_.quants.count; i++) {
      const QuantRecord q = file_.quants[i];
      require_reserved(q.reserved);
      require(q.scale > 0 && std::isnormal(q.scale), "a quantisation record is invalid");
    }
  }

  void read_values() {
    Names names;
    names.reserve(file_.values.count);
    graph_.values.reserve(file_.values.count + file_.inputs.count);  // prepare() adds conversions
    for (uint32_t i = 0; i < file_.values.count; i++) {
      const ValueRecord r = file_.values[i];
      Value v;
      v.name = name("value", r.name, &names);
      require_reserved(r.reserved0, r.reserved);
      for (uint32_t side : {r.height, r.width, r.channels})
        require_about(side <= uint32_t(kMaxSide), "value", v.name, "has too long a side");
      v.shape = {int(r.height), int(r.width), int(r.channels)};
      require_about(r.dtype >= kFloat32 && r.dtype <= kInt32, "value", v.name, "has an unknown dtype");
      require_about(r.quant == kNone || r.quant < file_.quants.count, "value", v.name,
                    "has no such quantisation record");
      v.type.dtype = DType(r.dtype);
      if (r.quant != kNone) {
        const QuantRecord q = file_.quants[r.quant];
        v.type.scale = q.scale;
        v.type.zero_point = q.zero_point;
      }
      require_none(wrong_with_value(v), "value", v.name);
      graph_.values.push_back(std::move(v));
    }
    require_different("value", std::move(names));
  }

  int value_index(uint32_t i, const char* kind, Text name) const {
    require_about(i < file_.values.count, kind, name, "names a value that does not exist");
    return int(i);
  }

  void read_inputs() {
    graph_.inputs.reserve(file_.inputs.count);
    is_given_.assign(file_.values.count, false);
    for (uint32_t i = 0; i < file_.inputs.count; i++) {
      const InputRecord r = file_.inputs[i];
      GraphInput in{value_index(r.value, "input", ""), {}};
      const Value& v = graph_.values[in.value];
      require_about(!is_given_[in.value], "input", v.name, "is listed twice");
      is_given_[in.value] = true;
      require_reserved(r.reserved0, r.reserved);
      require_about(r.has_recipe <= 1, "input", v.name, "has an invalid recipe");
      in.recipe.present = r.has_recipe;
      in.recipe.color = r.color;
      in.recipe.crop = r.crop;
      std::copy(r.mean, r.mean + 4, in.recipe.mean);
      std::copy(r.scale, r.scale + 4, in.recipe.scale);
      require_none(wrong_with_recipe(v, in.recipe), "input", v.name);
      graph_.inputs.push_back(in);
    }
  }

  void read_states() {
    graph_.states.reserve(file_.states.count);
    for (uint32_t i = 0; i < file_.states.count; i++) {
      const StateRecord r = file_.states[i];
      State state = {value_index(r.value, "state", ""), 0, nullptr};
      Value& v = graph_.values[state.value];
      auto need = [&](bool ok, const char* what) { require_about(ok, "state", v.name, what); };
      need(!is_given_[state.value], "is listed twice, or is an input");
      is_given_[state.value] = v.is_state = true;
      state.next = value_index(r.next, "state", v.name);
      require_reserved(r.reserved);
      need(!r.initial_bytes || r.initial_bytes == uint64_t(v.shape.elements()) * size_of(v.type),
           "begins with other numbers than it holds");
      const uint8_t* numbers = tensor(r.initial_offset, r.initial_bytes, "state", v.name);
      need(r.initial_bytes || !r.initial_offset, "begins with numbers of no size");
      if (r.initial_bytes) state.initial = numbers;
      graph_.states.push_back(state);
    }
  }

  // Once it is known who writes what.
  void check_states() {
    std::vector<bool> taken(graph_.values.size(), false);
    for (const State& state : graph_.states) {
      const Value& v = graph_.values[state.value];
      Value& next = graph_.values[state.next];
      auto need = [&](bool ok, const char* what) { require_about(ok, "state", v.name, what); };
      need(next.producer >= 0, "becomes a value that no node writes");
      need(next.shape == v.shape && next.type == v.type, "becomes a value of another shape or type");
      need(!taken[state.next], "becomes what another state becomes");
      taken[state.next] = next.is_output = true;
    }
  }

  void read_nodes() {
    Names names;
    names.reserve(file_.nodes.count);
    graph_.nodes.reserve(file_.nodes.count + file_.inputs.count);
    for (uint32_t i = 0; i < file_.nodes.count; i++) read_node(file_.nodes[i], int(i), &names);
    require_different("node", std::move(names));
  }

  void read_node(const NodeRecord& r, int index, Names* names) {
    Node n;
    n.name = name("node", r.name, names);
    auto need = [&](bool ok, const char* what) { require_about(ok, "node", n.name, what); };
    require_reserved(r.reserved);
    need(r.op >= 1 && r.op <= kOpCount && op_name(Op(r.op)), "has an unknown op");
    need(r.activation <= format::kMish, "has an unknown activation");
    n.op = Op(r.op);
    n.activation = Activation(r.activation);
    need(!(r.flags & ~info_of(n.op).flags), "has an unknown flag");
    n.counts_padding = r.flags & format::kCountsPadding;
    n.full_range = r.flags & format::kFullRange;
    n.softmax = has_boxes(n.op) && (r.flags & format::kSoftmaxed);
    n.anchorwise = r.flags & format::kAnchorwise;
    need(!n.full_range || r.weight_dtype == format::kInt8, "has a flag of int8 weights");
    need((r.flags & (format::kHalvesAway | format::kHalvesUp)) != (format::kHalvesAway | format::kHalvesUp),
         "rounds halves in two ways");
    n.halves_even = info_of(n.op).pools && (r.flags & format::kHalvesEven);
    n.halves_from = r.flags & format::kHalvesAway ? 128 : r.flags & format::kHalvesUp ? 0 : -1;
    need(!n.halves_even || n.halves_from >= 0, "rounds halves to even as counted from nowhere");
    need(r.first_input == next_input_ && r.input_count <= file_.node_inputs.count - next_input_,
         "does not have the next of the list of inputs");
    n.inputs.reserve(int(r.input_count));
    for (uint32_t k = 0; k < r.input_count; k++)
      n.inputs.push_back(value_index(file_.node_inputs[next_input_++], "node", n.name));
    n.output = value_index(r.output, "node", n.name);
    n.lo = r.clamp_lo;
    n.hi = r.clamp_hi;
    n.y = {r.kernel_h, r.stride_h, r.dilation_h, r.pad_top, r.pad_bottom};
    n.x = {r.kernel_w, r.stride_w, r.dilation_w, r.pad_left, r.pad_right};
    read_positions(r, &n);
    n.first_channel = r.first_channel;
    need(r.window_channels <= uint32_t(kMaxWindowChannels), "has too wide a window of channels");
    n.window_channels = uint8_t(r.window_channels);
    n.logarithm = r.flags & format::kLogarithm;
    n.centred = r.flags & format::kCentred;
    need(r.groups <= uint32_t(kMaxSide), "has too many groups");
    n.groups = int(r.groups);
    require_none(wrong_with_node(graph_, n), "node", n.name);
    const Types types = info_of(n.op).types;
    if (info_of(n.op).weights || types == Types::kTable || types == Types::kFactors || takes_anchors(n.op))
      read_weights(r, &n);
    else
      need(!r.weight_dtype && !r.weight_offset && !r.weight_bytes, "has weights that its op does not take");
    if (!info_of(n.op).weights) need(!r.bias_offset && !r.bias_bytes, "has a bias that its op does not take");
    set_bounds(&n);
    read_slopes(r, &n);
    macs_ += double(macs(graph_, n));
    need(macs_ <= double(kMaxMacs), "brings the network to more multiply-adds than any run ends");
    Value& made = graph_.values[n.output];
    require_about(made.producer < 0 && !is_given_[n.output], "value", made.name, "is written twice");
    made.producer = index;
    graph_.nodes.push_back(std::move(n));
  }

  void read_positions(const NodeRecord& r, Node* n) {
    if (has_boxes(n->op)) {
      const uint32_t bits[] = {r.row_numerator,    r.row_denominator,    uint32_t(r.row_term),
                               r.column_numerator, r.column_denominator, uint32_t(r.column_term)};
      Boxes boxes;
      static_assert(sizeof bits == sizeof boxes, "six numbers");
      std::memcpy(&boxes, bits, sizeof bits);
      n->boxes = int(graph_.boxes.size());
      graph_.boxes.push_back(boxes);
      return;
    }
    const bool none = !r.row_numerator && !r.row_denominator && !r.row_term && !r.column_numerator &&
                      !r.column_denominator && !r.column_term;
    require_about(none || in_fractions(n->op), "node", n->name, "has positions that its op does not take");
    n->y.numerator = r.row_numerator, n->y.denominator = r.row_denominator, n->y.term = r.row_term;
    n->x.numerator = r.column_numerator, n->x.denominator = r.column_denominator, n->x.term = r.column_term;
  }

  void read_slopes(const NodeRecord& r, Node* n) const {
    if (!has_slopes(n->activation))
      return require_about(!r.slope_offset, "node", n->name, "has slopes that its activation does not take");
    const uint64_t bytes = uint64_t(graph_.values[n->output].stride()) * sizeof(float);
    n->slopes = reinterpret_cast<const float*>(tensor(r.slope_offset, bytes, "node", n->name));
  }

  void read_weights(const NodeRecord& r, Node* n) const {
    auto need = [&](bool ok, const char* what) { require_about(ok, "node", n->name, what); };
    const bool quantised = graph_.values[n->output].type.dtype == DType::kUint8,
               table = info_of(n->op).types == Types::kTable,
               numbers = takes_anchors(n->op) || info_of(n->op).types == Types::kFactors;
    need(table       ? r.weight_dtype == format::kUint8
         : numbers   ? r.weight_dtype == format::kFloat32
         : quantised ? r.weight_dtype == format::kInt8
                     : r.weight_dtype == format::kFloat32 || r.weight_dtype == format::kFloat16,
         "has an unknown weight dtype, or one that does not go with its values");
    n->weight_dtype = DType(r.weight_dtype);
    n->weight_bytes = packed_weights(graph_, *n) * int64_t(size_of(n->weight_dtype));
    need(r.weight_bytes == uint64_t(n->weight_bytes), "has weights of the wrong size");
    n->weights = tensor(r.weight_offset, r.weight_bytes, "node", n->name);
    if (table || numbers) return;
    const int panels = graph_.values[n->output].stride() / kPanel;
    need(r.bias_bytes == uint64_t(panels * bias_panel_bytes(*n)), "has a bias of the wrong size");
    n->bias = tensor(r.bias_offset, r.bias_bytes, "node", n->name);
  }

  // Where it makes uint8: the numbers that its clamp leaves, as steps from the zero point.
  void set_bounds(Node* n) const {
    const Type& type = graph_.values[n->output].type;
    if (type.dtype != DType::kUint8) return;
    if (n->activation == Activation::kNone) n->lo = 0, n->hi = 255;
    require_about(n->lo >= 0 && n->hi <= 255 && n->lo == std::floor(n->lo) && n->hi == std::floor(n->hi), "node",
                  n->name, "has clamp bounds that are no uint8");
    const int from = n->halves_from >= 0 ? n->halves_from : type.zero_point;
    n->lo -= float(from);
    n->hi -= float(from);
  }

  void read_outputs() {
    Names names;
    names.reserve(file_.outputs.count);
    graph_.outputs.reserve(file_.outputs.count);
    for (uint32_t i = 0; i < file_.outputs.count; i++) {
      const OutputRecord r = file_.outputs[i];
      GraphOutput out{0, name("output", r.name, &names), {}};
      auto need = [&](bool ok, const char* what) { require_about(ok, "output", out.name, what); };
      out.value = value_index(r.value, "output", out.name);
      Value& v = graph_.values[out.value];
      v.is_output = true;
      require_reserved(r.reserved);
      need(v.producer >= 0, "is not written by a node");
      need(r.rank <= 8, "has too many dimensions");
      int64_t elements = 1;
      for (uint32_t d = 0; d < 8; d++) {
        need(d < r.rank ? r.dims[d] >= 1 && r.dims[d] <= kMaxElements : !r.dims[d], "has an invalid shape");
        elements *= std::max(1u, r.dims[d]);
        need(elements <= kMaxElements, "is too large");
      }
      out.shape.assign(r.dims, r.dims + r.rank);
      need(elements == v.shape.elements(), "has a shape that its value does not fill");
      const Node& maker = graph_.nodes[size_t(std::max(0, v.producer))];
      const bool picks = v.producer >= 0 && info_of(maker.op).types == Types::kNumbers;
      classes_ = std::max(classes_, uint32_t((picks ? graph_.values[maker.inputs[0]] : v).shape.channels));
      graph_.outputs.push_back(std::move(out));
    }
    require_different("output", std::move(names));
  }

  void read_texts() {
    require(file_.labels.count <= classes_, "more labels than classes");
    for (uint32_t i = 0; i < file_.labels.count; i++) graph_.labels.push_back(text(file_.labels[i], kMaxText));
    Names keys;
    for (uint32_t i = 0; i < file_.metadata.count; i++) {
      const MetadataRecord r = file_.metadata[i];
      graph_.metadata.emplace_back(name("metadata", r.key, &keys), text(r.value, kMaxText));
    }
    require_different("metadata", std::move(keys));
  }

  // Every value is written before it is read, by a node earlier in the list or by the caller, and is used.
  void check_dataflow() {
    require(next_input_ == file_.node_inputs.count, "inputs of no node");
    for (int i = 0; i < int(graph_.nodes.size()); i++) {
      const Node& n = graph_.nodes[i];
      for (int input : n.inputs) {
        Value& v = graph_.values[input];
        require_about(v.producer < i, "node", n.name, "reads a value before it is written");
        require_about(v.producer >= 0 || is_given_[input], "value", v.name, "is never written");
        if (v.consumers.empty() || v.consumers.back() != i) v.consumers.push_back(i);
      }
    }
    for (const Value& v : graph_.values)
      require_about(!v.consumers.empty() || v.is_output, "value", v.name, "is not used");
  }

  Source& source_;
  const Structure file_;
  const char* strings_ = nullptr;
  const uint8_t* weights_ = nullptr;
  std::vector<bool> is_given_;
  uint32_t next_input_ = 0, classes_ = 0;
  double macs_ = 0;
  Graph graph_;
};

}  // namespace

std::shared_ptr<const Model> read_model(std::unique_ptr<Source> source, const ReadOptions& options) {
  auto model = std::make_shared<Model>();
  model->source = std::move(source);
  model->graph = Reader(*model->source).read(options);
  return model;
}

}  // namespace mbinfer
