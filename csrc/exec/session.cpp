#include "exec/session.h"

#include <algorithm>
#include <climits>
#include <cstring>
#include <mutex>

#include "exec/float_mode.h"
#include "exec/runner.h"
#include "kernels/dispatch.h"
#include "plan/replay.h"
#include "plan/rows.h"
#include "plan/states.h"

namespace mbinfer {
namespace {

// What the cost of a plan is reckoned with: the tile of the kernels that make most networks' time, those of matrices.
Tile tile_of(const Graph& graph, const KernelTable& kernels) {
  for (const Node& node : graph.nodes)
    if (node.mixes_channels()) return kernels.of(graph.values[node.output].type.dtype).tile;
  return kernels.of(Type().dtype).tile;
}

// Costs are compared in double: they may not depend on the caller's rounding.
Plan plan_for(const Graph& graph, PlanOptions options, const KernelTable& kernels) {
  const FloatMode mode;
  const Tile tile = tile_of(graph, kernels);
  options.tile_pixels = tile.pixels;
  options.tile_panels = tile.panels;
  options.isa = kernels.isa;
  return make_plan(graph, options);
}

// An array as its caller holds it: rows of pixels without padding.
Input input_of(const Graph& graph, const GraphInput& input, const Recipe& recipe, const void* data, DType dtype,
               int rows) {
  const Shape& shape = graph.values[input.value].shape;
  View view;
  view.memory = static_cast<char*>(const_cast<void*>(data));  // a view is of what may be written, too; this one is read
  view.rows = rows;
  view.pixel_stride = shape.channels * ptrdiff_t(size_of(dtype));
  view.row_stride = shape.width * view.pixel_stride;
  view.width = shape.width;
  const Type type = graph.values[input.value].type;
  const bool picture = input.recipe.present && dtype == type.dtype;
  return {view, dtype == type.dtype ? type : Type{dtype}, picture ? &recipe : nullptr};
}

// The recipe of an input, with a factor where its conversions make bytes and may do without a division.
Recipe recipe_of(const Graph& graph, const GraphInput& input, const KernelTable& kernels) {
  constexpr int kNumbers = 256, kChannels = 4;  // of a byte; of a pixel that is made
  const Value& image = graph.values[input.value];
  Recipe recipe = input.recipe;
  Type type;
  for (int node : image.consumers) {
    const Type& made = graph.values[graph.nodes[node].output].type;
    if (size_of(made) != 1) continue;
    if (size_of(type) == 1 && !(made == type)) return recipe;
    type = made;
  }
  if (!recipe.present || !(type.scale > 0)) return recipe;
  const FloatMode mode;
  const int channels = image.shape.channels;
  for (int c = 0; c < channels; c++) recipe.factor[c] = recipe.scale[c] / type.scale;
  uint8_t all[kNumbers * kChannels], divided[sizeof all], multiplied[sizeof all];
  for (int i = 0; i < kNumbers * channels; i++) all[i] = uint8_t(i / channels);
  ConvertArgs args = {all,      image.type, divided,   type,        channels,    kChannels,
                      kNumbers, channels,   kChannels, recipe.mean, recipe.scale};
  kernels.convert(&args);
  args.out = multiplied;
  args.factor = recipe.factor;
  kernels.convert(&args);
  recipe.has_factor = !std::memcmp(divided, multiplied, sizeof divided);
  return recipe;
}

constexpr uint64_t kCanary = 0xC0FFEE5EEDBADC0D;
constexpr size_t kCanaryBytes = kArenaAlign;

constexpr int64_t kMostTaken = int64_t(256) << 20;  // of an arena before its first run

// How long a run waits for a row that another run of the session pulls: it may come from this one.
constexpr int64_t kRowTimeout = 2000000000, kRowGlance = 50000000;

// Held over a fork by the thread that forks, so that the child finds it free.
std::mutex& fork_mutex() {
  static std::mutex mutex;
  static const int registered =
      pthread_atfork([] { fork_mutex().lock(); }, [] { fork_mutex().unlock(); }, [] { fork_mutex().unlock(); });
  return static_cast<void>(registered), mutex;
}

}  // namespace

void check_options(const SessionOptions& options) {
  const PlanOptions& plan = options.plan;
  auto require_range = [](const char* name, int value, int least, int most) {
    if (value < least || value > most)
      throw Error(ErrorKind::kArgument, std::string(name) + " is " + std::to_string(value) + ", it goes from " +
                                            std::to_string(least) + " to " + std::to_string(most));
  };
  require_range("threads", plan.threads, 1, kMaxThreads);
  require_range("chunks", plan.chunks, 0, kMaxChunks);
  if (!(plan.recompute >= 0))
    throw Error(ErrorKind::kArgument, "recompute is a share of the network's multiply-adds, 0 or more, not " +
                                          std::to_string(plan.recompute));
  if (plan.chunks && plan.schedule != Schedule::kAuto && plan.schedule != Schedule::kFused)
    throw Error(ErrorKind::kArgument, std::string("chunks split fused blocks, and the schedule '") +
                                          schedule_name(plan.schedule) + "' has none; use 'auto' or 'fused'");
}

Session::Session(std::shared_ptr<const Model> model, const SessionOptions& options)
    : model_(std::move(model)),
      kernels_(select_kernels(options.isa)),
      plan_(plan_for(model_->graph, options.plan, kernels_)),
      forks_(fork_count()),
      threads_(options.plan.threads),
      pool_(options.plan_only ? 1 : options.plan.threads, options.oversubscribe) {
#ifndef NDEBUG
  std::string wrong = check_plan(graph(), plan_);
  if (!wrong.empty()) throw Error(ErrorKind::kInternal, "unsound plan: " + wrong);
#endif
  if (options.plan_only) return;
  // The arena stands between two canaries: a kernel that leaves it is found out.
  block_ = Pages(size_t(plan_.peak_bytes) + 2 * kCanaryBytes);
  // The memory is taken now, not in the middle of the first run. What goes beyond networks' needs waits for that, so
  // that a hostile file costs no time.
  block_.take(size_t(kMostTaken));
  arena_ = reinterpret_cast<uint8_t*>(block_.data()) + kCanaryBytes;
  for (size_t i = 0; i < kCanaryBytes; i += sizeof kCanary) {
    std::memcpy(arena_ - kCanaryBytes + i, &kCanary, sizeof kCanary);
    std::memcpy(arena_ + plan_.peak_bytes + i, &kCanary, sizeof kCanary);
  }
  model_->source->check_unchanged();
  // Only what a node reads: a file may have holes of any size.
  for (const Node& node : graph().nodes) {
    model_->source->populate(node.weights, node.weight_bytes);
    model_->source->populate(node.bias, bias_bytes(graph(), node));
  }
  write_states();
  for (const GraphInput& input : graph().inputs) recipes_.push_back(recipe_of(graph(), input, kernels_));
  inputs_.assign(size_t(pool_.threads()), std::vector<Input>(graph().inputs.size()));
  produced_.assign(size_t(pool_.threads()), std::vector<int>(plan_.stages.size(), 0));
}

bool Session::canaries_intact() const {
  if (!arena_) return true;
  for (size_t i = 0; i < kCanaryBytes; i += sizeof kCanary)
    if (std::memcmp(arena_ - kCanaryBytes + i, &kCanary, sizeof kCanary) ||
        std::memcmp(arena_ + plan_.peak_bytes + i, &kCanary, sizeof kCanary))
      return false;
  return true;
}

Session::Turn::Turn(Session& session, ThreadPool::Poll poll) : session_(session), poll_(poll) {
  session_.after_fork();
  if (session_.running_thread_.load() == std::this_thread::get_id())
    throw Error(ErrorKind::kArgument, "the session is running: its rows cannot come from a run of the same session");
  unsigned row = 0;
  for (int64_t waited = 0; !session_.turn_.wait_for(kRowGlance); waited += kRowGlance) {
    if (poll.stop && poll.stop(poll.context)) throw Error(ErrorKind::kStopped, "the run was interrupted");
    const unsigned now = session_.row_in_pull_.load(std::memory_order_relaxed);
    if (!now || now != row) row = now, waited = 0;
    if (waited >= kRowTimeout)
      throw Error(ErrorKind::kArgument,
                  "the session is running, and has waited long for a row: where that row comes from, on whatever"
                  " thread, the same session cannot run");
  }
  session_.running_thread_ = std::this_thread::get_id();
}

Session::Turn::~Turn() {
  session_.running_thread_ = std::thread::id();
  session_.turn_.post();
}

// In the child of a fork: a run of another thread is not there any more. One of this thread is.
void Session::after_fork() {
  if (forks_ == fork_count()) return;
  std::lock_guard<std::mutex> lock(fork_mutex());
  if (forks_ == fork_count()) return;
  if (running_thread_.load() != std::this_thread::get_id()) {
    running_thread_ = std::thread::id();
    source_ = {nullptr, nullptr};
    row_in_pull_ = 0;
    turn_.reset(1);
  }
  forks_ = fork_count();
}

void Session::check_ready() const {
  if (!arena_) throw Error(ErrorKind::kArgument, "the session was opened for its plan only, and cannot run");
  model_->source->check_unchanged();
}

// An array of the type that the model says, or of real numbers.
void Session::check_input(size_t input, DType dtype) const {
  const Value& value = graph().values[graph().inputs[input].value];
  if (dtype == value.type.dtype || dtype == Type().dtype) return;
  const std::string hint = dtype == DType::kUint8
                               ? "is uint8, but the model has no recipe to normalise it; convert it with "
                                 "mean= and scale=, or give a normalised float32 array"
                               : "is of another dtype than the model takes";
  throw Error(ErrorKind::kShape, "input '" + value.name + "' " + hint);
}

void Session::run(const Turn& turn, const Picture* inputs, void* const* outputs, StageTime* times) {
  check_ready();
  for (size_t i = 0; i < graph().inputs.size(); i++) check_input(i, inputs[i].dtype);
  for (size_t i = 0; i < graph().inputs.size(); i++) {
    const GraphInput& input = graph().inputs[i];
    const int height = graph().values[input.value].shape.height;
    inputs_[0][i] = input_of(graph(), input, recipes_[i], inputs[i].data, inputs[i].dtype, height);
  }
  execute(outputs, times, turn.poll_);
}

void Session::run_rows(const Turn& turn, DType dtype, RowSource rows, void* const* outputs) {
  check_ready();
  if (graph().inputs.size() != 1)
    throw Error(ErrorKind::kShape,
                "rows can be pulled for a model with one input; this one has " + std::to_string(graph().inputs.size()));
  check_input(0, dtype);
  const Value& image = graph().values[graph().inputs[0].value];
  pulled_rows_.resize(size_t(plan_.input_rows[0]) * image.shape.width * image.shape.channels * size_of(dtype));
  const GraphInput& input = graph().inputs[0];
  inputs_[0][0] = input_of(graph(), input, recipes_[0], pulled_rows_.data(), dtype, plan_.input_rows[0]);
  pulled_ = 0;
  struct Source {
    Session& session;
    ~Source() { session.source_ = {nullptr, nullptr}; }
  } source = {*this};
  source_ = rows;
  execute(outputs, nullptr, turn.poll_);
}

void Session::pull(int upto) {
  const Value& image = graph().values[graph().inputs[0].value];
  const size_t row = pulled_rows_.size() / size_t(plan_.input_rows[0]);
  const FloatMode callers(callers_mode_);
  struct Waiting {
    std::atomic<unsigned>& row;
    ~Waiting() { row = 0; }
  } waiting = {row_in_pull_};
  for (; pulled_ < upto; pulled_++) {
    row_in_pull_.store(unsigned(pulled_) + 1, std::memory_order_relaxed);
    source_.pull(source_.context, pulled_,
                 pulled_rows_.data() + size_t(pulled_ % std::min(plan_.input_rows[0], image.shape.height)) * row);
  }
}

// All strips, on one thread.
void Session::make_passes(ThreadPool::Member& member, StageTime* times) {
  const size_t thread = size_t(member.thread());
  if (thread > 0) inputs_[thread] = inputs_[0];
  const RowPuller puller = {[](void* session, int upto) { static_cast<Session*>(session)->pull(upto); }, this};
  const Run run = {graph(),
                   plan_,
                   kernels_,
                   machine_,
                   reinterpret_cast<char*>(arena_),
                   inputs_[thread].data(),
                   source_.pull ? puller : RowPuller{}};
  Runner runner(run, member);
  member.joined();
  const FloatMode mode;
  for (int g = 0; g < int(plan_.segments.size()) && !member.stopped(); g++) {
    runner.enter(g);
    run_segment(graph(), plan_, plan_.segments[size_t(g)], produced_[thread].data(),
                [&](int stage, int r0, int r1, Rows steps) { runner.strip(stage, r0, r1, steps, times); });
  }
}

void Session::execute(void* const* outputs, StageTime* times, ThreadPool::Poll poll) {
  callers_mode_ = FloatMode::current();
  const bool done = pool_.run(
      [this, times](ThreadPool::Member& member) { make_passes(member, member.thread() ? nullptr : times); }, poll);
  if (!done) throw Error(ErrorKind::kStopped, "the run was interrupted");
  if (source_.pull) pull(graph().values[graph().inputs[0].value].shape.height);
  for (size_t i = 0; i < graph().outputs.size(); i++) {
    const int v = graph().outputs[i].value;
    const Value& value = graph().values[v];
    const size_t pixel = size_t(value.shape.channels) * size_of(value.type);
    const View from = value_view(graph(), plan_, v, int(plan_.segments.size()));
    const uint8_t* at = arena_ + from.base;
    char* to = static_cast<char*>(outputs[i]);
    for (int64_t p = 0; p < value.shape.pixels(); p++, at += from.pixel_stride, to += pixel) std::memcpy(to, at, pixel);
  }
  carry_states();
}

void Session::write_states() {
  for (const State& state : graph().states) {
    const Value& value = graph().values[size_t(state.value)];
    const size_t pixel = size_t(value.shape.channels) * size_of(value.type);
    const View to = carry_of(graph(), plan_, state).to;
    uint8_t* at = arena_ + to.base;
    const uint8_t* from = static_cast<const uint8_t*>(state.initial);
    for (int64_t p = 0; p < value.shape.pixels(); p++, at += to.pixel_stride)
      if (from)
        std::memcpy(at, from + size_t(p) * pixel, pixel);
      else
        std::memset(at, value.type.zero_point, pixel);  // of what is no byte: 0
  }
}

// No fork comes in between: a child would find a part of them old and a part new.
void Session::carry_states() {
  if (graph().states.empty()) return;
  std::lock_guard<std::mutex> lock(fork_mutex());
  for (int i : plan_.state_order) {
    const State& state = graph().states[size_t(i)];
    const Value& value = graph().values[size_t(state.value)];
    const Carry carry = carry_of(graph(), plan_, state);
    const size_t pixel = size_t(value.shape.channels) * size_of(value.type);
    uint8_t *to = arena_ + carry.to.base, *from = arena_ + carry.from.base;
    const int64_t pixels = value.shape.pixels();
    if (carry.to.pixel_stride == value.pixel_bytes() && carry.from.pixel_stride == carry.to.pixel_stride) {
      std::memmove(to, from, size_t(pixels - 1) * size_t(carry.to.pixel_stride) + pixel);
      continue;
    }
    for (int64_t p = 0; p < pixels; p++) {  // the pixels of others lie in between; towards where they come from
      const int64_t at = to < from ? p : pixels - 1 - p;
      std::memmove(to + at * carry.to.pixel_stride, from + at * carry.from.pixel_stride, pixel);
    }
  }
}

void Session::reset(const Turn&) {
  check_ready();
  write_states();
}

}  // namespace mbinfer
