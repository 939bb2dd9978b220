// Thread priority, for background work that must not get in the way.
//
// Thread safety: concerns the calling thread only.
#pragma once

#include <atomic>

namespace segue {

enum class ThreadPriority {
  kSoon,   // somebody waits for it in the end: a third of a normal thread's share
  kLater,  // nobody does: a tenth
};

// Lets every thread of normal priority go first; for good. A hint: does nothing
// where the system does not know priorities of threads. `hurry`, which outlives the
// thread, says when GiveWay is to do nothing; null: always.
void LowerThreadPriority(ThreadPriority priority, const std::atomic<bool>* hurry = nullptr);

// To be called every half a millisecond or so by the work of such threads: a
// thread that waits for this very processor goes first. A priority alone lets a
// scheduler end the slice of some 4 ms that it gave a thread, whoever is woken
// meanwhile; commits, which sleep and wake all the time, then had a p99 of 3.3
// instead of 0.9 ms. Where all processors are busy each call costs a slice, hence `hurry`.
void GiveWay();

}  // namespace segue
