// GilRelease and GilAcquire: letting go of the GIL around a long call, and taking it for a callback.
//
// They stand in for pybind11's own, which abort the process when the interpreter
// ends: before 3.14 Python then ends a thread that wants the GIL by unwinding its
// stack, which meets a destructor that may not throw. Here such a thread stands
// still until the process is gone, as Python itself does it from 3.14 on.
#pragma once

#include <pybind11/pybind11.h>
#include <unistd.h>

#include <optional>

#ifdef __GLIBCXX__
#include <cxxabi.h>
#endif

namespace segue::bindings {

[[noreturn]] inline void StandStill() {
  for (;;) ::pause();
}

// What `call` returns. `call` may run Python; it must own nothing, as its own
// frames are unwound without the GIL.
template <typename Call>
auto OrStandStill(Call call) {
#ifdef __GLIBCXX__
  try {
    return call();
  } catch (abi::__forced_unwind&) {
    StandStill();
  }
#else
  return call();
#endif
}

class GilRelease {
 public:
  GilRelease() : state_(PyEval_SaveThread()) {}
  ~GilRelease() {
    OrStandStill([this] { PyEval_RestoreThread(state_); });
  }
  GilRelease(const GilRelease&) = delete;
  GilRelease& operator=(const GilRelease&) = delete;

 private:
  PyThreadState* state_;
};

class GilAcquire {
 public:
  GilAcquire() {
    OrStandStill([this] { gil_.emplace(); });
  }
  // The interpreter may have ended in the middle of the callback, at a switch of
  // threads. Then the GIL is another's, and letting go of it would be fatal to that one.
  ~GilAcquire() {
    if (!PyGILState_Check()) StandStill();
  }
  GilAcquire(const GilAcquire&) = delete;
  GilAcquire& operator=(const GilAcquire&) = delete;

 private:
  std::optional<pybind11::gil_scoped_acquire> gil_;
};

}  // namespace segue::bindings
