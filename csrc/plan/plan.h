// The plan: what runs, in which order, in which bytes of the arena. The executor needs nothing else.
//
//   segment   stages run depth-first, row by row; its last stage's output is a whole value
//   stage     [expand 1x1] -> [spatial: depthwise, pool, ...] -> [project: conv] -> [add], every part optional
//   strip     the rows that a stage makes at a time; chunk: the channels of the expanded tensor it holds at a time
//
// A node on its own is a stage with one part, so layer-by-layer execution, the MobileNetV2 paper's fused block (Sandler
// et al. 2018, section 5) and streaming are three choices of stages and segments, not three programs.
#pragma once

#include <climits>
#include <string>
#include <vector>

#include "model/graph.h"

namespace mbinfer {

enum class Schedule { kNaive, kLayerwise, kFused, kStreamed, kAuto };
constexpr Schedule kSchedules[] = {Schedule::kNaive, Schedule::kLayerwise, Schedule::kFused, Schedule::kStreamed,
                                   Schedule::kAuto};
const char* schedule_name(Schedule schedule);
Schedule schedule_from_name(const std::string& name);  // Error(kArgument) lists the names

struct PlanOptions {
  Schedule schedule = Schedule::kAuto;
  int64_t memory_limit = -1;  // arena bytes; -1: none
  bool least = false;         // the smallest arena, at any cost
  bool recompute = true;      // expanded rows may be made again; false: no multiply-add is done twice
  int threads = 1;
  int chunks = 0;  // 0: chosen; t: every bottleneck block is split t ways over its whole map, as in the paper
};

struct Stage {
  std::string name;
  int expand = -1, spatial = -1, project = -1, add = -1;  // nodes
  int load = -1;                                          // a graph input copied (and normalised) into the arena
  int input = -1, residual = -1, output = -1;             // values
  std::string why;                                        // why the nodes around it were not fused into it

  int rows = 0;   // strip: output rows at a time
  int chunk = 0;  // channels of the expanded tensor at a time; 0 without a spatial part between convolutions
  int step = 0;   // within a strip, for each chunk: rows at a time (of the output; of the input under a global pool)
  bool keep = false;  // expanded rows stay from strip to strip; otherwise each strip expands its first rows again

  // Scratch. The expanded buffer is a ring of `expanded_rows` rows of one chunk; with `keep` one such ring for each
  // chunk.
  int expanded_rows = 0;
  int patches = 1;  // one for each thread
  int64_t expanded_bytes = 0, spatial_bytes = 0, patch_bytes = 0;
  int64_t expanded_offset = 0, spatial_offset = 0, patch_offset = 0;

  int64_t macs = 0, extra_macs = 0;  // of the operator, and what recomputation adds

  bool bottleneck() const { return spatial >= 0 && (expand >= 0 || project >= 0); }
  int64_t transient_bytes() const { return (keep ? 0 : expanded_bytes) + spatial_bytes + patch_bytes; }
};

struct Segment {
  int first = 0, last = 0;  // stages [first, last)
};

struct Placement {
  enum Kind { kAbsent, kExternal, kArena } kind = kAbsent;  // absent: inside a stage; external: the caller holds it
  int64_t offset = 0;
  int rows = 0;  // fewer than the value's height: a ring
  // A value that slid down over another one may be moved before segment `moved_before`, its last reader, so that the
  // next one has room to slide over it.
  int moved_before = INT_MAX;
  int64_t moved_offset = 0;
  int64_t at(int segment) const { return segment < moved_before ? offset : moved_offset; }
};

// A range of the arena in use from segment `first` to segment `last`, both included.
struct Buffer {
  enum Kind { kValue, kRing, kExpanded, kScratch } kind;
  int index;  // kValue, kRing: value; kExpanded (kept rows): stage; kScratch: segment
  int64_t offset, bytes;
  int first, last;
};

struct Plan {
  Schedule schedule = Schedule::kFused;
  std::vector<Stage> stages;
  std::vector<Segment> segments;
  std::vector<Placement> values;  // by value of the graph
  std::vector<Buffer> buffers;

  int64_t peak_bytes = 0;         // the arena
  int64_t lower_bound_bytes = 0;  // no order and no placement of these stages needs less
  int64_t naive_bytes = 0, layerwise_bytes = 0, fused_bytes = 0;
  int64_t input_bytes = 0;      // what the caller holds: whole images
  std::vector<int> input_rows;  // by graph input: rows to be held when rows are pulled one by one
  int64_t macs = 0, extra_macs = 0;
  int64_t moved_bytes = 0;  // of values that change their place
  double cycles = 0;        // by the cost model
};

// Error(kMemoryLimit) names the least that would do; Error(kUnsupported) a node that cannot run.
Plan make_plan(const Graph& graph, const PlanOptions& options);

constexpr int kMaxKernel = 64;       // rows of a kernel or pool window; a global pool has no such bound
constexpr int64_t kArenaAlign = 64;  // of every buffer: a cache line, and the widest vector

}  // namespace mbinfer
