#include "base/thread_priority.h"

#ifdef __linux__
#include <sys/resource.h>
#elif defined(__APPLE__)
#include <pthread.h>
#endif

namespace segue {

void LowerThreadPriority() {
#ifdef __linux__
  // On Linux a nice value belongs to a thread. A tenth of the weight, not
  // nothing: work that never gets a turn would pile up.
  constexpr int kNice = 10;
  static_cast<void>(setpriority(PRIO_PROCESS, 0, kNice));
#elif defined(__APPLE__)
  static_cast<void>(pthread_set_qos_class_self_np(QOS_CLASS_UTILITY, 0));
#endif
}

}  // namespace segue
