// Reads and validates a model. Everything but the numbers in the weights is checked here, once; nothing later trusts or
// checks the file again.
#pragma once

#include <memory>

#include "model/graph.h"
#include "model/source.h"

namespace mbinfer {

struct Model {
  std::unique_ptr<Source> source;  // has the bytes that the graph's weights point into
  Graph graph;
};

struct ReadOptions {
  bool verify = false;  // also check the checksum of the weights, reading all of them
  bool copy = false;    // hold the weights in private memory: whatever becomes of the file, runs go on
};

// Error(kFormat), or what the source fails with. Names and labels are copied once, weights as Source::hold says.
std::shared_ptr<const Model> read_model(std::unique_ptr<Source> source, const ReadOptions& options = {});

}  // namespace mbinfer
