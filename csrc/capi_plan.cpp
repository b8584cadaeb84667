#include "capi_plan.h"

namespace mbinfer {
namespace {

mbi_stage stage_of(const StageInfo& s, size_t segment) {
  mbi_stage stage = {};
  stage.name = s.name;
  stage.kind = s.kind;
  stage.segment = segment;
  stage.nodes = s.nodes.data();
  stage.node_count = s.nodes.size();
  stage.inputs = s.inputs.data();
  stage.input_count = s.inputs.size();
  stage.output = s.output;
  stage.height = s.output_shape.height;
  stage.width = s.output_shape.width;
  stage.channels = s.output_shape.channels;
  stage.rows = s.rows;
  stage.step = s.step;
  stage.chunk = s.chunk;
  stage.chunks = s.chunks;
  stage.keep = s.keep;
  stage.ring_rows = s.ring_rows;
  stage.macs = s.macs;
  stage.extra_macs = s.extra_macs;
  stage.scratch_bytes = s.scratch_bytes;
  stage.bytes = s.bytes;
  stage.why = s.why.c_str();
  return stage;
}

}  // namespace

PlanTables::PlanTables(const Planned& planned) : described_(describe_segments(planned.graph, planned.plan)) {
  const std::vector<TimelineInfo> timeline = describe_timeline(planned.graph, planned.plan);
  for (size_t g = 0; g < described_.size(); g++) {
    const size_t count = described_[g].stages.size();
    segments.push_back({timeline[g].name, stages.size(), count, timeline[g].live_bytes, timeline[g].top_bytes});
    for (const StageInfo& s : described_[g].stages) {
      stages.push_back(stage_of(s, g));
      stages.back().pass_count = s.passes.size();
      for (const PassInfo& p : s.passes) passes_.push_back({p.operators.data(), p.operators.size(), p.axis});
    }
  }
  const mbi_pass* next = passes_.data();  // which moves no more
  for (mbi_stage& stage : stages) {
    stage.passes = next;
    next += stage.pass_count;
  }
  for (const BufferInfo& b : describe_buffers(planned.graph, planned.plan))
    buffers.push_back({b.name, b.kind, b.offset, b.bytes, b.rows, size_t(b.first), size_t(b.last)});
}

}  // namespace mbinfer
