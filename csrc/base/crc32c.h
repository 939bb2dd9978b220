// CRC32C (Castagnoli), the checksum of every Segue file.
//
// Uses the CPU's crc32 instruction where there is one (SSE4.2, ARMv8 CRC),
// else slicing-by-8, as with SEGUE_ISA=scalar. Crc32cScalar is the reference twin.
#pragma once

#include <cstddef>
#include <cstdint>

namespace segue {

// CRC of `data`, continuing from `crc` (0 to start).
uint32_t Crc32c(const void* data, size_t size, uint32_t crc = 0);
uint32_t Crc32cScalar(const void* data, size_t size, uint32_t crc = 0);

// What Crc32c runs with: "sse4.2", "crc32" (ARMv8) or "scalar".
const char* Crc32cIsaName();

}  // namespace segue
