// CRC32C (Castagnoli), the checksum of every Segue file.
//
// Uses the CPU's crc32 instruction where there is one (SSE4.2, ARMv8 CRC),
// else slicing-by-8. Crc32cScalar is the reference twin.
#pragma once

#include <cstddef>
#include <cstdint>

namespace segue {

// CRC of `data`, continuing from `crc` (0 to start).
uint32_t Crc32c(const void* data, size_t size, uint32_t crc = 0);
uint32_t Crc32cScalar(const void* data, size_t size, uint32_t crc = 0);

}  // namespace segue
