// A plan in names and bytes. Whoever shows one (C, Python, the command line) takes it from here, and from here only.
#pragma once

#include <string>
#include <vector>

#include "plan/plan.h"

namespace mbinfer {

// Strings belong to the graph and the plan, and live as long as they do.
struct PassInfo {                      // what threads do between two times that they wait for one another
  std::vector<const char*> operators;  // one after the other
  const char* axis;                    // of what they make, that they cut: rows, pixels, panels (of channels)
};

struct StageInfo {
  const char *name, *kind;
  std::vector<const char*> nodes;   // in the order in which they run
  std::vector<const char*> inputs;  // values: what it filters, then what it adds
  const char* output;
  Shape output_shape;
  int rows, step;            // output rows of a strip, and those made at a time within it
  int chunk, chunks;         // channels of the expanded tensor at a time (0: it has none), and how often
  bool keep;                 // expanded rows stay from strip to strip
  int ring_rows;             // of the output, in the arena at once
  int64_t macs, extra_macs;  // of the network, and what recomputation adds
  int64_t scratch_bytes;
  int64_t bytes;  // of values read and written and of weights read, each once
  std::vector<PassInfo> passes;
  std::string why;  // why the nodes around it are not part of it; "" where nothing had to be said
};

struct SegmentInfo {
  std::vector<StageInfo> stages;
};

struct BufferInfo {  // a range of the arena in use from segment `first` to segment `last`, both included
  const char *name, *kind;
  int64_t offset, bytes;
  int rows;  // of a value or of kept expanded rows; 0 of scratch
  int first, last;
};

struct TimelineInfo {  // the arena while one segment runs
  int segment;
  const char* name;  // of its last stage
  std::vector<BufferInfo> buffers;
  int64_t live_bytes;  // of all its buffers; bytes that an output shares with the input under it count twice
  int64_t top_bytes;   // where the highest buffer ends
};

struct TracedValueInfo {  // a value that lies in the arena while a segment runs
  const char* name;
  int64_t offset;
  int rows;  // in the arena at once: row r lies at offset + r % rows * row_bytes
  int64_t row_bytes;
  int height;
};

struct LiveRowsInfo {  // rows [first, end) of a value
  const char* value;
  int first, end;
};

struct TraceStepInfo {  // a stage makes rows [first, end) of its output, while `live` rows are still needed
  const char* stage;
  int first, end;
  std::vector<LiveRowsInfo> live;
};

struct TraceInfo {
  std::vector<TracedValueInfo> values;
  std::vector<TraceStepInfo> steps;
};

struct PlanInfo {  // what it costs
  const char *schedule, *isa;
  int threads;
  int64_t peak_bytes, input_bytes;
  std::vector<int> input_rows;
  int64_t naive_bytes, layerwise_bytes, fused_bytes, lower_bound_bytes, weight_bytes;
  int64_t macs, extra_macs, moved_bytes, state_bytes;
  double cycles;
  std::vector<const char*> shortcuts;  // what planning did not look through to the end
};

struct Planned {  // a graph, its plan, and what runs it
  const Graph& graph;
  const Plan& plan;
  const char* isa;
  int threads;
};

PlanInfo describe_plan(const Planned& planned);
std::vector<SegmentInfo> describe_segments(const Graph& graph, const Plan& plan);
std::vector<BufferInfo> describe_buffers(const Graph& graph, const Plan& plan);
std::vector<TimelineInfo> describe_timeline(const Graph& graph, const Plan& plan);
TraceInfo describe_trace(const Graph& graph, const Plan& plan, int segment);  // Error(kArgument): no such segment

// The plan, its segments and its timeline as one JSON object, with the names of the fields above.
std::string plan_json(const Planned& planned);

}  // namespace mbinfer
