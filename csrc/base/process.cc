#include "base/process.h"

#include <pthread.h>
#include <unistd.h>

#include <atomic>

namespace segue {
namespace {

struct ForkCounter {
  ForkCounter() : counted(pthread_atfork(nullptr, nullptr, &ForkCounter::CountChild) == 0) {}

  static void CountChild() { children.fetch_add(1, std::memory_order_relaxed); }

  static inline std::atomic<uint64_t> children{0};
  const bool counted;
};

}  // namespace

uint64_t ForkGeneration() {
  static const ForkCounter counter;
  // Without memory for the handler there is still the system call.
  return counter.counted ? ForkCounter::children.load(std::memory_order_relaxed) : static_cast<uint64_t>(getpid());
}

}  // namespace segue
