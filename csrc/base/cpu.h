// CPU features and the instruction set that the kernels run with.
//
// SEGUE_ISA=scalar|avx2 (avx512, neon: no kernels so far) in the environment, read once at first use,
// forces one; a value that this CPU or build lacks is an error reported by
// ActiveIsa(), never a silent fallback.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"

namespace segue {

enum class Isa : int { kScalar = 0, kAvx2 = 1, kAvx512 = 2, kNeon = 3 };

const char* IsaName(Isa isa);
bool CpuHas(Isa isa);                    // this CPU can run it and this build contains it
bool CpuHasCrc32c();                     // hardware CRC32C
std::vector<std::string> CpuFeatures();  // names, for reports
Result<Isa> ActiveIsa();                 // the forced one, else the best available

}  // namespace segue
