// The C API of mbinfer.h over exec/session.h: checks what comes in, turns every exception into a status.
#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <new>
#include <system_error>

#include "capi_message.h"
#include "capi_options.h"
#include "capi_plan.h"
#include "exec/session.h"
#include "mbinfer.h"

using namespace mbinfer;

struct mbi_session {
  mbi_session(std::shared_ptr<const Model> model, const SessionOptions& options) : session(std::move(model), options) {}

  Session session;
  std::vector<mbi_tensor> inputs, outputs;
  mbi_plan plan = {};
  mutable std::mutex describing;
  mutable std::unique_ptr<const PlanTables> tables;
  mutable std::string plan_json;
  std::vector<Picture> pictures;  // what run was given, here so that it allocates nothing
  std::vector<void*> results;
};

namespace {

// Fixed buffers, so that reporting a failure cannot fail.
struct LastError {
  char message[kLongestMessage + 1], node[256], op[32];
  mbi_error error;
};

LastError& last_error() {
  thread_local LastError last;
  last.error.message = last.message;
  last.error.node = last.node;
  last.error.op = last.op;
  return last;
}

mbi_status fail(mbi_status status, const char* message, const char* node = "", const char* op = "", uint64_t needed = 0,
                uint64_t limit = 0) {
  LastError& last = last_error();
  copy_message(last.message, message);
  copy_text(last.node, sizeof last.node, node);
  copy_text(last.op, sizeof last.op, op);
  last.error.status = status;
  last.error.needed = needed;
  last.error.limit = limit;
  return status;
}

mbi_status status_of(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kFormat:
      return MBI_FORMAT;
    case ErrorKind::kUnsupported:
      return MBI_UNSUPPORTED;
    case ErrorKind::kShape:
      return MBI_SHAPE;
    case ErrorKind::kMemoryLimit:
      return MBI_MEMORY_LIMIT;
    case ErrorKind::kArgument:
      return MBI_ARGUMENT;
    case ErrorKind::kFile:
      return MBI_FILE;
    case ErrorKind::kStopped:
      return MBI_STOPPED;
    case ErrorKind::kInternal:
      break;
  }
  return MBI_INTERNAL;
}

// The caller's function ended a run.
struct Stopped {
  int row, code;
};

// Every function that can fail runs its body in here.
template <class Body>
mbi_status guarded(Body&& body) noexcept {
  try {
    body();
    return MBI_OK;
  } catch (const Error& e) {
    return fail(status_of(e.kind), e.what(), e.node.c_str(), e.op.c_str(), e.needed, e.limit);
  } catch (const Stopped& s) {
    char message[80];
    std::snprintf(message, sizeof message, "row %d: pull returned %d, which ends the run", s.row, s.code);
    return fail(MBI_STOPPED, message);
  } catch (const std::bad_alloc&) {
    return fail(MBI_NO_MEMORY, "the system has not enough memory");
  } catch (const std::system_error& e) {
    return fail(MBI_NO_MEMORY, e.what());
  } catch (const std::exception& e) {
    return fail(MBI_INTERNAL, e.what());
  } catch (...) {
    return fail(MBI_INTERNAL, "unknown exception");
  }
}

// Messages are built on failure only: mbi_session_run allocates nothing.
[[noreturn]] void refuse(ErrorKind kind, const std::string& message) { throw Error(kind, message); }

void require_pointer(const void* pointer, const char* name) {
  if (!pointer) refuse(ErrorKind::kArgument, std::string(name) + " is NULL");
}

struct Dtype {
  int32_t code;  // mbi_dtype
  DType dtype;
  size_t bytes;
};
constexpr Dtype kDtypes[] = {
    {MBI_FLOAT32, DType::kFloat32, sizeof(float)}, {MBI_INT8, DType::kInt8, 1}, {MBI_UINT8, DType::kUint8, 1}};

// Null for a code that is none.
const Dtype* dtype_of(int32_t code) {
  for (const Dtype& d : kDtypes)
    if (d.code == code) return &d;
  return nullptr;
}

mbi_tensor tensor(const char* name, const Type& type, const std::vector<int64_t>& shape) {
  mbi_tensor t = {};
  t.name = name;
  for (const Dtype& d : kDtypes)
    if (d.dtype == type.dtype) t.dtype = d.code, t.bytes = d.bytes;
  t.rank = int32_t(shape.size());
  t.scale = type.scale;
  t.zero_point = type.zero_point;
  for (size_t d = 0; d < shape.size(); d++) t.bytes *= size_t(t.dims[d] = shape[d]);
  return t;
}

