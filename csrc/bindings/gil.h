// GilRelease and GilAcquire: letting go of the GIL around a long call, and taking it for a callback.
//
// As pybind11's own, but for the end of the interpreter: then Python ends a
// thread that wants the GIL back by unwinding its stack, up to a destructor,
// which may not throw, and the whole process would abort. Here such a thread
// stands still until the process is gone, as Python itself does it from 3.14 on.
#pragma once

#include <pybind11/pybind11.h>
#include <unistd.h>

#include <optional>

#ifdef __GLIBCXX__
#include <cxxabi.h>
#endif

namespace segue::bindings {

template <typename TakeGil>
void TakeGilOrStandStill(TakeGil take) {
#ifdef __GLIBCXX__
  try {
    take();
  } catch (abi::__forced_unwind&) {
    for (;;) ::pause();
  }
#else
  take();
#endif
}

class GilRelease {
 public:
  GilRelease() : state_(PyEval_SaveThread()) {}
  ~GilRelease() {
    TakeGilOrStandStill([this] { PyEval_RestoreThread(state_); });
  }
  GilRelease(const GilRelease&) = delete;
  GilRelease& operator=(const GilRelease&) = delete;

 private:
  PyThreadState* state_;
};

class GilAcquire {
 public:
  GilAcquire() {
    TakeGilOrStandStill([this] { gil_.emplace(); });
  }

 private:
  std::optional<pybind11::gil_scoped_acquire> gil_;
};

}  // namespace segue::bindings
