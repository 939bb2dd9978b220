#include "base/thread_priority.h"

#include <thread>

#ifdef __linux__
#include <sys/resource.h>
#elif defined(__APPLE__)
#include <pthread.h>
#endif

namespace segue {
namespace {

thread_local const std::atomic<bool>* hurried = nullptr;

}  // namespace

void GiveWay() {
  if (hurried != nullptr && !hurried->load(std::memory_order_relaxed)) std::this_thread::yield();
}

void LowerThreadPriority(ThreadPriority priority, const std::atomic<bool>* hurry) {
  hurried = hurry;
  const bool soon = priority == ThreadPriority::kSoon;
#ifdef __linux__
  // On Linux a nice value belongs to a thread. A share, not nothing: work that
  // never gets a turn would pile up.
  static_cast<void>(setpriority(PRIO_PROCESS, 0, soon ? 5 : 10));
#elif defined(__APPLE__)
  static_cast<void>(pthread_set_qos_class_self_np(soon ? QOS_CLASS_DEFAULT : QOS_CLASS_UTILITY, 0));
#endif
}

}  // namespace segue
