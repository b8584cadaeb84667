// Model files through the whole engine, without Python.
//
//   model_check run FILE...    every schedule, split, thread count and ISA gives the bits of the naive schedule on the
//                              reference kernels, inside its arena, without an allocation; prints a checksum of the
//                              bits
//   model_check mutate FILE    FILE with bytes changed and its end cut off is refused as damaged, or runs
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

#include "exec/session.h"
#include "kernels/dispatch.h"
#include "model/format.h"
#include "plan/replay.h"
#include "replaceable.h"
#include "tables.h"

using namespace mbinfer;

// Every allocation is counted, operator new's malloc too, where the C library is glibc and no sanitizer has its own.
namespace {
std::atomic<long> allocations{0};
}

#ifdef MBINFER_REPLACEABLE
#define MBINFER_COUNTS
#pragma GCC visibility push(default)  // or the C++ library would not call these
extern "C" {
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);
void* malloc(size_t size) noexcept { return allocations++, __libc_malloc(size); }
void* calloc(size_t count, size_t size) noexcept { return allocations++, __libc_calloc(count, size); }
void* realloc(void* p, size_t size) noexcept { return allocations++, __libc_realloc(p, size); }
void* aligned_alloc(size_t align, size_t size) noexcept { return allocations++, __libc_memalign(align, size); }
int posix_memalign(void** p, size_t align, size_t size) noexcept {
  allocations++;
  *p = __libc_memalign(align, size);
  return *p ? 0 : 12;  // ENOMEM
}
}
#pragma GCC visibility pop
#endif

