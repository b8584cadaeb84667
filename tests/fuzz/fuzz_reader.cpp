// libFuzzer target on the reader. The bytes are a model file; its mutator changes records and then mends counts,
// offsets and checksums, so that the checks behind those are reached. A file is refused as damaged or unsupported, or
// it is a model of which the planner makes sound plans and which, if it is small, runs to the same bits on two
// schedules.
#include <cstdio>
#include <cstdlib>

#include "exec/session.h"
#include "model_file.h"
#include "plan/replay.h"

using namespace mbinfer;

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t most);

namespace {

void demand(bool ok, const std::string& what) {
  if (ok) return;
  std::fprintf(stderr, "FOUND: %s\n", what.c_str());
  std::abort();
}

constexpr int64_t kSmallArena = 1 << 20, kSmallWork = 1 << 21;

using Outputs = std::vector<std::vector<float>>;

Outputs run(const std::shared_ptr<const Model>& model, Schedule schedule) {
  SessionOptions options;
  options.plan.schedule = schedule;
  Session session(model, options);
  const Graph& graph = model->graph;
  std::vector<std::vector<float>> data;
  std::vector<Picture> pictures;
  for (const GraphInput& in : graph.inputs) {
    data.emplace_back(size_t(graph.values[size_t(in.value)].shape.elements()), 0.5f);
    pictures.push_back({data.back().data(), DType::kFloat32});
  }
  Outputs outputs;
  std::vector<void*> pointers;
  for (const GraphOutput& out : graph.outputs)
    pointers.push_back(outputs.emplace_back(size_t(graph.values[size_t(out.value)].shape.elements())).data());
  // What a run reads before it wrote it is NaN, or 255; states alone have a content.
  std::memset(const_cast<uint8_t*>(session.arena()), 0xFF, size_t(session.plan().peak_bytes));
  session.reset();
  for (int run = graph.states.empty() ? 1 : 3; run > 0; run--) session.run(pictures.data(), pointers.data());
  demand(session.canaries_intact(), "a run wrote outside its arena");
  return outputs;
}

bool same(const Outputs& a, const Outputs& b) {
  for (size_t i = 0; i < a.size(); i++)
    for (size_t k = 0; k < a[i].size(); k++)
      if (std::memcmp(&a[i][k], &b[i][k], 4) && !(a[i][k] != a[i][k] && b[i][k] != b[i][k])) return false;
  return true;
}

void check(const std::shared_ptr<const Model>& model) {
  int64_t work = 0, most = 0;
  for (const Node& node : model->graph.nodes) work += macs(model->graph, node);
  for (const Value& value : model->graph.values) most = std::max(most, value.shape.elements());
  bool small = work <= kSmallWork && most <= kSmallArena / 4;
  for (Schedule schedule : {Schedule::kNaive, Schedule::kAuto}) {
    PlanOptions options;
    options.schedule = schedule;
    const Plan plan = make_plan(model->graph, options);
    if (small) demand(check_plan(model->graph, plan).empty(), "an unsound plan: " + check_plan(model->graph, plan));
    small = small && plan.peak_bytes <= kSmallArena;
  }
  if (small) demand(same(run(model, Schedule::kNaive), run(model, Schedule::kAuto)), "two schedules give other bits");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    check(read_model(Source::from_memory(data, size)));
  } catch (const Error& error) {
    demand(error.kind == ErrorKind::kFormat || error.kind == ErrorKind::kUnsupported, error.what());
  }
  return 0;
}

#ifdef MBINFER_LIBFUZZER
namespace {

template <class T>
void mutate(std::vector<T>* records, size_t pick, bool resize) {
  if (records->empty()) records->emplace_back();
  if (resize) {  // one more, or one less
    if (pick % 2)
      records->push_back((*records)[pick / 2 % records->size()]);
    else
      records->erase(records->begin() + ptrdiff_t(pick / 2 % records->size()));
  } else {
    T& record = (*records)[pick % records->size()];
    LLVMFuzzerMutate(reinterpret_cast<uint8_t*>(&record), sizeof record, sizeof record);
  }
}

}  // namespace

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t most, unsigned seed) {
  if (seed % 16 == 0) return LLVMFuzzerMutate(data, size, most);  // a file like any other
  fuzz::ModelFile file = fuzz::ModelFile::parse(data, size);
  const size_t pick = seed >> 12;
  const bool resize = (seed >> 8) % 8 == 0;
  switch ((seed >> 4) % 13) {
    case 0:
      mutate(&file.values, pick, resize);
      break;
    case 1:
      mutate(&file.node_inputs, pick, resize);
      break;
    case 2:
      mutate(&file.inputs, pick, resize);
      break;
    case 3:
      mutate(&file.outputs, pick, resize);
      break;
    case 4:
      mutate(&file.quants, pick, resize);
      break;
    case 5:
      mutate(&file.metadata, pick, resize);
      break;
    case 6:
      mutate(&file.labels, pick, resize);
      break;
    case 7:
      mutate(&file.strings, pick, resize);
      break;
    case 8:
      file.weights.resize(pick % 8 ? file.weights.size() + 64 * (pick % 64) : file.weights.size() / 2);
      break;
    case 9:
      mutate(&file.states, pick, resize);
      break;
    default:
      mutate(&file.nodes, pick, resize);
  }
  const fuzz::Bytes bytes = file.encode();
  if (bytes.size() > most) return size;
  std::memcpy(data, bytes.data(), bytes.size());
  return bytes.size();
}
#endif
