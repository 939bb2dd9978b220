// WalWriter: appends records to one write-ahead log file, through a mapping.
//
// Reserve() gives the place of the payload inside the file itself: the caller
// encodes straight into it, Commit() adds the CRC and publishes. No copy, no
// system call; committed records survive a killed process at once, and power
// loss after Sync().
//
// Thread safety: Reserve and Commit belong to one thread at a time. Sync, Seal,
// end_offset and synced_offset may be called from any thread meanwhile.
// Invariants: bytes below end_offset() are complete records; a reader that maps
// or reads the file meanwhile never sees half of one, as its first word is
// stored last. synced_offset() <= end_offset(), both at record boundaries.
// After a failed Sync the writer is failed for good: the system may have
// dropped the pages, so it is never tried again.
// Ownership: owns the mapping; a pointer from Reserve() is valid until Commit().
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "base/env.h"
#include "base/status.h"
#include "events/wal_format.h"

namespace segue {

class WalWriter {
 public:
  // Makes the file complete under a temporary name (`path` + ".new"), syncs it,
  // renames it to `path` and syncs the folder: a log under its own name always
  // has a good header. `recycle`, when given, is a log that is needed no more:
  // its blocks are reused, which makes the syncs of the new one cheaper. A crash
  // in between may leave it damaged, so it must be out of the manifest before.
  static Result<std::unique_ptr<WalWriter>> Create(Env* env, const std::string& path, const WalHeader& header,
                                                   uint64_t capacity = kWalDefaultCapacity,
                                                   const std::string& recycle = {});

  // Capacity of a file that holds one record of `payload` bytes, and at least the default.
  static uint64_t FileSizeFor(size_t payload);

  // Room for a payload, in the mapping; its bytes are undefined. Null when the
  // file has no room for it (start a new one), or when status() is not ok.
  // Calling it again without Commit gives the reservation up.
  uint8_t* Reserve(size_t payload_size);
  // Publishes the reserved record with the first `payload_size` bytes of it;
  // returns the new end_offset(). More than was reserved is a fault of the caller:
  // nothing is published and the writer has failed.
  uint64_t Commit(WalRecordType type, uint64_t first_seq, uint32_t count, size_t payload_size);

  // Makes every record below `upto` durable, and all others committed by now.
  Status Sync(uint64_t upto);
  // Sync of everything, and of the note in the header that it was: then damage
  // anywhere in the file is told from a torn tail. For a log that is complete.
  Status Seal();

  uint64_t end_offset() const { return end_.load(std::memory_order_acquire); }
  uint64_t synced_offset() const { return synced_.load(std::memory_order_acquire); }
  uint64_t capacity() const { return capacity_; }
  const WalHeader& header() const { return header_; }
  const std::string& path() const { return path_; }
  Status status() const;  // the first error of Reserve, Commit, Sync or Seal

 private:
  WalWriter(std::string path, const WalHeader& header, std::unique_ptr<MappedFile> file);

  Status Fail(Status status);
  Status SyncLocked(uint64_t upto);

  std::string path_;
  WalHeader header_;
  std::unique_ptr<MappedFile> file_;
  uint8_t* data_;
  uint64_t capacity_;
  uint64_t prepared_ = kWalHeaderSize;  // pages below are ready for stores
  uint64_t reserved_ = 0;               // payload bytes
  std::atomic<uint64_t> end_{kWalHeaderSize};
  std::atomic<uint64_t> synced_{kWalHeaderSize};
  std::mutex sync_mutex_;  // one sync at a time
  mutable std::mutex status_mutex_;
  std::atomic<bool> failed_{false};
  Status status_;
};

}  // namespace segue
