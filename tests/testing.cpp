// The extension module _testing: what tests and benchmarks ask of the planner, and no user does. It takes sessions of
// mbinfer._core, and has to be built from the same source.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <tuple>

#include "exec/machine.h"
#include "exec/session.h"
#include "plan/arena.h"
#include "plan/cost.h"
#include "plan/replay.h"
#include "plan/rows.h"

namespace py = pybind11;
using namespace mbinfer;

namespace {

// What stages from `first` on need as one segment with these strips, steps, chunks and choices of keeping.
py::dict measure(const Session& session, int first, const std::vector<std::tuple<int, int, int, bool>>& splits) {
  Plan plan = session.plan();
  const Graph& graph = session.graph();
  const int count = int(splits.size());
  if (first < 0 || count < 1 || first + count > int(plan.stages.size()))
    throw Error(ErrorKind::kArgument, "the plan has no such stages");
  std::vector<int64_t> kept, transient;
  std::vector<double> cycles;
  const CostModel costs = cost_model(session.kernels().isa);
  for (int i = 0; i < count; i++) {
    Stage& s = plan.stages[first + i];
    std::tie(s.rows, s.step, s.chunk, s.keep) = splits[size_t(i)];
    size_scratch(graph, &s);
    kept.push_back(s.kept_bytes());
    transient.push_back(s.transient_bytes());
    cycles.push_back(StageCost(graph, costs, s).cycles(count_steps(graph, s), s.chunk));
  }
  const Homes homes = homes_of(plan);
  const Lives lives(graph, plan.stages, homes);
  std::vector<int> made(plan.stages.size());
  const SegmentNeeds needs = measure_segment(graph, lives, plan, {first, first + count}, &made);
  py::dict d;
  d["kept_bytes"] = kept;
  d["transient_bytes"] = transient;
  d["cycles"] = cycles;
  d["ring_rows"] = needs.ring_rows;
  d["slide"] = needs.slide;
  return d;
}

// Blocks (bytes, first, last) and slides (below, above, distance): offsets, and the size of the arena.
py::tuple place_blocks(const std::vector<std::tuple<int64_t, int, int>>& blocks,
                       const std::vector<std::tuple<int, int, int64_t>>& slides) {
  PageVector<Buffer> placed;
  std::vector<Slide> sliding;
  std::vector<int64_t> offsets;
  for (const auto& b : blocks) placed.emplace_back(Buffer::kValue, 0, std::get<0>(b), std::get<1>(b), std::get<2>(b));
  for (const auto& s : slides) sliding.push_back({std::get<0>(s), std::get<1>(s), std::get<2>(s)});
  Work work(cost_model(""));
  const int64_t size = place(&placed, sliding, kPlacementWork, &work);
  for (const Buffer& b : placed) offsets.push_back(b.offset);
  return py::make_tuple(offsets, size);
}

// The cost model's terms of each stage, for benchmarks/cost_model.py.
std::vector<std::vector<double>> stage_cost_terms(const Session& session) {
  std::vector<std::vector<double>> all;
  const Graph& graph = session.graph();
  const Plan& plan = session.plan();
  const CostModel costs = cost_model(session.kernels().isa);
  for (const Segment& segment : plan.segments)
    for (int s = segment.first; s < segment.last; s++) {
      const Stage& stage = plan.stages[s];
      CostTerms terms = StageCost(graph, costs, stage).terms(count_steps(graph, stage), stage.chunk);
      terms.of[kFarRows] = segment_end_lines(graph, costs, plan, segment, s,
                                             plan.values[plan.stages[s].input].kind == Placement::kArena);
      all.emplace_back(terms.of, terms.of + kCostTerms);
    }
  return all;
}

}  // namespace

PYBIND11_MODULE(_testing, m) {
  py::module_::import("mbinfer._core");  // whose sessions these are
  m.def("machine", [](const std::string& folder) {
    const Machine machine = folder.empty() ? mbinfer::machine() : machine_by_files(folder);
    return std::make_pair(machine.first_cache, machine.second_cache);
  });
  m.def("check", [](const Session& s) { return check_plan(s.graph(), s.plan()); }, py::arg("session"));
  m.def("canaries_intact", &Session::canaries_intact, py::arg("session"));
  m.def("measure", &measure, py::arg("session"), py::arg("first"), py::arg("splits"));
  m.def("cost_terms", &stage_cost_terms, py::arg("session"));
  m.def("place", &place_blocks, py::arg("blocks"), py::arg("slides"));
}
