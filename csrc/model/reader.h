// Reads and validates a model file. Everything but the numbers in the weights is checked here, once; nothing later
// trusts or checks the file again.
#pragma once

#include <memory>

#include "model/graph.h"
#include "model/mapped_file.h"

namespace mbinfer {

struct Model {
  std::unique_ptr<MappedFile> file;  // owns the bytes that the graph's weights point into
  Graph graph;
};

// `verify` also checks the checksum of the weights, reading all of them. Error(kFile) or Error(kFormat).
std::shared_ptr<const Model> read_model(const std::string& path, bool verify = false);

// The same from bytes that the caller keeps alive (64-byte aligned).
Graph parse_model(const uint8_t* data, uint64_t size, const std::string& name, bool verify);

}  // namespace mbinfer
