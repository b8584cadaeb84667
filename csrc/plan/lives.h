// Who makes and who reads each value: one table for order, layout and search.
#pragma once

#include <climits>
#include <vector>

#include "plan/plan.h"

namespace mbinfer {

constexpr int kCaller = INT_MAX;  // reads the outputs, after every stage

struct Life {             // of a value; stages by their index
  int maker = -1;         // -1: the caller
  int first_reader = -1;  // -1: nobody reads it
  int last_reader = -1;   // kCaller: it is an output
  int readers = 0;        // stages, each counted once
};

std::vector<Life> lives_of(const Graph& graph, const std::vector<Stage>& stages);

// Calls read(value) once for each value that a stage reads.
template <class Read>
void for_each_read(const Stage& stage, Read&& read) {
  if (stage.input >= 0) read(stage.input);
  if (stage.residual >= 0 && stage.residual != stage.input) read(stage.residual);
}

// Bytes of values alive while each stage runs, what it reads and makes included; each value takes whole cache lines.
std::vector<int64_t> live_bytes(const Graph& graph, const std::vector<Stage>& stages, const std::vector<Life>& lives);

// Whether the value a stage reads first is in the arena and is read for the last time: its output may slide over it.
inline bool frees_input(const Stage& stage, int index, const std::vector<Life>& lives) {
  const Life& life = lives[size_t(stage.input)];
  return life.maker >= 0 && life.last_reader == index;
}

}  // namespace mbinfer
