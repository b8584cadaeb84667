// A model file taken apart into its records, and put together again with counts, offsets and checksums that are right:
// what is changed in between gets past the header, to the checks behind it.
#pragma once

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "model/format.h"

namespace fuzz {

namespace format = mbinfer::format;
using Bytes = std::vector<uint8_t>;

inline uint32_t crc32(const uint8_t* data, size_t size) {
  uint32_t crc = ~0u;
  for (size_t i = 0; i < size; i++) {
    crc ^= data[i];
    for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
  }
  return ~crc;
}

inline size_t aligned(size_t at) {
  constexpr size_t align = format::kWeightAlign;
  return (at + align - 1) / align * align;
}

struct ModelFile {
  format::Header header = {};
  std::vector<format::ValueRecord> values;
  std::vector<format::NodeRecord> nodes;
  std::vector<uint32_t> node_inputs;
  std::vector<format::InputRecord> inputs;
  std::vector<format::OutputRecord> outputs;
  std::vector<format::QuantRecord> quants;
  std::vector<format::MetadataRecord> metadata;
  std::vector<uint32_t> labels;
  std::vector<format::StateRecord> states;
  Bytes strings, weights;

  ModelFile() {
    std::memcpy(header.magic, format::kMagic, sizeof header.magic);
    header.major = format::kMajor;
    header.minor = format::kMinor;
  }

  // Sections by what the header says, as far as there are bytes for them.
  static ModelFile parse(const uint8_t* data, size_t size) {
    ModelFile file;
    std::memcpy(&file.header, data, std::min(size, sizeof file.header));
    const format::Header& h = file.header;
    size_t at = std::min(size, sizeof file.header);
    auto take = [&](auto* records, size_t count) {
      const size_t each = sizeof *records->data();
      count = std::min(count, (size - at) / each);
      records->resize(count);
      if (count) std::memcpy(records->data(), data + at, count * each);
      at += count * each;
    };
    take(&file.values, h.value_count);
    take(&file.nodes, h.node_count);
    take(&file.node_inputs, h.node_input_count);
    take(&file.inputs, h.input_count);
    take(&file.outputs, h.output_count);
    take(&file.quants, h.quant_count);
    take(&file.metadata, h.metadata_count);
    take(&file.labels, h.label_count);
    take(&file.states, h.state_count);
    take(&file.strings, h.string_bytes);
    at = std::min(size, aligned(at));
    take(&file.weights, size - at);
    return file;
  }

  Bytes encode() {
    header.value_count = uint32_t(values.size());
    header.node_count = uint32_t(nodes.size());
    header.node_input_count = uint32_t(node_inputs.size());
    header.input_count = uint32_t(inputs.size());
    header.output_count = uint32_t(outputs.size());
    header.quant_count = uint32_t(quants.size());
    header.metadata_count = uint32_t(metadata.size());
    header.label_count = uint32_t(labels.size());
    header.state_count = uint32_t(states.size());
    if (header.major == format::kMajor || header.major == format::kMajorOfStates)
      header.major = states.empty() ? format::kMajor : format::kMajorOfStates;
    header.string_bytes = uint32_t(strings.size());
    Bytes bytes(sizeof header);
    auto put = [&](const auto& records) {
      const auto* data = reinterpret_cast<const uint8_t*>(records.data());
      bytes.insert(bytes.end(), data, data + records.size() * sizeof records[0]);
    };
    put(values), put(nodes), put(node_inputs), put(inputs), put(outputs), put(quants), put(metadata), put(labels);
    put(states), put(strings);
    bytes.resize(aligned(bytes.size()));
    header.weights_offset = bytes.size();
    header.weights_bytes = weights.size();
    put(weights);
    header.file_bytes = bytes.size();
    header.weights_crc = crc32(weights.data(), weights.size());
    header.structure_crc = 0;
    std::memcpy(bytes.data(), &header, sizeof header);
    header.structure_crc = crc32(bytes.data(), size_t(header.weights_offset));
    std::memcpy(bytes.data(), &header, sizeof header);
    return bytes;
  }

  uint32_t add_string(const std::string& text) {
    const uint32_t at = uint32_t(strings.size());
    strings.insert(strings.end(), text.c_str(), text.c_str() + text.size() + 1);
    return at;
  }
};

}  // namespace fuzz
