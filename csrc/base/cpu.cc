#include "base/cpu.h"

#include <cstdlib>
#include <cstring>

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#ifndef HWCAP_CRC32
#define HWCAP_CRC32 (1 << 7)
#endif
#endif

namespace segue {

const char* IsaName(Isa isa) {
  switch (isa) {
    case Isa::kScalar:
      return "scalar";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvx512:
      return "avx512";
    case Isa::kNeon:
      return "neon";
  }
  return "?";
}

bool CpuHas(Isa isa) {
  switch (isa) {
    case Isa::kScalar:
      return true;
    case Isa::kAvx2:
#if defined(__x86_64__)
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2");
#else
      return false;
#endif
    case Isa::kAvx512:
    case Isa::kNeon:
      return false;  // this build has no kernels for it
  }
  return false;
}

bool CpuHasCrc32c() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("sse4.2");
#elif defined(__aarch64__) && defined(__linux__)
  return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0;
#elif defined(__aarch64__) && defined(__APPLE__)
  return true;
#else
  return false;
#endif
}

std::vector<std::string> CpuFeatures() {
  std::vector<std::string> names;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("sse4.2")) names.emplace_back("sse4.2");
  if (__builtin_cpu_supports("avx2")) names.emplace_back("avx2");
  if (__builtin_cpu_supports("bmi2")) names.emplace_back("bmi2");
  if (__builtin_cpu_supports("avx512f")) names.emplace_back("avx512f");
  if (__builtin_cpu_supports("avx512vbmi")) names.emplace_back("avx512vbmi");
#elif defined(__aarch64__)
  names.emplace_back("neon");
  if (CpuHasCrc32c()) names.emplace_back("crc32");
#endif
  return names;
}

Result<Isa> ActiveIsa() {
  static const Result<Isa> active = []() -> Result<Isa> {
    const char* forced = std::getenv("SEGUE_ISA");
    if (forced == nullptr || *forced == '\0') return CpuHas(Isa::kAvx2) ? Isa::kAvx2 : Isa::kScalar;
    for (Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512, Isa::kNeon}) {
      if (std::strcmp(forced, IsaName(isa)) != 0) continue;
      if (CpuHas(isa)) return isa;
      return Status::Unsupported(std::string("SEGUE_ISA=") + forced +
                                 " is not available on this CPU or in this build; unset it or use 'scalar'");
    }
    return Status::Invalid(std::string("SEGUE_ISA=") + forced + " is unknown; use scalar or avx2");
  }();
  return active;
}

}  // namespace segue
