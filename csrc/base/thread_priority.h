// Thread priority, for background work that must not get in the way.
//
// Thread safety: concerns the calling thread only.
#pragma once

namespace segue {

enum class ThreadPriority {
  kSoon,   // somebody waits for it in the end: a third of a normal thread's share
  kLater,  // nobody does: a tenth
};

// Lets every thread of normal priority go first; for good. A hint: does nothing
// where the system does not know priorities of threads.
void LowerThreadPriority(ThreadPriority priority);

}  // namespace segue
