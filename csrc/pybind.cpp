// The extension module mbinfer._core: sessions and plans as plain Python objects. What is friendly (limits by name,
// shapes with and without the batch) is in mbinfer/session.py.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <unistd.h>

#include <system_error>
#include <unordered_map>

#include "exec/session.h"
#include "kernels/dispatch.h"
#include "kernels/peak.h"
#include "plan/fields.h"

namespace py = pybind11;
using namespace mbinfer;

namespace {

// A message, which may hold a path of any bytes.
py::str text_of(const std::string& message) {
  return py::reinterpret_steal<py::str>(
      PyUnicode_DecodeUTF8(message.data(), Py_ssize_t(message.size()), "backslashreplace"));
}

void raise(const Error& error) {
  const py::str message = text_of(error.what());
  if (error.kind == ErrorKind::kFile) {  // Python chooses FileNotFoundError and the like by the number
    const std::string what = error.what(), why = what.substr(std::min(what.size(), error.path.size() + 2));
    py::object path = py::reinterpret_steal<py::object>(
        PyUnicode_DecodeFSDefaultAndSize(error.path.data(), Py_ssize_t(error.path.size())));
    py::object os_error = py::reinterpret_borrow<py::object>(PyExc_OSError)(error.system_error, text_of(why), path);
    PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(os_error.ptr())), os_error.ptr());
    return;
  }
  py::object errors = py::module_::import("mbinfer.errors"), exception;
  switch (error.kind) {
    case ErrorKind::kFormat:
      exception = errors.attr("FormatError")(message);
      break;
    case ErrorKind::kUnsupported:
      exception = errors.attr("UnsupportedError")(message, error.node, error.op);
      break;
    case ErrorKind::kShape:
      exception = errors.attr("ShapeError")(message);
      break;
    case ErrorKind::kMemoryLimit:
      exception = errors.attr("MemoryLimitError")(message, error.needed, error.limit);
      break;
    case ErrorKind::kArgument:
      exception = errors.attr("ArgumentError")(message);
      break;
    default:
      exception = errors.attr("Error")(message);
  }
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(exception.ptr())), exception.ptr());
}

Planned planned(const Session& session) {
  return {session.graph(), session.plan(), session.kernels().isa, session.threads()};
}

const char* python_class(const PassInfo&) { return "Pass"; }
const char* python_class(const StageInfo&) { return "Stage"; }
const char* python_class(const SegmentInfo&) { return "Segment"; }
const char* python_class(const BufferInfo&) { return "Buffer"; }
const char* python_class(const TimelineInfo&) { return "TimelineStep"; }
const char* python_class(const TracedValueInfo&) { return "TracedValue"; }
const char* python_class(const LiveRowsInfo&) { return "LiveRows"; }
const char* python_class(const TraceStepInfo&) { return "TraceStep"; }
const char* python_class(const TraceInfo&) { return "Trace"; }
const char* python_class(const PlanInfo&) { return "Plan"; }

// A description as an object of its class in mbinfer/plan.py, whose fields have the same names; lists as tuples.
struct ToPython {
  py::module_ classes = py::module_::import("mbinfer.plan");

  py::object operator()(const Shape& s) const { return py::make_tuple(s.height, s.width, s.channels); }
  py::object operator()(const char* words) const { return py::str(words); }
  py::object operator()(bool flag) const { return py::bool_(flag); }
  py::object operator()(int number) const { return py::int_(number); }
  py::object operator()(int64_t number) const { return py::int_(number); }
  py::object operator()(double number) const { return py::float_(number); }

  template <class T>
  py::object operator()(const std::vector<T>& list) const {
    py::tuple made(list.size());
    for (size_t i = 0; i < list.size(); i++) made[i] = (*this)(list[i]);
    return made;
  }

  template <class Info>
  py::object operator()(const Info& info) const {
    return make(info, py::dict());
  }

  template <class Info>
  py::object make(const Info& info, py::dict fields) const {
    for_each_field(info, [&](const char* name, const auto& value) { fields[name] = (*this)(value); });
    return classes.attr(python_class(info))(**fields);
  }
};

py::object plan_object(const std::shared_ptr<Session>& session) {
  py::dict fields;
  fields["core"] = session;  // from which it makes its segments and its timeline when they are asked for
  return ToPython().make(describe_plan(planned(*session)), fields);
}

// The interpreter, at its end, unwinds every other thread that asks for the GIL. Left by that, this scope is not left:
// the thread waits for the end of the process, as Python's own do from 3.14 on.
struct UntilExit {
  ~UntilExit() {
    while (!left) pause();
  }
  bool left = false;
};

// This thread without the GIL, and for moments with it.
class WithoutGil {
 public:
  void acquire() {
    UntilExit scope;
    PyEval_RestoreThread(state_);
    scope.left = true;
  }
  void release() { state_ = PyEval_SaveThread(); }

