// What each instruction set's kernels of each type cost: the constants of the cost model, and where they were measured.
#pragma once

#include <cstdint>
#include <string>

#include "common.h"

namespace mbinfer {

// What the time of a stage is a sum of. Vectors are of a panel's channels.
enum CostTerm {
  kTiles,       // register tiles of the matrix kernel started
  kTileInputs,  // their multiplications: tiles times input channels
  kVectors,     // output vectors of depthwise convolutions and pools
  kVectorTaps,  // their multiplications
  kCalls,       // kernel calls
  kSteps,       // parts run in a step: views of its rows, threads that meet
  kElements,    // vectors copied, added or normalised
  kFarWeights,  // lines of weights read from beyond the second-level cache
  kFarRows,     // lines of whole values written and read beyond it, by a segment
  kCostTerms
};

// Kernels of one type on one instruction set: cycles of each term, and the tile by which terms are counted.
struct Costs {
  double cycles[kCostTerms];
  int tile_pixels, tile_panels;
};

struct CostModel {  // of a machine
  Costs real, bytes;
  int64_t second_cache;  // bytes of the second-level cache that a stage may count on
  // Cycles that a multiply-add done again counts beside its time: more than 0 to look for plans that do few.
  double again = 0;

  const Costs& of(const Type& type) const { return size_of(type) == 1 ? bytes : real; }
};

// Of the instruction set so named; the nearest that was measured where it is another, or "".
CostModel cost_model(const std::string& isa);

}  // namespace mbinfer
