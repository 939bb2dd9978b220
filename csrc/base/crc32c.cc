#include "base/crc32c.h"

#include <array>
#include <cstdlib>
#include <cstring>

#include "base/coding.h"
#include "base/cpu.h"

#if defined(__x86_64__)
#include <nmmintrin.h>
#elif defined(__aarch64__)
#include <arm_acle.h>
#endif

namespace segue {
namespace {

constexpr uint32_t kPolynomial = 0x82F63B78;  // reflected Castagnoli

constexpr std::array<std::array<uint32_t, 256>, 8> MakeTables() {
  std::array<std::array<uint32_t, 256>, 8> tables{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) ? kPolynomial : 0);
    tables[0][i] = crc;
  }
  for (uint32_t i = 0; i < 256; ++i) {
    for (size_t t = 1; t < 8; ++t) tables[t][i] = (tables[t - 1][i] >> 8) ^ tables[0][tables[t - 1][i] & 0xFF];
  }
  return tables;
}

constexpr auto kTables = MakeTables();

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) uint32_t Crc32cHardware(const uint8_t* p, size_t n, uint32_t crc) {
  uint64_t state = crc;
  for (; n >= 8; p += 8, n -= 8) state = _mm_crc32_u64(state, LoadAs<uint64_t>(p));
  auto state32 = static_cast<uint32_t>(state);
  for (; n > 0; ++p, --n) state32 = _mm_crc32_u8(state32, *p);
  return state32;
}
#elif defined(__aarch64__)
__attribute__((target("+crc"))) uint32_t Crc32cHardware(const uint8_t* p, size_t n, uint32_t crc) {
  for (; n >= 8; p += 8, n -= 8) crc = __crc32cd(crc, LoadAs<uint64_t>(p));
  for (; n > 0; ++p, --n) crc = __crc32cb(crc, *p);
  return crc;
}
#else
uint32_t Crc32cHardware(const uint8_t* p, size_t n, uint32_t crc) { return ~Crc32cScalar(p, n, ~crc); }
#endif

// An instruction of its own, which neither needs AVX2 nor comes with it: only "scalar" forbids it.
bool UseHardware() {
  static const bool use = [] {
    const char* forced = std::getenv("SEGUE_ISA");
    return CpuHasCrc32c() && (forced == nullptr || std::strcmp(forced, IsaName(Isa::kScalar)) != 0);
  }();
  return use;
}

}  // namespace

uint32_t Crc32cScalar(const void* data, size_t size, uint32_t crc) {
  const auto* p = static_cast<const uint8_t*>(data);
  crc = ~crc;
  for (; size >= 8; p += 8, size -= 8) {
    const uint64_t word = LoadAs<uint64_t>(p) ^ crc;
    crc = 0;
    for (size_t i = 0; i < 8; ++i) crc ^= kTables[7 - i][(word >> (8 * i)) & 0xFF];
  }
  for (; size > 0; ++p, --size) crc = (crc >> 8) ^ kTables[0][(crc ^ *p) & 0xFF];
  return ~crc;
}

uint32_t Crc32c(const void* data, size_t size, uint32_t crc) {
  if (!UseHardware()) return Crc32cScalar(data, size, crc);
  return ~Crc32cHardware(static_cast<const uint8_t*>(data), size, ~crc);
}

const char* Crc32cIsaName() {
#if defined(__x86_64__)
  return UseHardware() ? "sse4.2" : "scalar";
#else
  return UseHardware() ? "crc32" : "scalar";
#endif
}

}  // namespace segue