  // Runs Python's signal handlers if this is the main thread; true if one of them raised. That exception waits in the
  // thread's state.
  ThreadPool::Poll signals() {
    return {[](void* opaque) {
              WithoutGil& gil = *static_cast<WithoutGil*>(opaque);
              if (gil.no_signals_) return false;
              gil.acquire();
              UntilExit scope;
              const bool raised = PyErr_CheckSignals() != 0;
              gil.no_signals_ = !raised && !is_main_thread();
              scope.left = true;
              gil.release();
              return raised;
            },
            this};
  }

 private:
  static bool is_main_thread() {
    try {
      const py::object threading = py::module_::import("threading");
      return threading.attr("main_thread")().is(threading.attr("current_thread")());
    } catch (const py::error_already_set&) {
      return true;
    }
  }
  PyThreadState* state_ = PyEval_SaveThread();
  bool no_signals_ = false;
};

// Calls work(WithoutGil&); a signal's exception goes before any of its own.
template <class Work>
void without_gil(Work&& work) {
  std::exception_ptr failure;
  WithoutGil gil;
  try {
    work(gil);
  } catch (...) {
    failure = std::current_exception();
  }
  gil.acquire();
  if (PyErr_Occurred()) throw py::error_already_set();
  if (failure) std::rethrow_exception(failure);
}

// A path (bytes), a file descriptor (int), or a contiguous buffer, which the session keeps alive.
std::unique_ptr<Source> open_source(const py::object& given) {
  if (py::isinstance<py::bytes>(given)) return Source::from_path(std::string(py::bytes(given)));
  if (py::isinstance<py::int_>(given)) return Source::from_descriptor(given.cast<int>());
  const py::buffer_info memory = py::buffer(given).request();
  return Source::from_memory(memory.ptr, uint64_t(memory.size * memory.itemsize));
}

std::shared_ptr<Session> open_session(const py::object& given, int threads, int64_t memory_limit, bool least,
                                      const std::string& schedule, int chunks, double recompute, const std::string& isa,
                                      bool verify, bool copy, bool plan_only) {
  SessionOptions options;
  options.plan.schedule = schedule_from_name(schedule);
  options.plan.memory_limit = memory_limit;
  options.plan.least = least;
  options.plan.threads = threads;
  options.plan.chunks = chunks;
  options.plan.recompute = recompute;
  options.isa = isa;
  options.plan_only = plan_only;
  check_options(options);
  std::unique_ptr<Source> source = open_source(given);
  std::shared_ptr<Session> session;
  without_gil([&](WithoutGil&) {
    session = std::make_shared<Session>(read_model(std::move(source), {verify, copy}), options);
  });
  return session;
}

py::dtype dtype_of(const Type& type) {
  switch (type.dtype) {
    case DType::kUint8:
      return py::dtype::of<uint8_t>();
    case DType::kInt8:
      return py::dtype::of<int8_t>();
    default:
      return py::dtype::of<float>();
  }
}

// Of arrays that mbinfer/session.py has checked.
DType type_of(const py::dtype& dtype) {
  const char kind = dtype.kind();
  return kind == 'u' ? DType::kUint8 : kind == 'i' ? DType::kInt8 : DType::kFloat32;
}

struct Outputs {  // fresh arrays in the graph's order
  explicit Outputs(const Graph& graph) {
    for (const GraphOutput& out : graph.outputs) {
      arrays.emplace_back(dtype_of(graph.values[out.value].type),
                          std::vector<py::ssize_t>(out.shape.begin(), out.shape.end()));
      pointers.push_back(arrays.back().mutable_data());
    }
  }
  py::list list() const {
    py::list result;
    for (const auto& array : arrays) result.append(array);
    return result;
  }
  std::vector<py::array> arrays;
  std::vector<void*> pointers;
};

py::list run(Session& session, const std::vector<py::array>& arrays, py::object times) {
  const Graph& graph = session.graph();
  std::vector<Picture> pictures;
  for (const py::array& a : arrays) pictures.push_back({a.data(), type_of(a.dtype())});
  Outputs outputs(graph);
  std::vector<StageTime> measured(times.is_none() ? 0 : session.plan().stages.size());
  without_gil([&](WithoutGil& gil) {
    session.run(Session::Turn(session, gil.signals()), pictures.data(), outputs.pointers.data(),
                measured.empty() ? nullptr : measured.data());
  });
  if (!measured.empty())
    for (const StageTime& t : measured) times.attr("append")(t.seconds);
  return outputs.list();
}

