// Lets background threads of the core write to Python's logging.getLogger("segue").
#pragma once

#include <pybind11/pybind11.h>

#include <string>

namespace segue::bindings {

// From any thread, without the GIL, and never waiting for it: the main thread
// logs it at the next bytecode it runs. Dropped once the interpreter exits, or
// when dozens are waiting already.
void LogError(const std::string& message);

}  // namespace segue::bindings
