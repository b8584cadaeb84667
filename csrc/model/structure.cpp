#include "model/structure.h"

#include <cstddef>
#include <vector>

#include "model/crc32.h"
#include "model/rules.h"

namespace mbinfer {

using namespace format;

namespace {

bool little_endian() {
  const uint16_t one = 1;
  uint8_t first;
  std::memcpy(&first, &one, 1);
  return first == 1;
}

}  // namespace

Structure::Structure(Source& source) : source_(source) {
  read_header();
  read_sections();
  take_sections();
  check_strings();
}

void Structure::fail(const std::string& what) const { throw Error(ErrorKind::kFormat, source_.name() + ": " + what); }

void Structure::read_header() {
  const uint64_t size = source_.size();
  if (!little_endian()) throw Error(ErrorKind::kUnsupported, "this machine is big-endian: mbinfer does not support it");
  if (size < sizeof(Header)) fail("too short for a model file (" + std::to_string(size) + " bytes)");
  source_.read(0, sizeof header_, &header_);
  require(!std::memcmp(header_.magic, kMagic, sizeof kMagic), "not an mbinfer model file (wrong first bytes)");
  if (header_.major != kMajor && header_.major != kMajorOfStates)
    fail("format version " + std::to_string(header_.major) + "." + std::to_string(header_.minor) +
         ", this build reads versions " + std::to_string(kMajor) + " and " + std::to_string(kMajorOfStates) +
         "; convert the model again");
  if (header_.file_bytes != size)
    fail("the header says " + std::to_string(header_.file_bytes) + " bytes, the file has " + std::to_string(size) +
         "; it was cut or extended, copy it again");
  require(header_.weights_offset % kWeightAlign == 0 && header_.weights_offset >= sizeof(Header) &&
              header_.weights_offset <= size && header_.weights_bytes == size - header_.weights_offset,
          "the weights lie outside the file");
  check_counts();
  require_reserved(header_.reserved);
}

void Structure::check_counts() const {
  const Header& h = header_;
  require(h.value_count && h.node_count && h.input_count && h.output_count, "an empty graph");
  require(h.value_count <= kMaxValues && h.node_count <= kMaxNodes && h.node_input_count <= kMaxNodeInputs &&
              h.input_count <= kMaxInputs && h.output_count <= kMaxOutputs && h.metadata_count <= kMaxMetadata &&
              h.quant_count <= kMaxValues + kMaxNodes && h.label_count <= uint32_t(kMaxSide) &&
              h.state_count <= kMaxStates && h.string_bytes <= kMaxStrings,
          "more values, nodes, inputs, outputs, states, labels, metadata or strings than a model may have");
  require((h.state_count > 0) == (h.major == kMajorOfStates), "states go with version 2, and version 2 with states");
  const uint64_t sections =
      sizeof(Header) + uint64_t(h.value_count) * sizeof(ValueRecord) + uint64_t(h.node_count) * sizeof(NodeRecord) +
      uint64_t(h.node_input_count) * 4 + uint64_t(h.input_count) * sizeof(InputRecord) +
      uint64_t(h.output_count) * sizeof(OutputRecord) + uint64_t(h.quant_count) * sizeof(QuantRecord) +
      uint64_t(h.metadata_count) * sizeof(MetadataRecord) + uint64_t(h.label_count) * 4 +
      uint64_t(h.state_count) * sizeof(StateRecord) + h.string_bytes;
  require(round_up<uint64_t>(sections, kWeightAlign) == header_.weights_offset,
          "the sections and the weights do not meet");
}

// A private copy: a file that changes while it is read cannot change what was checked.
void Structure::read_sections() {
  sections_ = Pages(size_t(header_.weights_offset));
  source_.read(0, sections_.size(), sections_.data());
  constexpr size_t at = offsetof(Header, structure_crc);
  std::memset(sections_.data() + at, 0, 4);
  require(crc32(0, sections_.data(), sections_.size()) == header_.structure_crc,
          "checksum mismatch, the file is damaged; copy it again");
  std::memcpy(sections_.data() + at, &header_.structure_crc, 4);
  require(!std::memcmp(sections_.data(), &header_, sizeof header_), "the file changed while it was read");
}

void Structure::take_sections() {
  position_ = sizeof(Header);
  auto take = [&](auto* records, uint32_t count) {
    records->data = reinterpret_cast<const uint8_t*>(sections_.data()) + position_;
    records->count = count;
    position_ += uint64_t(count) * sizeof((*records)[0]);
  };
  take(&values, header_.value_count);
  take(&nodes, header_.node_count);
  take(&node_inputs, header_.node_input_count);
  take(&inputs, header_.input_count);
  take(&outputs, header_.output_count);
  take(&quants, header_.quant_count);
  take(&metadata, header_.metadata_count);
  take(&labels, header_.label_count);
  take(&states, header_.state_count);
  strings_ = sections_.data() + position_;
}

void Structure::check_strings() const {
  const uint32_t bytes = header_.string_bytes;
  require(bytes && !strings_[bytes - 1], "the string section does not end in a zero byte");
  require(is_utf8(strings_, bytes), "the strings are not UTF-8");
  require(all_zero(strings_ + bytes, sections_.size() - position_ - bytes), "bytes other than zero before the weights");
}

void Structure::verify_weights() const {
  uint32_t crc = 0;
  std::vector<uint8_t> block(64 << 10);
  for (uint64_t at = header_.weights_offset; at < source_.size(); at += block.size()) {
    const uint64_t bytes = std::min<uint64_t>(block.size(), source_.size() - at);
    source_.read(at, bytes, block.data());
    crc = crc32(crc, block.data(), bytes);
  }
  require(crc == header_.weights_crc, "checksum mismatch in the weights, the file is damaged; copy it again");
}

}  // namespace mbinfer