void describe(mbi_session* s) {
  static const char* const kColors[] = {"RGB", "BGR", "grey"};
  const Graph& graph = s->session.graph();
  for (const GraphInput& in : graph.inputs) {
    const Value& v = graph.values[in.value];
    mbi_tensor t = tensor(v.name.c_str(), v.type, {1, v.shape.height, v.shape.width, v.shape.channels});
    if (in.recipe.present) {
      t.color = kColors[in.recipe.color];
      t.crop = in.recipe.crop;
    }
    s->inputs.push_back(t);
  }
  s->outputs.reserve(graph.outputs.size());
  for (const GraphOutput& out : graph.outputs)
    s->outputs.push_back(tensor(out.name.c_str(), graph.values[out.value].type, out.shape));
  s->pictures.resize(s->inputs.size());
  s->results.resize(s->outputs.size());
  const Plan& p = s->session.plan();
  s->plan = {schedule_name(p.schedule),
             s->session.kernels().isa,
             s->session.threads(),
             p.peak_bytes,
             p.input_bytes,
             graph.weight_bytes,
             p.naive_bytes,
             p.layerwise_bytes,
             p.fused_bytes,
             p.lower_bound_bytes,
             p.macs,
             p.extra_macs,
             p.input_rows.data(),
             p.moved_bytes,
             p.cycles,
             p.state_bytes};
}

// The item of a list of the session's, or null and MBI_ARGUMENT. A null list: there is no session.
template <class T>
const T* item(const char* what, const std::vector<T>* list, size_t index) {
  const mbi_status status = guarded([&] {
    require_pointer(list, "session");
    if (index >= list->size())
      refuse(ErrorKind::kArgument, std::string(what) + " " + std::to_string(index) + " does not exist, there are " +
                                       std::to_string(list->size()));
  });
  return status == MBI_OK ? &(*list)[index] : nullptr;
}

Planned planned(const mbi_session* s) {
  return {s->session.graph(), s->session.plan(), s->session.kernels().isa, s->session.threads()};
}

// Made when they are first asked for: they can take more memory than a small network's arena.
const PlanTables& tables_of(const mbi_session* session) {
  require_pointer(session, "session");
  std::lock_guard<std::mutex> lock(session->describing);
  if (!session->tables) session->tables.reset(new PlanTables(planned(session)));
  return *session->tables;
}

template <class T>
const T* plan_item(const char* what, const mbi_session* session, std::vector<T> PlanTables::* list, size_t index) {
  const std::vector<T>* items = nullptr;
  const mbi_status status = guarded([&] { items = &(tables_of(session).*list); });
  return status == MBI_OK ? item(what, items, index) : nullptr;
}

template <class MakeSource>
mbi_status open_session(const mbi_options* options, mbi_session** session, MakeSource&& make_source) {
  if (session) *session = nullptr;
  return guarded([&] {
    require_pointer(session, "session");
    const mbi_options given = known_options(options);
    const SessionOptions checked = session_options(given);
    const ReadOptions reading = {given.verify != 0, given.copy != 0};
    std::unique_ptr<mbi_session> made(new mbi_session(read_model(make_source(), reading), checked));
    describe(made.get());
    *session = made.release();
  });
}

void check_count(const char* what, size_t given, size_t wanted) {
  if (given != wanted)
    refuse(ErrorKind::kShape, std::to_string(given) + " " + what + " given, the model has " + std::to_string(wanted));
}

void check_buffer(const char* what, const mbi_tensor& tensor, const void* data, size_t bytes, int32_t dtype) {
  const Dtype* known = dtype_of(dtype);
  const size_t element = known ? known->bytes : 1, wanted = tensor.bytes / dtype_of(tensor.dtype)->bytes * element;
  const bool aligned = reinterpret_cast<uintptr_t>(data) % element == 0;
  if (data && known && bytes == wanted && aligned) return;
  const std::string name = std::string(what) + " '" + tensor.name + "'";
  if (!data) refuse(ErrorKind::kArgument, name + ": data is NULL");
  if (!known) refuse(ErrorKind::kShape, name + ": its dtype is not MBI_FLOAT32, MBI_INT8 or MBI_UINT8");
  if (!aligned) refuse(ErrorKind::kArgument, name + ": data is not aligned for float32");
  refuse(ErrorKind::kShape,
         name + " takes " + std::to_string(wanted) + " bytes in this dtype, given are " + std::to_string(bytes));
}

void set_outputs(mbi_session* session, const mbi_output* outputs) {
  for (size_t i = 0; i < session->outputs.size(); i++) {
    check_buffer("output", session->outputs[i], outputs[i].data, outputs[i].bytes, session->outputs[i].dtype);
    session->results[i] = outputs[i].data;
  }
}

}  // namespace

const mbi_error* mbi_last_error(void) { return &last_error().error; }

const char* mbi_version(void) { return MBINFER_VERSION; }

mbi_status mbi_options_init(mbi_options* options, size_t size) {
  return guarded([&] {
    require_pointer(options, "options");
    require_size(size);
    const mbi_options defaults = default_options();
    std::memset(static_cast<void*>(options), 0, size);
    std::memcpy(options, &defaults, std::min(size, sizeof defaults));
    options->size = size;
  });
}

mbi_status mbi_session_open(const char* path, const mbi_options* options, mbi_session** session) {
  return open_session(options, session, [&] {
    require_pointer(path, "path");
    return Source::from_path(path);
  });
}

