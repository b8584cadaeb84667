#include "model/reader.h"

#include <cmath>
#include <cstring>

#include "model/format.h"

namespace mbinfer {
namespace {

using namespace format;

constexpr int kMaxSide = 1 << 16;          // of a value, and of its channels
constexpr int64_t kMaxElements = 1 << 28;  // of one value: offsets and MACs stay far inside 64 bits

uint32_t crc32(uint32_t crc, const uint8_t* data, uint64_t size) {
  struct Table {
    uint32_t entries[256];
    Table() {
      for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 8; bit++) c = c & 1 ? 0xEDB88320u ^ (c >> 1) : c >> 1;
        entries[i] = c;
      }
    }
  };
  static const Table table;
  crc = ~crc;
  for (uint64_t i = 0; i < size; i++) crc = table.entries[(crc ^ data[i]) & 0xFF] ^ (crc >> 8);
  return ~crc;
}

class Reader {
 public:
  Reader(const uint8_t* data, uint64_t size, const std::string& name) : data_(data), size_(size), name_(name) {}

  Graph read(bool verify) {
    read_header(verify);
    read_sections();
    read_values();
    read_nodes();
    read_inputs();
    read_outputs();
    read_strings();
    check_dataflow();
    return std::move(graph_);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const { throw Error(ErrorKind::kFormat, name_ + ": " + what); }
  void require(bool ok, const std::string& what) const {
    if (!ok) fail(what);
  }

  void read_header(bool verify) {
    require(size_ >= sizeof(Header), "too short for a model file (" + std::to_string(size_) + " bytes)");
    std::memcpy(&header_, data_, sizeof header_);
    require(!std::memcmp(header_.magic, kMagic, sizeof kMagic), "not an mbinfer model file (wrong first bytes)");
    require(header_.major == kMajor, "format version " + std::to_string(header_.major) + "." +
                                         std::to_string(header_.minor) + ", this build reads version " +
                                         std::to_string(kMajor) + "; convert the model again");
    require(header_.file_bytes == size_, "the header says " + std::to_string(header_.file_bytes) +
                                             " bytes, the file has " + std::to_string(size_) +
                                             "; it was cut or extended, copy it again");
    require(header_.weights_offset % kWeightAlign == 0 && header_.weights_offset >= sizeof(Header) &&
                header_.weights_offset <= size_ && header_.weights_bytes == size_ - header_.weights_offset,
            "the weights lie outside the file");
    constexpr size_t at = offsetof(Header, structure_crc);
    const uint8_t zero[4] = {};
    uint32_t crc = crc32(0, data_, at);
    crc = crc32(crc, zero, 4);
    crc = crc32(crc, data_ + at + 4, header_.weights_offset - at - 4);
    require(crc == header_.structure_crc, "checksum mismatch, the file is damaged; copy it again");
    if (verify)
      require(crc32(0, data_ + header_.weights_offset, header_.weights_bytes) == header_.weights_crc,
              "checksum mismatch in the weights, the file is damaged; copy it again");
  }

  template <class T>
  const uint8_t* take(uint32_t count) {
    uint64_t bytes = uint64_t(count) * sizeof(T);
    require(bytes <= header_.weights_offset - position_, "a section lies outside the file");
    const uint8_t* at = data_ + position_;
    position_ += bytes;
    return at;
  }

  template <class T>
  static T record(const uint8_t* section, uint32_t i) {
    T t;
    std::memcpy(&t, section + uint64_t(i) * sizeof(T), sizeof t);
    return t;
  }

  void read_sections() {
    position_ = sizeof(Header);
    values_ = take<ValueRecord>(header_.value_count);
    nodes_ = take<NodeRecord>(header_.node_count);
    inputs_ = take<InputRecord>(header_.input_count);
    outputs_ = take<OutputRecord>(header_.output_count);
    quants_ = take<QuantRecord>(header_.quant_count);
    metadata_ = take<MetadataRecord>(header_.metadata_count);
    labels_ = take<uint32_t>(header_.label_count);
    strings_ = take<char>(header_.string_bytes);
    require(header_.string_bytes && !strings_[header_.string_bytes - 1],
            "the string section does not end in a zero byte");
    require(header_.weights_offset - position_ < kWeightAlign, "unused bytes before the weights");
    require(header_.value_count && header_.node_count && header_.input_count && header_.output_count, "an empty graph");
    for (uint32_t i = 0; i < header_.quant_count; i++) {
      QuantRecord q = record<QuantRecord>(quants_, i);
      require(q.count >= 1 && std::isfinite(q.scale), "quantisation record " + std::to_string(i) + " is invalid");
      if (q.count > 1) tensor(q.scales_offset, uint64_t(q.count) * 4, "quantisation scales");
    }
  }

  std::string string(uint32_t offset) const {
    require(offset < header_.string_bytes, "a string lies outside the string section");
    return reinterpret_cast<const char*>(strings_ + offset);
  }

  const uint8_t* tensor(uint64_t offset, uint64_t bytes, const std::string& what) const {
    require(offset % kWeightAlign == 0 && offset <= header_.weights_bytes && bytes <= header_.weights_bytes - offset,
            what + " lies outside the weights");
    return data_ + header_.weights_offset + offset;
  }

  void read_values() {
    for (uint32_t i = 0; i < header_.value_count; i++) {
      ValueRecord r = record<ValueRecord>(values_, i);
      Value v;
      v.name = string(r.name);
      for (uint32_t side : {r.height, r.width, r.channels})
        require(side >= 1 && side <= kMaxSide, "value '" + v.name + "' has a side of " + std::to_string(side));
      v.shape = {int(r.height), int(r.width), int(r.channels)};
      require(v.shape.elements() <= kMaxElements, "value '" + v.name + "' is too large");
      require(r.dtype >= kFloat32 && r.dtype <= kInt32, "value '" + v.name + "' has an unknown dtype");
      require(r.quant == kNone || r.quant < header_.quant_count,
              "value '" + v.name + "' has no such quantisation record");
      v.type.dtype = DType(r.dtype);
      graph_.values.push_back(std::move(v));
    }
  }

  int value_index(uint32_t i, const std::string& where) const {
    require(i < header_.value_count, where + " names a value that does not exist");
    return int(i);
  }

  void read_nodes() {
    for (uint32_t i = 0; i < header_.node_count; i++) read_node(record<NodeRecord>(nodes_, i), int(i));
  }

  void read_node(const NodeRecord& r, int index) {
    Node n;
    n.name = string(r.name);
    const std::string where = "node '" + n.name + "'";
    require(r.op >= 1 && r.op <= kOpCount, where + " has an unknown op");
    require(r.activation <= format::kHardSwish, where + " has an unknown activation");
    n.op = Op(r.op);
    const OpInfo& op = info_of(n.op);
    require(!(r.flags & ~op.flags), where + " has an unknown flag");
    n.activation = Activation(r.activation);
    n.counts_padding = r.flags & format::kCountsPadding;
    const int inputs = r.inputs[1] == kNone ? 1 : 2;
    for (int k = 0; k < inputs; k++) n.inputs.push_back(value_index(r.inputs[k], where));
    require(op.inputs < 0 || inputs == op.inputs,
            where + " has " + std::to_string(inputs) + " inputs, " + op.name + " takes " + std::to_string(op.inputs));
    n.output = value_index(r.output, where);
    n.lo = r.clamp_lo;
    n.hi = r.clamp_hi;
    require(n.activation != Activation::kClamp || n.lo <= n.hi, where + " has a clamp whose bounds are out of order");
    n.y = {r.kernel_h, r.stride_h, r.dilation_h, r.pad_top, r.pad_bottom};
    n.x = {r.kernel_w, r.stride_w, r.dilation_w, r.pad_left, r.pad_right};
    require(r.groups >= 1 && r.groups <= uint32_t(kMaxSide), where + " has groups out of range");
    n.groups = int(r.groups);
    check_shapes(n, where);
    if (op.weights)
      read_weights(r, n, where);
    else
      require(!r.weight_dtype && !r.weight_bytes && !r.bias_bytes, where + " has weights that its op does not take");
    require(r.weight_quant == kNone || r.weight_quant < header_.quant_count,
            where + " has no such quantisation record");
    Value& made = graph_.values[n.output];
    require(made.producer < 0, "value '" + made.name + "' is written twice");
    made.producer = index;
    graph_.nodes.push_back(std::move(n));
  }

  // The shapes of a node's values are those that the table gives its operator.
  void check_shapes(const Node& n, const std::string& where) const {
    const OpInfo& op = info_of(n.op);
    const Shape &in = graph_.values[n.inputs[0]].shape, &out = graph_.values[n.output].shape;
    check_window(n.y, in.height, out.height, op, where);
    check_window(n.x, in.width, out.width, op, where);
    if (op.area == Area::kWhole) require(out.height == 1 && out.width == 1, where + " has the wrong output shape");
    if (op.area == Area::kSame)
      for (int input : n.inputs) require(graph_.values[input].shape == out, where + " has inputs of another shape");
    if (op.keeps_channels)
      require(in.channels == out.channels && n.groups == 1, where + " has the wrong channels or groups");
    else
      require(in.channels % n.groups == 0 && out.channels % n.groups == 0,
              where + " has groups that do not divide its channels");
  }

  void check_window(const Window& w, int in, int out, const OpInfo& op, const std::string& where) const {
    require(w.kernel >= 1 && w.stride >= 1 && w.dilation >= 1, where + " has a kernel, stride or dilation of 0");
    if (op.area != Area::kWindow) {
      require(w.kernel == 1 && w.stride == 1 && w.dilation == 1 && !w.pad && !w.pad_end,
              where + " has a window that its op does not take");
      return;
    }
    require(int64_t(in) + w.pad + w.pad_end >= int64_t(w.dilation) * (w.kernel - 1) + 1 && w.output_size(in) == out,
            where + " has an output shape that its kernel, stride and padding do not give");
    // A pool's window that sees nothing but padding has no value.
    if (op.pools)
      require(w.dilation == 1 && w.pad < w.kernel && (out - 1) * int64_t(w.stride) - w.pad < in,
              where + " pools padding only");
  }

  void read_weights(const NodeRecord& r, Node& n, const std::string& where) const {
    const Shape &in = graph_.values[n.inputs[0]].shape, &out = graph_.values[n.output].shape;
    require(r.weight_dtype == format::kFloat32 || r.weight_dtype == format::kFloat16 || r.weight_dtype == format::kInt8,
            where + " has an unknown weight dtype");
    n.weight_dtype = DType(r.weight_dtype);
    uint64_t taps = uint64_t(n.y.kernel) * uint64_t(n.x.kernel), panels = uint64_t(ceil_div(out.channels, kPanel));
    uint64_t k = taps;
    require(taps <= uint64_t(kMaxElements), where + " has too large a kernel");
    if (!info_of(n.op).keeps_channels) {
      k *= uint64_t(PanelChannels(in.channels, out.channels, n.groups).count);
      if (n.weight_dtype == DType::kInt8) k = round_up<uint64_t>(k, 4);
    }
    n.weight_bytes = int64_t(panels * k * kPanel * size_of(n.weight_dtype));
    n.bias_bytes = int64_t(panels * kPanel * 4);
    require(r.weight_bytes == uint64_t(n.weight_bytes) && r.bias_bytes == uint64_t(n.bias_bytes),
            where + " has weights of the wrong size");
    n.weights = tensor(r.weight_offset, r.weight_bytes, where);
    n.bias = tensor(r.bias_offset, r.bias_bytes, where);
  }

  void read_inputs() {
    for (uint32_t i = 0; i < header_.input_count; i++) {
      InputRecord r = record<InputRecord>(inputs_, i);
      GraphInput in{value_index(r.value, "an input"), {}};
      const Value& v = graph_.values[in.value];
      require(v.producer < 0, "input '" + v.name + "' is written by a node");
      for (const GraphInput& other : graph_.inputs)
        require(other.value != in.value, "input '" + v.name + "' is listed twice");
      require(r.has_recipe <= 1 && r.color <= 2, "input '" + v.name + "' has an invalid recipe");
      in.recipe.present = r.has_recipe;
      in.recipe.color = r.color;
      in.recipe.crop = r.crop;
      if (r.has_recipe) {
        require(v.shape.channels <= 4 && r.crop > 0 && r.crop <= 1, "input '" + v.name + "' has an invalid recipe");
        for (int c = 0; c < 4; c++) {
          require(std::isfinite(r.mean[c]) && std::isfinite(r.scale[c]),
                  "input '" + v.name + "' has an invalid recipe");
          in.recipe.mean[c] = r.mean[c];
          in.recipe.scale[c] = r.scale[c];
        }
      }
      graph_.inputs.push_back(in);
    }
  }

  void read_outputs() {
    for (uint32_t i = 0; i < header_.output_count; i++) {
      OutputRecord r = record<OutputRecord>(outputs_, i);
      GraphOutput out{value_index(r.value, "an output"), string(r.name), {}};
      Value& v = graph_.values[out.value];
      v.is_output = true;
      require(r.rank <= 8, "output '" + out.name + "' has too many dimensions");
      int64_t elements = 1;
      for (uint32_t d = 0; d < r.rank; d++) {
        require(r.dims[d] >= 1 && r.dims[d] <= kMaxElements, "output '" + out.name + "' has an invalid shape");
        out.shape.push_back(r.dims[d]);
        elements *= r.dims[d];
        require(elements <= kMaxElements, "output '" + out.name + "' is too large");
      }
      require(elements == v.shape.elements(), "output '" + out.name + "' has a shape that its value does not fill");
      for (const GraphOutput& other : graph_.outputs)
        require(other.name != out.name, "output '" + out.name + "' is listed twice");
      graph_.outputs.push_back(std::move(out));
    }
  }

  void read_strings() {
    for (uint32_t i = 0; i < header_.label_count; i++) graph_.labels.push_back(string(record<uint32_t>(labels_, i)));
    for (uint32_t i = 0; i < header_.metadata_count; i++) {
      MetadataRecord r = record<MetadataRecord>(metadata_, i);
      graph_.metadata.emplace_back(string(r.key), string(r.value));
    }
    graph_.weight_bytes = int64_t(header_.weights_bytes);
  }

  // Every value is written before it is read: by a node earlier in the list, or by the caller.
  void check_dataflow() {
    for (const GraphInput& in : graph_.inputs)
      require(graph_.values[in.value].producer < 0, "an input is written by a node");
    for (int i = 0; i < int(graph_.nodes.size()); i++) {
      const Node& n = graph_.nodes[i];
      for (int input : n.inputs) {
        Value& v = graph_.values[input];
        require(v.producer < i, "node '" + n.name + "' reads '" + v.name + "' before it is written");
        require(v.producer >= 0 || is_input(input), "value '" + v.name + "' is never written");
        if (v.consumers.empty() || v.consumers.back() != i) v.consumers.push_back(i);
      }
    }
    for (const GraphOutput& out : graph_.outputs)
      require(graph_.values[out.value].producer >= 0, "output '" + out.name + "' is not written by a node");
    for (const Value& v : graph_.values)
      require(!v.consumers.empty() || v.is_output, "value '" + v.name + "' is not used");
  }

  bool is_input(int value) const {
    for (const GraphInput& in : graph_.inputs)
      if (in.value == value) return true;
    return false;
  }

  const uint8_t* data_;
  uint64_t size_;
  std::string name_;
  Header header_;
  uint64_t position_ = 0;
  const uint8_t *values_, *nodes_, *inputs_, *outputs_, *quants_, *metadata_, *labels_, *strings_;
  Graph graph_;
};

}  // namespace

Graph parse_model(const uint8_t* data, uint64_t size, const std::string& name, bool verify) {
  return Reader(data, size, name).read(verify);
}

std::shared_ptr<const Model> read_model(const std::string& path, bool verify) {
  auto model = std::make_shared<Model>();
  model->file = std::make_unique<MappedFile>(path);
  model->graph = parse_model(model->file->data(), model->file->size(), path, verify);
  return model;
}

}  // namespace mbinfer
