// What the binding files share: one Bind function each, the one translation of
// Status into exceptions, and the Arrow PyCapsule helpers.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "base/arrow_abi.h"
#include "base/status.h"

namespace segue::bindings {

void BindErrors(pybind11::module_& m);      // errors.cc
void BindLogging();                         // logging.cc: background errors
void BindEvents(pybind11::module_& m);      // bind_events.cc: Act 1
void BindPipeline(pybind11::module_& m);    // bind_pipeline.cc: Act 2
void BindScan(pybind11::module_& m);        // bind_scan.cc: Act 3
void BindKernels(pybind11::module_& m);     // bind_kernels.cc: segue.kernels
void BindBloom(pybind11::module_& m);       // bind_bloom.cc: the bloom filter, called by BindSstable
void BindSstable(pybind11::module_& m);     // bind_sstable.cc: SSTable seams for the test suite
void BindCompaction(pybind11::module_& m);  // bind_compaction.cc: windows and merges, called by BindTesting
void BindSkipList(pybind11::module_& m);    // bind_skiplist.cc: one writer, many readers, called by BindTesting
void BindKernelLoops(
    pybind11::module_& m);  // bind_kernel_loops.cc: loops for benchmarks/kernels, called by BindTesting
void BindPackedKernels(
    pybind11::module_& m);               // bind_packed_kernels.cc: unpacking by instruction set, called by BindTesting
void BindTesting(pybind11::module_& m);  // bind_testing.cc: seams for the test suite

// Raises the segue.Error subclass that fits; needs the GIL. No-op when ok.
void ThrowIfError(const Status& status);

template <typename T>
T Unwrap(Result<T> result) {
  ThrowIfError(result.status());
  return result.Take();
}

// The pointer inside a PyCapsule of the Arrow protocol, still owned by the
// capsule: move it out (copy the struct, set release to null) to take it.
// Raises TypeError when `capsule` is not one.
ArrowArrayStream* StreamFromCapsule(const pybind11::handle& capsule);
ArrowSchema* SchemaFromCapsule(const pybind11::handle& capsule);
ArrowArray* ArrayFromCapsule(const pybind11::handle& capsule);

// Wraps a heap-allocated struct; the capsule releases and deletes it.
pybind11::capsule StreamToCapsule(ArrowArrayStream* stream);
pybind11::capsule SchemaToCapsule(ArrowSchema* schema);
pybind11::capsule ArrayToCapsule(ArrowArray* array);

}  // namespace segue::bindings