mbi_status mbi_session_open_fd(int fd, const mbi_options* options, mbi_session** session) {
  return open_session(options, session, [&] { return Source::from_descriptor(fd); });
}

mbi_status mbi_session_open_memory(const void* model, size_t bytes, const mbi_options* options, mbi_session** session) {
  return open_session(options, session, [&] {
    require_pointer(model, "model");
    return Source::from_memory(model, bytes);
  });
}

void mbi_session_close(mbi_session* session) { delete session; }

size_t mbi_session_input_count(const mbi_session* session) { return session ? session->inputs.size() : 0; }
size_t mbi_session_output_count(const mbi_session* session) { return session ? session->outputs.size() : 0; }
size_t mbi_session_label_count(const mbi_session* session) {
  return session ? session->session.graph().labels.size() : 0;
}

const mbi_tensor* mbi_session_input(const mbi_session* session, size_t index) {
  return item("input", session ? &session->inputs : nullptr, index);
}

const mbi_tensor* mbi_session_output(const mbi_session* session, size_t index) {
  return item("output", session ? &session->outputs : nullptr, index);
}

const char* mbi_session_label(const mbi_session* session, size_t index) {
  const Text* label = item("label", session ? &session->session.graph().labels : nullptr, index);
  return label ? label->c_str() : nullptr;
}

const mbi_plan* mbi_session_plan(const mbi_session* session) {
  return guarded([&] { require_pointer(session, "session"); }) == MBI_OK ? &session->plan : nullptr;
}

size_t mbi_session_stage_count(const mbi_session* session) {
  return session ? session->session.plan().stages.size() : 0;
}
size_t mbi_session_segment_count(const mbi_session* session) {
  return session ? session->session.plan().segments.size() : 0;
}
size_t mbi_session_buffer_count(const mbi_session* session) {
  return session ? session->session.plan().buffers.size() : 0;
}

const mbi_stage* mbi_session_stage(const mbi_session* session, size_t index) {
  return plan_item("stage", session, &PlanTables::stages, index);
}

const mbi_segment* mbi_session_segment(const mbi_session* session, size_t index) {
  return plan_item("segment", session, &PlanTables::segments, index);
}

const mbi_buffer* mbi_session_buffer(const mbi_session* session, size_t index) {
  return plan_item("buffer", session, &PlanTables::buffers, index);
}

const char* mbi_session_plan_json(const mbi_session* session) {
  const char* json = nullptr;
  guarded([&] {
    require_pointer(session, "session");
    std::lock_guard<std::mutex> lock(session->describing);
    if (session->plan_json.empty()) session->plan_json = plan_json(planned(session));
    json = session->plan_json.c_str();
  });
  return json;
}

void mbi_session_interrupt(mbi_session* session) {
  if (session) session->session.interrupt();
}

mbi_status mbi_session_run(mbi_session* session, const mbi_input* inputs, size_t input_count, const mbi_output* outputs,
                           size_t output_count) {
  return guarded([&] {
    require_pointer(session, "session");
    require_pointer(inputs, "inputs");
    require_pointer(outputs, "outputs");
    check_count("inputs", input_count, session->inputs.size());
    check_count("outputs", output_count, session->outputs.size());
    const Session::Turn turn(session->session);
    for (size_t i = 0; i < input_count; i++) {
      check_buffer("input", session->inputs[i], inputs[i].data, inputs[i].bytes, inputs[i].dtype);
      session->pictures[i] = {inputs[i].data, dtype_of(inputs[i].dtype)->dtype};
    }
    set_outputs(session, outputs);
    session->session.run(turn, session->pictures.data(), session->results.data());
  });
}

mbi_status mbi_session_reset(mbi_session* session) {
  return guarded([&] {
    require_pointer(session, "session");
    session->session.reset();
  });
}

mbi_status mbi_session_run_rows(mbi_session* session, int32_t dtype, mbi_pull_row pull, void* context,
                                const mbi_output* outputs, size_t output_count) {
  return guarded([&] {
    require_pointer(session, "session");
    require_pointer(reinterpret_cast<const void*>(pull), "pull");
    require_pointer(outputs, "outputs");
    const Dtype* known = dtype_of(dtype);
    if (!known) refuse(ErrorKind::kShape, "dtype is not MBI_FLOAT32, MBI_INT8 or MBI_UINT8");
    check_count("outputs", output_count, session->outputs.size());
    const Session::Turn turn(session->session);
    set_outputs(session, outputs);
    struct Rows {
      mbi_pull_row pull;
      void* context;
    } rows = {pull, context};
    const RowSource source = {[](void* opaque, int row, void* to) {
                                const Rows& r = *static_cast<const Rows*>(opaque);
                                if (const int code = r.pull(r.context, size_t(row), to)) throw Stopped{row, code};
                              },
                              &rows};
    session->session.run_rows(turn, known->dtype, source, session->results.data());
  });
}
