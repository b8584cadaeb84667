// From nodes to stages.
#pragma once

#include "plan/homes.h"
#include "plan/plan.h"

namespace mbinfer {

// What is fused into one stage: nothing; inverted residual and depthwise-separable blocks, heads (1x1 convolution,
// global pool, dense) and convolutions with an addition; or, beyond the paper, also blocks whose expansion is not 1x1
// (a stem and the depthwise-separable block after it). An input's conversion for one convolution is always part of it.
enum class Fusion { kNone, kBlocks, kAnyExpansion };

struct StageRules {
  int threads;         // that run them
  const Homes& homes;  // what is placed there is no stage
  // Of so many bytes on, what can be made again by each of those that read it is not held for them.
  int64_t twice_from = INT64_MAX;
};

// What follows a depthwise convolution whose output is multiplied by a gate made of its means (arXiv 1709.01507), by
// node; -1 where something else does. Such a block can run twice: for the means, and for the product.
struct GatedBlock {
  int pool = -1, product = -1, projection = -1;
};
GatedBlock gated_block(const Graph& graph, int node);

// Whether several depthwise convolutions, and nothing else, read what a 1x1 convolution makes, as where a detector's
// heads read inside of a block: each of them can make the rows that it filters.
bool read_by_filters(const Graph& graph, int node);

// Every node in exactly one stage, but those that are placed or made again, in the graph's order. Nodes marked in
// `apart` are not fused.
Stages make_stages(const Graph& graph, Fusion fusion, const StageRules& rules, const std::vector<bool>& apart = {});

// What it goes by: its last part.
Text stage_name(const Graph& graph, const Stage& stage);

// Multiply-adds of its parts, without those that another stage runs too.
int64_t macs(const Graph& graph, const Stage& stage);

// Whether two stages do the same with other weights, as blocks that are repeated do: the ways to run one are those of
// the other, and take as much.
bool alike(const Graph& graph, const Stage& a, const Stage& b);

// Of those before it, the number of a stage that is alike; -1: none of the last few is.
int alike_before(const Graph& graph, const Stage* stages, int stage);

// Why the nodes around a stage were not fused into it; "" where nothing has to be said.
std::string why_apart(const Graph& graph, const Stage& stage);

// Channels that pass through the part of a block that is split; 0 in other stages.
int expanded_channels(const Graph& graph, const Stage& stage);

inline int chunk_count(const Graph& graph, const Stage& stage) {
  return stage.chunk ? ceil_div(expanded_channels(graph, stage), stage.chunk) : 1;
}

// Whether a strip is made in steps of fewer rows: by a block, and by what filters rows on its own.
bool in_steps(const Graph& graph, const Stage& stage);

// Whether rows of a pulled input come step by step; where each chunk reads them all again, they come strip by strip.
inline bool pulled_by_step(const Graph& graph, const Stage& stage) { return chunk_count(graph, stage) == 1; }

}  // namespace mbinfer
