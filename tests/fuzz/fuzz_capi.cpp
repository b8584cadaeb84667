// libFuzzer target on the C API. The bytes choose options and a valid graph (random_graph.h); on every such model
//
//   - it opens: what the format allows is never refused
//   - naive and the chosen schedule, chunks, threads and limit give the same bits; so do rows that are pulled
//   - each schedule's peak is accepted as its limit; the least plan's N bytes are accepted, N - 1 refused with N
#include <cstdio>
#include <cstdlib>

#include "mbinfer.h"
#include "random_graph.h"

namespace {

void demand(bool ok, const char* what) {
  if (ok) return;
  std::fprintf(stderr, "FOUND: %s (last error: %s)\n", what, mbi_last_error()->message);
  std::abort();
}

struct Session {
  mbi_session* session = nullptr;
  mbi_status status;
  Session(const fuzz::Bytes& model, const mbi_options& options)
      : status(mbi_session_open_memory(model.data(), model.size(), &options, &session)) {}
  ~Session() { mbi_session_close(session); }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  int64_t peak() const { return mbi_session_plan(session)->peak_bytes; }
};

struct Data {  // what goes in and comes out
  std::vector<fuzz::Bytes> in, out;
  std::vector<bool> reals;  // by output
  std::vector<mbi_input> inputs;
  std::vector<mbi_output> outputs;
  size_t row_bytes = 0;

  explicit Data(const mbi_session* session) {
    for (size_t i = 0; i < mbi_session_input_count(session); i++) {
      const mbi_tensor* t = mbi_session_input(session, i);
      in.emplace_back(t->bytes);
      uint32_t state = uint32_t(i) + 1;
      for (size_t k = 0; k < t->bytes; k++) in[i][k] = uint8_t((state = state * 1664525u + 1013904223u) >> 24);
      for (size_t k = 0; t->dtype == MBI_FLOAT32 && k + 4 <= t->bytes; k += 4) {
        const float x = float(in[i][k]) / 64 - 2;
        std::memcpy(&in[i][k], &x, 4);
      }
      row_bytes = t->bytes / size_t(t->dims[1]);
    }
    for (size_t i = 0; i < mbi_session_output_count(session); i++) {
      out.emplace_back(mbi_session_output(session, i)->bytes);
      reals.push_back(mbi_session_output(session, i)->dtype == MBI_FLOAT32);
    }
    for (size_t i = 0; i < in.size(); i++)
      inputs.push_back({in[i].data(), in[i].size(), mbi_session_input(session, i)->dtype});
    for (auto& o : out) outputs.push_back({o.data(), o.size()});
  }

  void run(mbi_session* session) {
    demand(!mbi_session_run(session, inputs.data(), inputs.size(), outputs.data(), outputs.size()), "a run failed");
  }

  void run_rows(mbi_session* session) {
    auto pull = [](void* context, size_t row, void* to) {
      const Data& data = *static_cast<Data*>(context);
      std::memcpy(to, data.in[0].data() + row * data.row_bytes, data.row_bytes);
      return 0;
    };
    demand(!mbi_session_run_rows(session, inputs[0].dtype, pull, this, outputs.data(), outputs.size()),
           "a run on rows failed");
  }

  static bool same_number(const uint8_t* a, const uint8_t* b) {
    float x, y;
    std::memcpy(&x, a, 4), std::memcpy(&y, b, 4);
    return !std::memcmp(a, b, 4) || (std::isnan(x) && std::isnan(y));
  }

  bool same(const Data& other) const {  // which NaN an operation returns is not promised
    for (size_t i = 0; i < out.size(); i++)
      for (size_t k = 0; k < out[i].size(); k += reals[i] ? 4 : 1)
        if (reals[i] ? !same_number(&out[i][k], &other.out[i][k]) : out[i][k] != other.out[i][k]) return false;
    return true;
  }
};

mbi_options defaults() {
  mbi_options options;
  mbi_options_init(&options, sizeof options);
  return options;
}

void check_limits(const fuzz::Bytes& model) {
  mbi_options options = defaults();
  options.memory_limit = MBI_LEAST_MEMORY;
  Session least(model, options);
  demand(!least.status, "no least plan");
  const int64_t bytes = least.peak();
  for (const char* schedule : {"naive", "layerwise", "fused", "streamed", "auto"}) {
    options.schedule = schedule, options.memory_limit = MBI_NO_LIMIT;
    Session free(model, options);
    demand(!free.status && free.peak() >= bytes, "a plan is below the least");
    options.memory_limit = free.peak();
    demand(!Session(model, options).status, "a plan's own size is refused as its limit");
  }
  options = defaults();
  options.memory_limit = bytes;
  Session within(model, options);
  demand(!within.status && within.peak() <= bytes, "the least plan's size is refused as a limit");
  options.memory_limit = bytes - 1;
  Session below(model, options);
  demand(below.status == MBI_MEMORY_LIMIT && mbi_last_error()->needed == uint64_t(bytes), "one byte less is accepted");
}

void check_model(const fuzz::Bytes& model, fuzz::Choices* choices) {
  mbi_options options = defaults();
  options.schedule = "naive";
  Session naive(model, options);
  demand(!naive.status, "a valid model is refused");
  Data expected(naive.session), later(naive.session);
  expected.run(naive.session);
  later.run(naive.session);  // which may have states that the first run left

  static const char* const kSchedules[] = {"auto", "fused", "streamed", "layerwise"};
  const int schedule = choices->below(4);
  options.schedule = kSchedules[schedule];
  options.chunks = schedule < 2 && choices->one_in(4) ? choices->between(1, 9) : 0;  // of fused blocks
  options.threads = choices->between(1, 3);
  options.recompute = choices->below(2);
  options.memory_limit = choices->one_in(2) ? MBI_LEAST_MEMORY : MBI_NO_LIMIT;
  Session session(model, options);
  demand(!session.status, "a schedule is refused");
  Data got(session.session);
  got.run(session.session);
  demand(got.same(expected), "a schedule gives other bits than naive");
  got.run(session.session);
  demand(got.same(later), "the second run of a schedule gives other bits than that of naive");
  if (got.in.size() == 1) {
    demand(!mbi_session_reset(session.session), "a session cannot begin anew");
    for (auto& out : got.out) std::fill(out.begin(), out.end(), uint8_t(0));
    got.run_rows(session.session);
    demand(got.same(expected), "rows give other bits than the whole picture");
  }
  if (choices->one_in(2)) check_limits(model);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const size_t head = std::min<size_t>(size, 6);
  fuzz::Choices options(data, head), graph(data + head, size - head);
  const fuzz::Bytes bytes = fuzz::RandomGraph(&graph).make();
  check_model(bytes, &options);
  return 0;
}
