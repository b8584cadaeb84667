#include "exec/session.h"

#include <climits>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "exec/runner.h"
#include "kernels/dispatch.h"
#include "plan/replay.h"
#include "plan/rows.h"

#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace mbinfer {
namespace {

// The search for a plan takes up to a megabyte of heap for a moment; a board has a use for it.
Plan plan_and_trim(const Graph& graph, const PlanOptions& options) {
  Plan plan = make_plan(graph, options);
#if defined(__GLIBC__)
  malloc_trim(0);
#endif
  return plan;
}

constexpr uint64_t kCanary = 0xC0FFEE5EEDBADC0D;
constexpr size_t kCanaryBytes = kArenaAlign;

}  // namespace

void Session::Free::operator()(uint8_t* p) const { std::free(p - kCanaryBytes); }

Session::Session(std::shared_ptr<const Model> model, const SessionOptions& options)
    : model_(std::move(model)),
      plan_(plan_and_trim(model_->graph, options.plan)),
      kernels_(select_kernels(options.isa)),
      pool_(options.plan.threads) {
#ifndef NDEBUG
  std::string wrong = check_plan(graph(), plan_);
  if (!wrong.empty()) throw Error(ErrorKind::kInternal, "unsound plan: " + wrong);
#endif
  // The arena stands between two canaries: a kernel that leaves it is found out.
  void* block = nullptr;
  if (posix_memalign(&block, kArenaAlign, size_t(plan_.peak_bytes) + 2 * kCanaryBytes)) throw std::bad_alloc();
  arena_.reset(static_cast<uint8_t*>(block) + kCanaryBytes);
  // The memory is taken now, not in the middle of the first run.
  std::memset(arena_.get(), 0, size_t(plan_.peak_bytes));
  for (size_t i = 0; i < kCanaryBytes; i += sizeof kCanary) {
    std::memcpy(arena_.get() - kCanaryBytes + i, &kCanary, sizeof kCanary);
    std::memcpy(arena_.get() + plan_.peak_bytes + i, &kCanary, sizeof kCanary);
  }
  model_->source->populate();
  pictures_.resize(graph().values.size());
  produced_.assign(size_t(pool_.threads()), std::vector<int>(plan_.stages.size(), 0));
}

bool Session::canaries_intact() const {
  for (size_t i = 0; i < kCanaryBytes; i += sizeof kCanary)
    if (std::memcmp(arena_.get() - kCanaryBytes + i, &kCanary, sizeof kCanary) ||
        std::memcmp(arena_.get() + plan_.peak_bytes + i, &kCanary, sizeof kCanary))
      return false;
  return true;
}

void Session::check_not_inside() const {
  if (runner_.load() == std::this_thread::get_id())
    throw Error(ErrorKind::kArgument, "the session is running: its rows cannot come from a run of the same session");
}

void Session::check_input(size_t input, DType dtype) const {
  check_not_inside();
  if (dtype == DType::kUint8 && !graph().inputs[input].recipe.present)
    throw Error(ErrorKind::kShape,
                "input '" + graph().values[graph().inputs[input].value].name +
                    "' is uint8, but the model has no recipe to normalise it; convert it with mean= and "
                    "scale=, or give a normalised float32 array");
}

void Session::run(const Picture* inputs, float* const* outputs, StageTime* times) {
  for (size_t i = 0; i < graph().inputs.size(); i++) check_input(i, inputs[i].dtype);
  std::lock_guard<std::mutex> lock(running_);
  for (size_t i = 0; i < graph().inputs.size(); i++) pictures_[graph().inputs[i].value] = inputs[i];
  execute(outputs, times);
}

void Session::run_rows(DType dtype, RowSource rows, float* const* outputs) {
  if (graph().inputs.size() != 1)
    throw Error(ErrorKind::kShape,
                "rows can be pulled for a model with one input; this one has " + std::to_string(graph().inputs.size()));
  check_input(0, dtype);
  std::lock_guard<std::mutex> lock(running_);
  const Value& image = graph().values[graph().inputs[0].value];
  pulled_rows_.resize(size_t(plan_.input_rows[0]) * image.shape.width * image.shape.channels * size_of(dtype));
  pictures_[graph().inputs[0].value] = {pulled_rows_.data(), dtype};
  source_ = rows;
  pulled_ = 0;
  execute(outputs, nullptr);
}

void Session::pull(int upto) {
  const Value& image = graph().values[graph().inputs[0].value];
  const size_t row = pulled_rows_.size() / size_t(plan_.input_rows[0]);
  try {
    for (; pulled_ < upto && !failure_; pulled_++)
      source_.pull(source_.context, pulled_,
                   pulled_rows_.data() + size_t(pulled_ % std::min(plan_.input_rows[0], image.shape.height)) * row);
  } catch (...) {
    failure_ = std::current_exception();
  }
}

void Session::execute(float* const* outputs, StageTime* times) {
  runner_ = std::this_thread::get_id();
  auto body = [&](int thread) {
    Runner runner(*this, thread);
    for (int g = 0; g < int(plan_.segments.size()); g++) {
      runner.enter(g);
      run_segment(graph(), plan_, plan_.segments[g], produced_[thread].data(),
                  [&](int stage, int r0, int r1) { runner.strip(stage, r0, r1, times); });
    }
  };
  pool_.run(body);
  if (source_.pull && !failure_) pull(graph().values[graph().inputs[0].value].shape.height);
  source_ = {nullptr, nullptr};
  runner_ = std::thread::id();
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
  for (size_t i = 0; i < graph().outputs.size(); i++) {
    const int v = graph().outputs[i].value;
    const Value& value = graph().values[v];
    const float* from = reinterpret_cast<const float*>(arena_.get() + plan_.values[v].at(INT_MAX - 1));
    float* to = outputs[i];
    for (int64_t p = 0; p < value.shape.pixels(); p++, from += value.stride(), to += value.shape.channels)
      std::memcpy(to, from, size_t(value.shape.channels) * sizeof(float));
  }
}

}  // namespace mbinfer
