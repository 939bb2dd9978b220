// The one place where a Status becomes a Python exception, and the Arrow
// capsule helpers that every binding file uses.
#include <exception>

#include "bindings/bindings.h"
#include "bindings/gil.h"

namespace segue::bindings {

namespace py = pybind11;

namespace {

// The class of pysrc/segue/errors.py that stands for `code`.
const char* ClassName(StatusCode code) {
  switch (code) {
    case StatusCode::kSchema:
      return "SchemaError";
    case StatusCode::kCorruption:
      return "CorruptionError";
    case StatusCode::kClosed:
      return "ClosedError";
    case StatusCode::kLocked:
      return "LockedError";
    case StatusCode::kReadOnly:
      return "ReadOnlyError";
    case StatusCode::kCancelled:
      return "Cancelled";
    case StatusCode::kInvalid:
      return "InvalidError";
    case StatusCode::kIo:
      return "StorageError";
    case StatusCode::kMemory:
      return "BudgetError";
    case StatusCode::kUnsupported:
      return "UnsupportedError";
    case StatusCode::kOk:
      break;
  }
  return "Error";
}

PyObject* Text(const std::string& text) {
  return PyUnicode_FromStringAndSize(text.data(), static_cast<Py_ssize_t>(text.size()));
}

// The exception that `status` stands for, or null with another one set.
PyObject* MakeError(const Status& status) {
  PyObject* errors = PyImport_ImportModule("segue.errors");
  if (errors == nullptr) return nullptr;
  PyObject* type = PyObject_GetAttrString(errors, ClassName(status.code()));
  Py_DECREF(errors);
  if (type == nullptr) return nullptr;
  PyObject* error = nullptr;
  switch (status.code()) {
    case StatusCode::kCorruption:
    case StatusCode::kIo:
      error = PyObject_CallFunction(type, "NNL", Text(status.message()), Text(status.context()),
                                    static_cast<long long>(status.number()));
      break;
    case StatusCode::kSchema:
      error = PyObject_CallFunction(type, "NN", Text(status.message()), Text(status.context()));
      break;
    default:
      error = PyObject_CallFunction(type, "N", Text(status.message()));
  }
  Py_DECREF(type);
  return error;
}

}  // namespace

void ThrowIfError(const Status& status) {
  if (status.ok()) return;
  // Plain references, as the classes are Python code: threads may switch in it, and the interpreter end meanwhile.
  PyObject* error = OrStandStill([&] { return MakeError(status); });
  if (error != nullptr) {
    PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(error)), error);
    Py_DECREF(error);
  }
  throw py::error_already_set();
}

void BindErrors(py::module_&) {
  py::register_exception_translator([](std::exception_ptr p) {
    try {
      if (p) std::rethrow_exception(p);
    } catch (const std::bad_alloc&) {
      PyErr_SetString(PyExc_MemoryError, "out of memory");
    }
  });
}

namespace {

template <typename T>
T* FromCapsule(const py::handle& capsule, const char* name) {
  void* pointer = PyCapsule_GetPointer(capsule.ptr(), name);
  if (pointer == nullptr) throw py::error_already_set();
  return static_cast<T*>(pointer);
}

template <typename T>
py::capsule ToCapsule(T* pointer, const char* name) {
  PyObject* capsule = PyCapsule_New(pointer, name, [](PyObject* self) {
    auto* held = static_cast<T*>(PyCapsule_GetPointer(self, PyCapsule_GetName(self)));
    if (held->release != nullptr) held->release(held);
    delete held;
  });
  if (capsule == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::capsule>(capsule);
}

}  // namespace

ArrowArrayStream* StreamFromCapsule(const py::handle& capsule) {
  return FromCapsule<ArrowArrayStream>(capsule, "arrow_array_stream");
}
ArrowSchema* SchemaFromCapsule(const py::handle& capsule) { return FromCapsule<ArrowSchema>(capsule, "arrow_schema"); }
ArrowArray* ArrayFromCapsule(const py::handle& capsule) { return FromCapsule<ArrowArray>(capsule, "arrow_array"); }

py::capsule StreamToCapsule(ArrowArrayStream* stream) { return ToCapsule(stream, "arrow_array_stream"); }
py::capsule SchemaToCapsule(ArrowSchema* schema) { return ToCapsule(schema, "arrow_schema"); }
py::capsule ArrayToCapsule(ArrowArray* array) { return ToCapsule(array, "arrow_array"); }

}  // namespace segue::bindings