// Rows from a Python iterator, which also checks their shape and dtype.
py::list run_rows(Session& session, const py::dtype& dtype, const py::object& next) {
  const Value& image = session.graph().values[session.graph().inputs[0].value];
  const size_t row_bytes = size_t(image.shape.width) * image.shape.channels * size_t(dtype.itemsize());
  const DType type = type_of(dtype);
  Outputs outputs(session.graph());
  without_gil([&](WithoutGil& gil) {
    struct Context {
      WithoutGil& gil;
      PyObject* next;
      size_t row_bytes;
    } context = {gil, next.ptr(), row_bytes};
    const RowSource source = {[](void* opaque, int row, void* to) {
                                Context& c = *static_cast<Context*>(opaque);
                                c.gil.acquire();
                                UntilExit scope;
                                PyObject* array = PyObject_CallFunction(c.next, "i", row);
                                scope.left = true;
                                if (array) std::memcpy(to, py::reinterpret_steal<py::array>(array).data(), c.row_bytes);
                                c.gil.release();
                                if (!array) throw Error(ErrorKind::kStopped, "a row's exception is set");
                              },
                              &context};
    session.run_rows(Session::Turn(session, gil.signals()), type, source, outputs.pointers.data());
  });
  return outputs.list();
}

py::dict model_dict(const Session& session) {
  const Graph& graph = session.graph();
  py::list inputs, outputs;
  for (const GraphInput& in : graph.inputs) {
    const Value& v = graph.values[in.value];
    py::object recipe = py::none();
    if (in.recipe.present) {
      const auto channels = size_t(v.shape.channels);
      recipe = py::make_tuple(std::vector<float>(in.recipe.mean, in.recipe.mean + channels),
                              std::vector<float>(in.recipe.scale, in.recipe.scale + channels), in.recipe.color,
                              in.recipe.crop);
    }
    inputs.append(py::make_tuple(v.name.c_str(), py::make_tuple(1, v.shape.height, v.shape.width, v.shape.channels),
                                 dtype_of(v.type), v.type.scale, v.type.zero_point, recipe));
  }
  for (const GraphOutput& out : graph.outputs)
    outputs.append(py::make_tuple(out.name.c_str(), py::tuple(py::cast(out.shape)),
                                  dtype_of(graph.values[out.value].type), graph.values[out.value].type.scale,
                                  graph.values[out.value].type.zero_point));
  py::dict metadata, d;
  py::list labels;
  std::unordered_map<const char*, py::str> seen;  // a label that a file has many times is one string here too
  for (const Text& label : graph.labels) labels.append(seen.try_emplace(label.c_str(), label.c_str()).first->second);
  for (const auto& m : graph.metadata) metadata[m.first.c_str()] = m.second.c_str();
  d["inputs"] = inputs;
  d["outputs"] = outputs;
  d["labels"] = labels;
  d["metadata"] = metadata;
  d["isa"] = session.kernels().isa;
  d["threads"] = session.threads();
  return d;
}

}  // namespace

PYBIND11_MODULE(_core, m) {
  m.doc() = "The C++ core of mbinfer; use the classes of the package mbinfer instead.";
  py::dtype::of<float>();  // numpy's C functions are looked up as the module is imported, not by the first session
  py::register_exception_translator([](std::exception_ptr p) {
    try {
      if (p) std::rethrow_exception(p);
    } catch (const Error& error) {
      raise(error);
    } catch (const std::system_error& error) {  // no more threads
      PyErr_SetString(PyExc_MemoryError, error.what());
    }
  });
  py::class_<Session, std::shared_ptr<Session>>(m, "Session")
      .def(py::init(&open_session), py::keep_alive<1, 2>(), py::arg("source"), py::arg("threads"),
           py::arg("memory_limit"), py::arg("least"), py::arg("schedule"), py::arg("chunks"), py::arg("recompute"),
           py::arg("isa"), py::arg("verify"), py::arg("copy"), py::arg("plan_only"))
      .def("run", &run, py::arg("arrays"), py::arg("times"))
      .def("run_rows", &run_rows, py::arg("dtype"), py::arg("next"))
      .def("reset",
           [](Session& session) {
             without_gil([&](WithoutGil& gil) { session.reset(Session::Turn(session, gil.signals())); });
           })
      .def("model", &model_dict)
      .def("plan", &plan_object)
      .def("plan_json", [](const Session& s) { return plan_json(planned(s)); })
      .def("segments", [](const Session& s) { return ToPython()(describe_segments(s.graph(), s.plan())); })
      .def("timeline", [](const Session& s) { return ToPython()(describe_timeline(s.graph(), s.plan())); })
      .def(
          "trace",
          [](const Session& s, int segment) { return ToPython()(describe_trace(s.graph(), s.plan(), segment)); },
          py::arg("segment"));
  m.def(
      "peak_rate", [](const std::string& isa, double seconds) { return peak_rate(select_kernels(isa), seconds); },
      py::call_guard<py::gil_scoped_release>());
  m.attr("MAX_THREADS") = kMaxThreads;
  m.attr("MAX_CHUNKS") = kMaxChunks;
  m.def("schedules", [] {
    std::vector<std::string> names;
    for (Schedule s : kSchedules) names.emplace_back(schedule_name(s));
    return names;
  });
  m.def("isas", [] {
    std::vector<std::string> names;
    for (const KernelTable* table : usable_kernels()) names.emplace_back(table->isa);
    return names;
  });
}
