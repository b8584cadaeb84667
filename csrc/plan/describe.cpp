#include "plan/describe.h"

#include <algorithm>

#include "plan/replay.h"
#include "plan/rows.h"
#include "plan/stages.h"
#include "plan/views.h"
#include "plan/work.h"

namespace mbinfer {
namespace {

const char* stage_kind(const Graph& graph, const Stage& s) {
  auto node = [&](int p) -> const Node& { return graph.nodes[s.parts[p].node]; };
  if (s.bottleneck()) return info_of(node(s.split).op).area == Area::kWhole ? "head" : "bottleneck";
  if (!node(s.last()).mixes_channels()) return op_name(node(s.last()).op);
  const Shape& out = graph.values[s.output].shape;
  return out.height == 1 && out.width == 1 ? "dense" : "conv";
}

std::vector<int> inputs_of(const Graph& graph, const Stage& s) {
  const Node& first = graph.nodes[s.parts[0].node];
  if (gathers(first)) return {first.inputs.begin(), first.inputs.end()};
  std::vector<int> inputs;
  for (int v : {s.input, s.residual, s.gate})
    if (v >= 0) inputs.push_back(v);
  return inputs;
}

int64_t bytes_moved(const Graph& graph, const Stage& s) {
  int64_t bytes = graph.values[s.output].bytes();
  for (int v : inputs_of(graph, s))
    if (v != s.gate) bytes += graph.values[v].bytes();
  for (int p = 0; p < s.part_count(); p++) {
    const Node& node = graph.nodes[s.parts[p].node];
    bytes += node.weight_bytes + bias_bytes(graph, node);
  }
  return bytes;
}

PassInfo describe_pass(const Graph& graph, const Stage& s, const Pass& pass) {
  static const char* const kAxes[] = {"rows", "pixels", "panels"};
  PassInfo info = {{}, kAxes[int(pass.axis)]};
  for (int p = pass.first; p < pass.last; p++) info.operators.push_back(op_name(graph.nodes[s.parts[p].node].op));
  return info;
}

StageInfo describe_stage(const Graph& graph, const Plan& plan, const Stage& s) {
  StageInfo info = {};
  info.name = stage_name(graph, s).c_str();
  info.kind = stage_kind(graph, s);
  for (int p = 0; p < s.part_count(); p++)  // conversions are no nodes of the model, and have no name
    for (int n : {s.parts[p].node, s.parts[p].add})
      if (n >= 0 && *graph.nodes[n].name.c_str()) info.nodes.push_back(graph.nodes[n].name.c_str());
  for (int v : inputs_of(graph, s)) info.inputs.push_back(graph.values[v].name.c_str());
  info.output = graph.values[s.output].name.c_str();
  info.output_shape = graph.values[s.output].shape;
  info.rows = s.rows;
  info.step = s.step;
  info.chunk = s.chunk;
  info.chunks = chunk_count(graph, s);
  info.keep = s.keep;
  info.ring_rows = plan.values[s.output].rows;
  info.macs = macs(graph, s);
  info.extra_macs = s.extra_macs;
  info.scratch_bytes = s.scratch_bytes();
  info.bytes = bytes_moved(graph, s);
  for (int i = 0; i < s.pass_count; i++) info.passes.push_back(describe_pass(graph, s, s.passes[i]));
  info.why = why_apart(graph, s);
  return info;
}

// A segment goes by the name of its last stage.
const char* segment_name(const Graph& graph, const Plan& plan, int segment) {
  return stage_name(graph, plan.stages[plan.segments[segment].last - 1]).c_str();
}

BufferInfo describe_buffer(const Graph& graph, const Plan& plan, const Buffer& b) {
  switch (b.kind) {
    case Buffer::kValue:
    case Buffer::kRing:
      return {graph.values[b.index].name.c_str(),
              b.kind == Buffer::kValue ? "value" : "ring",
              b.offset,
              b.bytes,
              plan.values[b.index].rows,
              b.first,
              b.last};
    case Buffer::kExpanded:
      return {stage_name(graph, plan.stages[b.index]).c_str(), "expanded", b.offset, b.bytes,
              int(plan.stages[b.index].kept().rows),           b.first,    b.last};
    case Buffer::kScratch:
      break;
  }
  return {segment_name(graph, plan, b.first), "scratch", b.offset, b.bytes, 0, b.first, b.last};
}

std::vector<const char*> shortcut_words(unsigned shortcuts) {
  std::vector<const char*> words;
  if (shortcuts & kOrderShortcut) words.push_back("order");
  if (shortcuts & kPlacementShortcut) words.push_back("placement");
  if (shortcuts & kStripShortcut) words.push_back("strips");
  if (shortcuts & kSegmentShortcut) words.push_back("segments");
  return words;
}

}  // namespace

PlanInfo describe_plan(const Planned& planned) {
  const Plan& p = planned.plan;
  PlanInfo info = {};
  info.schedule = schedule_name(p.schedule);
  info.isa = planned.isa;
  info.threads = planned.threads;
  info.peak_bytes = p.peak_bytes;
  info.input_bytes = p.input_bytes;
  info.input_rows = p.input_rows;
  info.naive_bytes = p.naive_bytes;
  info.layerwise_bytes = p.layerwise_bytes;
  info.fused_bytes = p.fused_bytes;
  info.lower_bound_bytes = p.lower_bound_bytes;
  info.weight_bytes = planned.graph.weight_bytes;
  info.macs = p.macs;
  info.extra_macs = p.extra_macs;
  info.moved_bytes = p.moved_bytes;
  info.state_bytes = p.state_bytes;
  info.cycles = p.cycles;
  info.shortcuts = shortcut_words(p.shortcuts);
  return info;
}

std::vector<SegmentInfo> describe_segments(const Graph& graph, const Plan& plan) {
  std::vector<SegmentInfo> segments(plan.segments.size());
  for (size_t g = 0; g < segments.size(); g++)
    for (int s = plan.segments[g].first; s < plan.segments[g].last; s++)
      segments[g].stages.push_back(describe_stage(graph, plan, plan.stages[s]));
  return segments;
}

std::vector<BufferInfo> describe_buffers(const Graph& graph, const Plan& plan) {
  std::vector<BufferInfo> buffers;
  for (const Buffer& b : plan.buffers) buffers.push_back(describe_buffer(graph, plan, b));
  return buffers;
}

std::vector<TimelineInfo> describe_timeline(const Graph& graph, const Plan& plan) {
  std::vector<TimelineInfo> timeline;
  for (int g = 0; g < int(plan.segments.size()); g++) {
    TimelineInfo now = {g, segment_name(graph, plan, g), {}, 0, 0};
    for (const Buffer& b : plan.buffers) {
      if (g < b.first || g > b.last) continue;
      now.buffers.push_back(describe_buffer(graph, plan, b));
      now.live_bytes += b.bytes;
      now.top_bytes = std::max(now.top_bytes, b.offset + b.bytes);
    }
    timeline.push_back(std::move(now));
  }
  return timeline;
}

TraceInfo describe_trace(const Graph& graph, const Plan& plan, int segment) {
  if (segment < 0 || segment >= int(plan.segments.size()))
    throw Error(ErrorKind::kArgument, "segment " + std::to_string(segment) + ": the plan has segments 0 to " +
                                          std::to_string(plan.segments.size() - 1));
  TraceInfo info;
  std::vector<bool> known(graph.values.size(), false);
  for (const TracedStep& step : trace_segment(graph, plan, segment)) {
    TraceStepInfo now = {stage_name(graph, plan.stages[step.stage]).c_str(), step.r0, step.r1, {}};
    for (const TracedStep::Live& live : step.live) {
      const Value& v = graph.values[live.value];
      now.live.push_back({v.name.c_str(), live.begin, live.end});
      if (known[live.value]) continue;
      known[live.value] = true;
      const View view = value_view(graph, plan, live.value, segment);
      info.values.push_back({v.name.c_str(), view.base, view.rows, view.row_stride, v.shape.height});
    }
    info.steps.push_back(std::move(now));
  }
  return info;
}

}  // namespace mbinfer
