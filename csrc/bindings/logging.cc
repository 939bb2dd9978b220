#include "bindings/logging.h"

#include <atomic>
#include <memory>

#include "bindings/bindings.h"

namespace segue::bindings {
namespace {

std::atomic<bool> exiting{false};

int LogPending(void* argument) {
  const std::unique_ptr<std::string> message(static_cast<std::string*>(argument));
  if (exiting.load(std::memory_order_acquire)) return 0;
  try {
    pybind11::module_::import("logging").attr("getLogger")("segue").attr("error")("%s", *message);
  } catch (pybind11::error_already_set& error) {
    error.discard_as_unraisable("segue");  // it belongs to no caller
  }
  return 0;
}

}  // namespace

void LogError(const std::string& message) {
  if (exiting.load(std::memory_order_acquire)) return;
  auto text = std::make_unique<std::string>(message);
  if (Py_AddPendingCall(&LogPending, text.get()) == 0) (void)text.release();
}

void BindLogging() {
  pybind11::module_::import("atexit").attr("register")(
      pybind11::cpp_function([] { exiting.store(true, std::memory_order_release); }));
}

}  // namespace segue::bindings
