// The structure of a model file: its header, the records of its sections and its strings, copied, checked by checksum
// and found to lie in the file. What the records mean is the reader's business.
#pragma once

#include <algorithm>
#include <cstring>
#include <string>

#include "model/format.h"
#include "model/source.h"
#include "pages.h"

namespace mbinfer {

template <class T>
struct Records {  // of a section, which may lie at any address
  const uint8_t* data = nullptr;
  uint32_t count = 0;
  T operator[](uint32_t i) const {
    T record;
    std::memcpy(&record, data + size_t(i) * sizeof(T), sizeof record);
    return record;
  }
};

class Structure {
 public:
  explicit Structure(Source& source);

  const format::Header& header() const { return header_; }
  const char* strings() const { return strings_; }  // header().string_bytes of them, the last one zero
  void verify_weights() const;

  [[noreturn]] void fail(const std::string& what) const;
  void require(bool ok, const char* what) const {
    if (!ok) fail(what);
  }
  // A reserved field has a meaning only in later minor versions, which readers of this one may ignore.
  template <class... Fields>
  void require_reserved(const Fields&... fields) const {
    require(header_.minor > format::kMinor || (all_zero(&fields, sizeof fields) && ...),
            "a reserved field is not zero");
  }

  Records<format::ValueRecord> values;
  Records<format::NodeRecord> nodes;
  Records<uint32_t> node_inputs, labels;
  Records<format::InputRecord> inputs;
  Records<format::OutputRecord> outputs;
  Records<format::QuantRecord> quants;
  Records<format::MetadataRecord> metadata;
  Records<format::StateRecord> states;

 private:
  static bool all_zero(const void* data, size_t bytes) {
    const auto* b = static_cast<const uint8_t*>(data);
    return std::all_of(b, b + bytes, [](uint8_t x) { return x == 0; });
  }
  void read_header();
  void check_counts() const;
  void read_sections();
  void take_sections();
  void check_strings() const;

  Source& source_;
  format::Header header_;
  Pages sections_;
  uint64_t position_ = 0;  // of what is taken next
  const char* strings_ = nullptr;
};

}  // namespace mbinfer
