// The C function table through which the Cython row path calls the core, so
// that the core is linked once (into _engine) and a call costs no argument
// casting. _engine exports it as the capsule "segue._engine.row_api".
#pragma once

#include <cstddef>
#include <cstdint>

extern "C" {

struct _object;  // PyObject, without Python.h

struct SegueRowApi {
  // Appends one packed row (events/row_format.h). 0 and *seq, or 1 and *error,
  // which the caller passes to `raise`. Needs no GIL. Thread-safe.
  int (*append)(void* store, const uint8_t* row, size_t size, uint64_t* seq, void** error);
  // Sets the Python exception that `error` stands for, frees it and returns null,
  // as a C function of Python does that raises. Needs the GIL.
  struct _object* (*raise)(void* error);
};
}
