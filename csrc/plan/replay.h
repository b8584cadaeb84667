// The row loop without kernels: what a segment needs (rings, slide, multiply-adds), and the checker that a plan is
// sound.
#pragma once

#include <vector>

#include "plan/lives.h"
#include "plan/plan.h"

namespace mbinfer {

struct SegmentNeeds {
  std::vector<int> ring_rows;  // by stage of the segment: rows of its output alive at once
  int source_rows = 0;         // rows of the segment's input alive at once, when they arrive as they are needed
  int64_t slide = 0;           // least distance from the output's start up to the input's, when the output lies lower
  std::vector<int64_t> stage_macs;
};

// The plan may say no more yet than its stages and segments. lives: of its stages. made: room for a number by stage,
// which calls for one segment after the other share.
SegmentNeeds measure_segment(const Graph& graph, const Lives& lives, const Plan& plan, const Segment& segment,
                             std::vector<int>* made);

// One step of a segment: rows [r0, r1) of a stage's output being made, and the rows that are alive meanwhile, which
// somebody reads in this step or later, of each value in the arena that the segment reads or makes. Steps of further
// chunks in which nothing changes are left out.
struct TracedStep {
  struct Live {
    int value, begin, end;
    bool operator==(const Live& o) const { return value == o.value && begin == o.begin && end == o.end; }
  };
  int stage, r0, r1;
  std::vector<Live> live;
};

std::vector<TracedStep> trace_segment(const Graph& graph, const Plan& plan, int segment);

// Runs the whole plan over a shadow arena in which each 32 bytes know the row that owns them. Returns "" or what is
// wrong: a row read after something else overwrote it, a row never made, a buffer outside the arena.
std::string check_plan(const Graph& graph, const Plan& plan);

}  // namespace mbinfer
