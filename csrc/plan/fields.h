// The fields of a description by name, in the order in which everyone shows them: what JSON and Python are made from.
#pragma once

#include "plan/describe.h"

namespace mbinfer {

template <class Visit>
void for_each_field(const PassInfo& p, Visit&& visit) {
  visit("operators", p.operators);
  visit("axis", p.axis);
}

template <class Visit>
void for_each_field(const StageInfo& s, Visit&& visit) {
  visit("name", s.name);
  visit("kind", s.kind);
  visit("nodes", s.nodes);
  visit("inputs", s.inputs);
  visit("output", s.output);
  visit("output_shape", s.output_shape);
  visit("rows", s.rows);
  visit("step", s.step);
  visit("chunk", s.chunk);
  visit("chunks", s.chunks);
  visit("keep", s.keep);
  visit("ring_rows", s.ring_rows);
  visit("macs", s.macs);
  visit("extra_macs", s.extra_macs);
  visit("scratch_bytes", s.scratch_bytes);
  visit("bytes", s.bytes);
  visit("passes", s.passes);
  visit("why", s.why.c_str());
}

template <class Visit>
void for_each_field(const SegmentInfo& s, Visit&& visit) {
  visit("stages", s.stages);
}

template <class Visit>
void for_each_field(const BufferInfo& b, Visit&& visit) {
  visit("name", b.name);
  visit("kind", b.kind);
  visit("offset", b.offset);
  visit("bytes", b.bytes);
  visit("rows", b.rows);
  visit("first", b.first);
  visit("last", b.last);
}

template <class Visit>
void for_each_field(const TimelineInfo& t, Visit&& visit) {
  visit("segment", t.segment);
  visit("name", t.name);
  visit("buffers", t.buffers);
  visit("live_bytes", t.live_bytes);
  visit("top_bytes", t.top_bytes);
}

template <class Visit>
void for_each_field(const TracedValueInfo& v, Visit&& visit) {
  visit("name", v.name);
  visit("offset", v.offset);
  visit("rows", v.rows);
  visit("row_bytes", v.row_bytes);
  visit("height", v.height);
}

template <class Visit>
void for_each_field(const LiveRowsInfo& l, Visit&& visit) {
  visit("value", l.value);
  visit("first", l.first);
  visit("end", l.end);
}

template <class Visit>
void for_each_field(const TraceStepInfo& s, Visit&& visit) {
  visit("stage", s.stage);
  visit("first", s.first);
  visit("end", s.end);
  visit("live", s.live);
}

template <class Visit>
void for_each_field(const TraceInfo& t, Visit&& visit) {
  visit("values", t.values);
  visit("steps", t.steps);
}

template <class Visit>
void for_each_field(const PlanInfo& p, Visit&& visit) {
  visit("schedule", p.schedule);
  visit("isa", p.isa);
  visit("threads", p.threads);
  visit("peak_bytes", p.peak_bytes);
  visit("input_bytes", p.input_bytes);
  visit("input_rows", p.input_rows);
  visit("naive_bytes", p.naive_bytes);
  visit("layerwise_bytes", p.layerwise_bytes);
  visit("fused_bytes", p.fused_bytes);
  visit("lower_bound_bytes", p.lower_bound_bytes);
  visit("weight_bytes", p.weight_bytes);
  visit("macs", p.macs);
  visit("extra_macs", p.extra_macs);
  visit("moved_bytes", p.moved_bytes);
  visit("state_bytes", p.state_bytes);
  visit("cycles", p.cycles);
  visit("shortcuts", p.shortcuts);
}

}  // namespace mbinfer
