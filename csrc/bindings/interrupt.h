// Ctrl-C and Arrow streams for bindings whose calls take long.
#pragma once

#include <pybind11/pybind11.h>

#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "base/arrow_array.h"
#include "bindings/bindings.h"
#include "bindings/gil.h"

namespace segue::bindings {

// Asks Python for pending signals, at most every 50 ms. Called without the GIL,
// from the thread that made the call; only the main thread receives signals.
class SignalCheck {
 public:
  Status operator()() {
    const auto now = std::chrono::steady_clock::now();
    if (now < next_) return Status();
    next_ = now + std::chrono::milliseconds(50);
    const GilAcquire gil;
    if (PyErr_CheckSignals() == 0) return Status();
    error_.emplace();  // takes the pending exception, so that clean-up runs without one
    return Status::Cancelled("interrupted");
  }

  // With the GIL: raises what a signal handler raised, else what `status` stands for.
  void Throw(const Status& status) {
    if (error_) {
      pybind11::error_already_set error = std::move(*error_);
      error_.reset();
      throw error;
    }
    // A signal may have hit a stream made by Python, and come back as its text.
    if (!status.ok() && status.message().find("KeyboardInterrupt") != std::string::npos) {
      PyErr_SetNone(PyExc_KeyboardInterrupt);
      throw pybind11::error_already_set();
    }
    ThrowIfError(status);
  }

 private:
  std::chrono::steady_clock::time_point next_ = std::chrono::steady_clock::now() + std::chrono::milliseconds(50);
  std::optional<pybind11::error_already_set> error_;
};

// Tells a Python callable how far a call has come: at once, and then at most every 50 ms. Asks for signals as well.
// `progress` may be None. Called without the GIL.
class ProgressCheck {
 public:
  explicit ProgressCheck(pybind11::object progress) : progress_(std::move(progress)) {}

  Status operator()(uint64_t done, uint64_t left) {
    SEGUE_RETURN_IF_ERROR(signals_());
    const auto now = std::chrono::steady_clock::now();
    if (progress_.is_none() || now < next_) return Status();
    next_ = now + std::chrono::milliseconds(50);
    const GilAcquire gil;
    // Not a call of pybind11's, whose frames own the arguments.
    PyObject* const result = OrStandStill([&] {
      return PyObject_CallFunction(progress_.ptr(), "KK", static_cast<unsigned long long>(done),
                                   static_cast<unsigned long long>(left));
    });
    if (result != nullptr) {
      Py_DECREF(result);
      return Status();
    }
    raised_.emplace();
    return Status::Cancelled("the progress callback raised");
  }

  // With the GIL: raises what the callable or a signal handler raised, else what `status` stands for.
  void Throw(const Status& status) {
    if (raised_) {
      pybind11::error_already_set error = std::move(*raised_);
      raised_.reset();
      throw error;
    }
    signals_.Throw(status);
  }

 private:
  const pybind11::object progress_;
  std::chrono::steady_clock::time_point next_{};
  SignalCheck signals_;
  std::optional<pybind11::error_already_set> raised_;
};

// A stream made by the core, as Python sees it. The Arrow C interface carries an
// error as text only: pyarrow raises its own class for it. raise_error() then
// raises Segue's.
class ArrowStream : public std::enable_shared_from_this<ArrowStream> {
 public:
  // `next` as in ExportStream; `owner` stays alive with the stream.
  ArrowStream(Schema schema, NextBatch next) : schema_(std::move(schema)), next_(std::move(next)) {}
  virtual ~ArrowStream() = default;

  pybind11::capsule ExportSchema() const {
    auto arrow = std::make_unique<ArrowSchema>();
    SchemaToArrow(schema_, arrow.get());
    return SchemaToCapsule(arrow.release());
  }

  pybind11::capsule Export() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (exported_) ThrowIfError(Status::Invalid("this stream was already consumed; make another one"));
      exported_ = true;
    }
    auto arrow = std::make_unique<ArrowArrayStream>();
    ExportStream(schema_, [self = shared_from_this()](ArrowArray* out) { return self->Next(out); }, arrow.get());
    return StreamToCapsule(arrow.release());
  }

  Result<bool> Next(ArrowArray* out) {
    const std::lock_guard<std::mutex> lock(mutex_);
    Result<bool> more = next_(out);
    if (!more.ok()) status_ = more.status();
    return more;
  }

  Status status() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return status_;
  }

  const Schema& schema() const { return schema_; }

 protected:
  std::mutex mutex_;  // a stream belongs to one thread at a time; a mistake must not crash

 private:
  const Schema schema_;
  NextBatch next_;
  bool exported_ = false;
  Status status_;
};

// Adds __arrow_c_stream__, __arrow_c_schema__, schema and raise_error to a class derived from ArrowStream.
template <typename Class>
void BindStream(Class& bound) {
  namespace py = pybind11;
  using Stream = typename Class::type;
  bound
      .def(
          "__arrow_c_stream__", [](Stream& self, const py::object&) { return self.Export(); },
          py::arg("requested_schema") = py::none(), "The Arrow PyCapsule protocol; a stream is consumed once.")
      .def("__arrow_c_schema__", [](const Stream& self) { return self.ExportSchema(); })
      .def_property_readonly(
          "schema", [](const py::object& self) { return py::module_::import("pyarrow").attr("schema")(self); },
          "The stream's pyarrow.Schema.")
      .def(
          "raise_error",
          [](Stream& self) {
            Status status;
            {
              const GilRelease release;
              status = self.status();
            }
            ThrowIfError(status);
          },
          "Raise the error that ended the stream, if one did, as its segue class.");
}

// The reader of a capsule's stream, which it takes over.
inline StreamReader TakeStream(const pybind11::handle& capsule) {
  ArrowArrayStream* stream = StreamFromCapsule(capsule);
  Result<StreamReader> reader = [&] {
    const GilRelease release;
    return StreamReader::Make(stream);
  }();
  return Unwrap(std::move(reader));
}

}  // namespace segue::bindings