namespace {

int passed = 0, failed = 0;

void judge(bool ok, const std::string& what) {
  ok ? passed++ : failed++;
  if (!ok && failed <= 20) std::printf("FAILED %s\n", what.c_str());
}

// ThreadSanitizer has nothing to see where one thread runs by itself; the bits are compared by every other build.
#ifdef MBINFER_THREAD_SANITIZER
constexpr bool kThreadsAlone = true;
#else
constexpr bool kThreadsAlone = false;
#endif

using Outputs = std::vector<std::vector<float>>;

// The same inputs on every machine: multiples of 1/64 in [-2, 2), or bytes.
std::vector<std::vector<uint8_t>> make_inputs(const Graph& graph, DType dtype) {
  std::vector<std::vector<uint8_t>> inputs;
  uint32_t state = 1;
  for (const GraphInput& in : graph.inputs) {
    const size_t count = size_t(graph.values[in.value].shape.elements());
    const bool bytes = dtype == DType::kUint8 && in.recipe.present;
    std::vector<uint8_t> data(count * (bytes ? 1 : sizeof(float)));
    for (size_t i = 0; i < count; i++) {
      state = state * 1664525u + 1013904223u;
      const float x = float(state >> 24) / 64.0f - 2.0f;
      if (bytes)
        data[i] = uint8_t(state >> 24);
      else
        std::memcpy(&data[i * sizeof x], &x, sizeof x);
    }
    inputs.push_back(std::move(data));
  }
  return inputs;
}

bool same(const Outputs& a, const Outputs& b) {
  for (size_t i = 0; i < a.size(); i++)
    if (std::memcmp(a[i].data(), b[i].data(), a[i].size() * sizeof(float))) return false;
  return true;
}

// Writes the rows of an array one by one.
struct Rows {
  const uint8_t* data;
  size_t row_bytes;
  static void pull(void* context, int row, void* to) {
    const Rows& rows = *static_cast<Rows*>(context);
    std::memcpy(to, rows.data + size_t(row) * rows.row_bytes, rows.row_bytes);
  }
};

// Runs twice (the second time over what the first left in the arena), and with rows that are pulled one by one where
// the network has one input; checks what every run promises. Of a network with states also what the run after a run
// makes.
Outputs run(Session& session, const std::vector<std::vector<uint8_t>>& inputs, const std::string& name) {
  const Graph& graph = session.graph();
  std::vector<Picture> pictures;
  for (size_t i = 0; i < inputs.size(); i++) {
    const int64_t elements = graph.values[graph.inputs[i].value].shape.elements();
    pictures.push_back({inputs[i].data(), inputs[i].size() == size_t(elements) ? DType::kUint8 : DType::kFloat32});
  }
  Outputs first;
  std::vector<void*> pointers;
  for (const GraphOutput& out : graph.outputs)
    first.emplace_back(size_t(graph.values[out.value].shape.elements()), 0.0f);
  Outputs second = first;
  for (Outputs* outputs : {&first, &second}) {
    pointers.clear();
    for (auto& out : *outputs) pointers.push_back(out.data());
    const long before = allocations;
    session.reset();
    session.run(pictures.data(), pointers.data());
    const long made = allocations - before;
    judge(made == 0, name + ": run made " + std::to_string(made) + " allocations");
  }
  judge(same(first, second), name + ": the second run differs");
  if (inputs.size() == 1) {
    Rows rows = {inputs[0].data(), inputs[0].size() / size_t(graph.values[graph.inputs[0].value].shape.height)};
    for (int again = 0; again < 2; again++) {  // the first call allocates the buffer that holds some rows
      for (auto& out : second) std::fill(out.begin(), out.end(), 0.0f);
      const long before = allocations;
      session.reset();
      session.run_rows(pictures[0].dtype, {Rows::pull, &rows}, pointers.data());
      const long made = allocations - before;
      judge(!again || made == 0, name + ": run_rows made " + std::to_string(made) + " allocations");
      judge(same(first, second), name + ": run_rows gives other bits");
    }
  }
  if (!graph.states.empty()) {
    session.run(pictures.data(), pointers.data());
    first.insert(first.end(), second.begin(), second.end());
  }
  judge(session.canaries_intact(), name + ": written outside the arena");
  return first;
}

uint64_t checksum(const Outputs& outputs) {  // FNV-1a
  uint64_t sum = 14695981039346656037u;
  for (const auto& out : outputs)
    for (size_t i = 0; i < out.size() * sizeof(float); i++)
      sum = (sum ^ reinterpret_cast<const uint8_t*>(out.data())[i]) * 1099511628211u;
  return sum;
}

struct Case {
  Schedule schedule;
  int chunks;
  bool least, recompute;
};

const Case kCases[] = {
    {Schedule::kNaive, 0, false, true},    {Schedule::kLayerwise, 0, false, true}, {Schedule::kFused, 0, false, true},
    {Schedule::kStreamed, 0, false, true}, {Schedule::kAuto, 0, false, true},      {Schedule::kAuto, 0, false, false},
    {Schedule::kAuto, 0, true, true},      {Schedule::kAuto, 0, true, false},      {Schedule::kFused, 1, false, true},
    {Schedule::kFused, 3, false, true},    {Schedule::kFused, 1000, false, true}};

// Whether the reference runs a case again, after the first. It is slow: beside other kernels the least plan will do.
bool by_reference(const Case& c, int threads, bool alone) {
  return threads == 1 && c.schedule == Schedule::kAuto && (alone || (c.least && c.recompute));
}

void run_file(const std::string& path) {
  const std::string file = path.substr(path.rfind('/') + 1);
  auto model = read_model(Source::from_path(path), {true, false});
  const bool bytes = std::any_of(model->graph.values.begin(), model->graph.values.end(),
                                 [](const Value& v) { return v.type.dtype == DType::kUint8; });
  const auto tables = tables_to_check(bytes);
  for (DType dtype : {DType::kFloat32, DType::kUint8}) {
    if (dtype == DType::kUint8 && !model->graph.inputs[0].recipe.present) continue;
    const auto inputs = make_inputs(model->graph, dtype);
    Outputs expected;
    for (int threads : {1, 2, 3})
      for (const Case& c : kCases) {
        if (threads > 1 && (c.chunks || c.schedule == Schedule::kNaive || c.schedule == Schedule::kLayerwise)) continue;
        if (kThreadsAlone && threads == 1 && !expected.empty()) continue;
        SessionOptions options;
        options.plan.schedule = c.schedule;
        options.plan.least = c.least;
        options.plan.recompute = c.recompute ? INFINITY : 0;
        options.plan.threads = threads;
        options.oversubscribe = true;
        options.plan.chunks = c.chunks;
        for (const KernelTable* table : tables) {
          if (expected.empty())
            table = &kReferenceKernels;
          else if (table == &kReferenceKernels && !by_reference(c, threads, tables.size() == 1))
            continue;
          options.isa = table->isa;
          Session session(model, options);
          const Plan& plan = session.plan();
          const std::string name = file + ", " + schedule_name(c.schedule) + (c.least ? " (least)" : "") +
                                   (c.recompute ? "" : " (no recomputation)") + ", chunks " + std::to_string(c.chunks) +
                                   ", threads " + std::to_string(threads) + ", " + table->isa;
          const std::string wrong = check_plan(session.graph(), plan);
          judge(wrong.empty(), name + ": " + wrong);
          judge(plan.lower_bound_bytes <= plan.peak_bytes && (c.chunks || plan.peak_bytes <= plan.naive_bytes),
                name + ": a plan is worse than a simpler one, or than possible");
          const Outputs outputs = run(session, inputs, name);
          if (expected.empty()) expected = outputs;
          judge(same(outputs, expected), name + ": other bits than the naive schedule on the reference kernels");
        }
      }
    std::printf("checksum %s %s %016llx\n", file.c_str(), dtype == DType::kUint8 ? "uint8" : "float32",
                static_cast<unsigned long long>(checksum(expected)));
  }

  // The least plan runs within its own size as the limit, and one byte less is refused with that size.
  SessionOptions options;
  options.plan.least = true;
  const int64_t least = make_plan(model->graph, options.plan).peak_bytes;
  options.plan.least = false;
  options.plan.memory_limit = least;
  judge(make_plan(model->graph, options.plan).peak_bytes <= least, file + ": more than its limit");
  options.plan.memory_limit = least - 1;
  try {
    make_plan(model->graph, options.plan);
    judge(false, file + ": a plan for one byte less than the least");
  } catch (const Error& error) {
    judge(error.kind == ErrorKind::kMemoryLimit && error.needed == uint64_t(least), file + ": " + error.what());
  }
}

// Zlib's CRC-32, so that a mutation gets past the checksum to the checks behind it.
void mend_checksum(std::vector<uint8_t>& bytes) {
  format::Header header;
  if (bytes.size() < sizeof header) return;
  std::memcpy(&header, bytes.data(), sizeof header);
  const size_t end = size_t(std::min<uint64_t>(header.weights_offset, bytes.size()));
  header.structure_crc = 0;
  std::memcpy(bytes.data(), &header, sizeof header);
  uint32_t crc = ~0u;
  for (size_t i = 0; i < end; i++) {
    crc ^= bytes[i];
    for (int bit = 0; bit < 8; bit++) crc = crc & 1 ? 0xEDB88320u ^ (crc >> 1) : crc >> 1;
  }
  header.structure_crc = ~crc;
  std::memcpy(bytes.data(), &header, sizeof header);
}

int loaded = 0;

// Parses `bytes` from a block that ends where they end; what loads must run on every schedule.
void try_bytes(const std::vector<uint8_t>& bytes, const std::string& what) {
  void* block = nullptr;
  if (posix_memalign(&block, 64, bytes.size() + 1)) std::abort();
  std::unique_ptr<void, decltype(&std::free)> owner(block, std::free);
  if (!bytes.empty()) std::memcpy(block, bytes.data(), bytes.size());
  try {
    const auto model = read_model(Source::from_memory(block, bytes.size()));
    loaded++;
    for (Schedule schedule : {Schedule::kNaive, Schedule::kFused}) {
      SessionOptions options;
      options.plan.schedule = schedule;
      const Plan plan = make_plan(model->graph, options.plan);
      if (plan.peak_bytes > (16 << 20)) continue;  // sound, and too long to run here
      Session session(model, options);
      run(session, make_inputs(model->graph, DType::kUint8), what);
    }
    judge(true, what);
  } catch (const Error& error) {
    judge(error.kind == ErrorKind::kFormat || error.kind == ErrorKind::kUnsupported, what + ": " + error.what());
  } catch (const std::exception& error) {
    judge(false, what + ": " + error.what());
  }
}

void mutate_file(const std::string& path) {
  const auto file = Source::from_path(path);
  std::vector<uint8_t> whole(size_t(file->size()));
  file->read(0, whole.size(), whole.data());
  for (size_t length = 0; length < whole.size(); length++) {
    std::vector<uint8_t> cut(whole.begin(), whole.begin() + ptrdiff_t(length));
    try_bytes(cut, "cut to " + std::to_string(length));
    format::Header header;
    if (length < sizeof header) continue;
    std::memcpy(&header, cut.data(), sizeof header);
    header.file_bytes = length;
    header.weights_offset = std::min<uint64_t>(header.weights_offset, length / 64 * 64);
    header.weights_bytes = length - header.weights_offset;
    std::memcpy(cut.data(), &header, sizeof header);
    mend_checksum(cut);
    try_bytes(cut, "cut to " + std::to_string(length) + " with a mended header");
  }
  format::Header header;
  std::memcpy(&header, whole.data(), sizeof header);
  for (size_t at = 0; at < whole.size(); at++)
    for (int change : {0xFF, 0x01, 0x10, 0x80}) {
      std::vector<uint8_t> mutant = whole;
      mutant[at] ^= uint8_t(change);
      const std::string what = "byte " + std::to_string(at) + " ^ " + std::to_string(change);
      try_bytes(mutant, what);
      if (at >= header.weights_offset) break;  // a number like any other
      mend_checksum(mutant);
      try_bytes(mutant, what + " with a mended checksum");
    }
  uint32_t state = 7;
  auto next = [&state](size_t n) { return size_t((state = state * 1664525u + 1013904223u) >> 8) % n; };
  for (int round = 0; round < 10000; round++) {  // two or three fields at once
    std::vector<uint8_t> mutant = whole;
    for (size_t changes = 2 + next(2); changes > 0; changes--)
      mutant[next(size_t(header.weights_offset))] = uint8_t(next(4) ? next(9) : next(256));
    mend_checksum(mutant);
    try_bytes(mutant, "random mutation " + std::to_string(round));
  }
  std::printf("%d mutants loaded\n", loaded);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 2 ? argv[1] : "";
  if (mode != "run" && mode != "mutate") {
    std::fprintf(stderr, "usage: model_check run FILE... | model_check mutate FILE\n");
    return 2;
  }
#ifdef MBINFER_COUNTS
  const long before = allocations;
  void* volatile block = ::operator new(100);
  ::operator delete(block);
  const bool counted = allocations == before + 1;
  judge(counted, "the counter of allocations does not count");
#endif
  for (int i = 2; i < argc; i++) mode == "run" ? run_file(argv[i]) : mutate_file(argv[i]);
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed != 0;
}
