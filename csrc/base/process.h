// ForkGeneration: tells a forked child that it is one, without a system call.
//
// Thread safety: any thread.
#pragma once

#include <cstdint>

namespace segue {

// Differs between a process and a child that it forked: remember it where
// something is opened, compare it where that is used.
uint64_t ForkGeneration();

}  // namespace segue
