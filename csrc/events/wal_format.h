// The write-ahead log on disk, version 1. docs/formats/wal.md is the reference.
//
// A file is one header page of 4096 bytes and then records, each on an 8-byte
// boundary, back to back. It has its full size from the start and may hold
// bytes of an earlier life: a record is one only when its CRC and its
// generation fit. All integers are little-endian.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/coding.h"
#include "base/crc32c.h"

namespace segue {

constexpr char kWalMagic[] = "SEGUEWAL";
constexpr uint32_t kWalVersion = 1;
constexpr uint64_t kWalHeaderSize = 4096;
constexpr uint64_t kWalRecordHeaderSize = 32;
constexpr uint64_t kWalDefaultCapacity = uint64_t{64} << 20;
// The synced word counts units of 8 bytes in 32 bits.
constexpr uint64_t kWalMaxCapacity = uint64_t{8} * UINT32_MAX;
constexpr uint64_t kWalMaxPayload = UINT32_MAX - 7;

// The log carries types, it does not interpret them. 0 is never a record.
enum class WalRecordType : uint8_t {
  kRows = 1,
  kBatch = 2,
};

using StoreId = std::array<uint8_t, 16>;

struct WalHeader {
  StoreId store_id{};
  uint64_t generation = 0;      // at least 1; greater than any earlier one of this store
  uint64_t first_sequence = 0;  // of the first event in this file; made ahead: it has none that is lower
  bool prior_synced = false;    // every earlier log of the store was synced to its end when this one began
  bool made_ahead = false;      // before it was known where the log before ends
};

// Byte offsets in the header page.
namespace wal_header {
constexpr size_t kMagic = 0;           // 8 bytes
constexpr size_t kVersion = 8;         // u32
constexpr size_t kFlags = 12;          // u32: bit 0 prior_synced, bit 1 made_ahead
constexpr size_t kStoreId = 16;        // 16 bytes
constexpr size_t kGeneration = 32;     // u64
constexpr size_t kFirstSequence = 40;  // u64
constexpr size_t kCapacity = 48;       // u64: size of the file
constexpr size_t kReserved = 56;       // u32: 0
constexpr size_t kCrc = 60;            // u32: CRC32C of bytes 0 to 59
constexpr size_t kSynced = 64;         // u64: the synced word
constexpr size_t kEnd = 72;            // zeros up to 4096
}  // namespace wal_header

// Byte offsets in a record.
namespace wal_record {
constexpr size_t kCrc = 0;         // u32: CRC32C of all that follows, padding included
constexpr size_t kLength = 4;      // u32: bytes of payload
constexpr size_t kGeneration = 8;  // u64
constexpr size_t kFirstSeq = 16;   // u64
constexpr size_t kCount = 24;      // u32
constexpr size_t kType = 28;       // u8, then 3 zeros
}  // namespace wal_record

constexpr uint64_t WalAlign(uint64_t n) { return (n + 7) & ~uint64_t{7}; }

// Bytes that a record takes in the file.
constexpr uint64_t WalRecordSize(uint64_t payload) { return kWalRecordHeaderSize + WalAlign(payload); }

// How far the file is known to be on the medium, in one aligned 8-byte word, so
// that neither a reader nor a power loss ever sees half of it: the offset in
// units of 8 bytes (low half) and the CRC32C of generation and that (high half).
inline uint64_t WalSyncedWord(uint64_t generation, uint64_t synced_to) {
  uint8_t bytes[12];
  const auto units = static_cast<uint32_t>(synced_to / 8);
  StoreAs<uint64_t>(bytes, generation);
  StoreAs<uint32_t>(bytes + 8, units);
  return uint64_t{Crc32c(bytes, sizeof(bytes))} << 32 | units;
}

// False when `word` is not a synced word of this generation.
inline bool ParseWalSyncedWord(uint64_t word, uint64_t generation, uint64_t* synced_to) {
  const uint64_t offset = (word & UINT32_MAX) * 8;
  if (WalSyncedWord(generation, offset) != word) return false;
  *synced_to = offset;
  return true;
}

}  // namespace segue
