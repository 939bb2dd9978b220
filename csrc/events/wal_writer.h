// WalWriter: appends records to one write-ahead log file.
//
// Two ways, by what an append promises on its return (WalMode):
//
//   kThrough  the record is in the file: it survives a killed process at once,
//             power loss after Sync(). A small record is a store into the
//             file's mapping, without a system call; a large one a write.
//   kStaged   the record is in memory only, until Sync() writes all that came
//             since the last one and syncs it. For stores that acknowledge
//             nothing before it is synced: one write and one sync for all who
//             wait, and several times faster than syncing a mapping (env.h).
//
// Thread safety: Fits, AtOnce and Append belong to one thread at a time. Sync, Seal,
// end_offset and synced_offset may be called from any thread meanwhile.
// Invariants: bytes below end_offset() are complete records; a reader that maps
// or reads the file meanwhile never takes half of one for a record: its first
// word is stored last, or its CRC does not fit yet. synced_offset() <=
// end_offset(), both at record boundaries. After a failed write or sync the
// writer is failed for good: the system may have dropped the pages, so it is
// never tried again.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "base/env.h"
#include "base/private_pages.h"
#include "base/status.h"
#include "events/wal_format.h"

namespace segue {

enum class WalMode : uint8_t { kThrough, kStaged };

class WalWriter {
 public:
  // Makes the file complete under a temporary name (`path` + ".new"), syncs it,
  // renames it to `path` and syncs the folder: a log under its own name always
  // has a good header. `recycle`, when given, is a log that is needed no more:
  // its blocks are reused, which makes the syncs of the new one cheaper. A crash
  // in between may leave it damaged, so it must be out of the manifest before.
  static Result<std::unique_ptr<WalWriter>> Create(Env* env, const std::string& path, const WalHeader& header,
                                                   WalMode mode, uint64_t capacity = kWalDefaultCapacity,
                                                   const std::string& recycle = {});

  // Capacity of a file that holds one record of `payload` bytes, and at least the default.
  static uint64_t FileSizeFor(size_t payload);

  // Whether a record with so much payload can be appended: the file has room
  // (else start a new one), and status() is ok.
  bool Fits(size_t payload_size) const;
  // Whether that would be a store into memory that is ready for it, and wait for nothing.
  bool AtOnce(size_t payload_size) const;
  // Appends one record, which Fits. On an error it is not in the log.
  Status Append(WalRecordType type, uint64_t first_seq, uint32_t count, std::string_view payload);

  // Makes every record below `upto` durable, and all others appended by now.
  Status Sync(uint64_t upto);
  // Sync of everything, and of the note in the header that it was: then damage
  // anywhere in the file is told from a torn tail. For a log that is complete.
  Status Seal();

  uint64_t end_offset() const { return end_.load(std::memory_order_acquire); }
  uint64_t synced_offset() const { return synced_.load(std::memory_order_acquire); }
  uint64_t capacity() const { return capacity_; }
  const WalHeader& header() const { return header_; }
  const std::string& path() const { return path_; }
  Status status() const;  // the first error of Append, Sync or Seal
  // Expires when this writer has let go of its file, which is after pointers to it have expired.
  std::weak_ptr<const void> mapping() const { return mapping_; }

 private:
  WalWriter(std::string path, const WalHeader& header, std::unique_ptr<MappedFile> file);

  Status PrepareStores(uint64_t begin, uint64_t end);
  Status SyncLocked(uint64_t upto);
  Status SyncFile(uint64_t end);
  Status ZeroAhead();
  Status StoreNote(uint64_t synced_to);
  Status Fail(Status status);

  const std::shared_ptr<const void> mapping_ = std::make_shared<char>();  // before file_: destroyed after it
  std::string path_;
  WalHeader header_;
  std::unique_ptr<MappedFile> file_;
  std::unique_ptr<PrivatePages> image_;  // kStaged: of the file, bytes not yet written
  uint8_t* data_;                        // of image_ or file_
  uint64_t capacity_;
  uint64_t prepared_ = kWalHeaderSize;  // pages of data_ below are ready for stores
  std::atomic<uint64_t> end_{kWalHeaderSize};
  std::atomic<uint64_t> synced_{kWalHeaderSize};
  std::mutex sync_mutex_;                // one sync at a time; guards what follows
  uint64_t written_ = kWalHeaderSize;    // kStaged: bytes below are in the file
  uint64_t zeroed_ = kWalHeaderSize;     // kStaged: below, each block of the file was written at least once
  uint64_t discarded_ = kWalHeaderSize;  // kStaged: pages below are given back
  mutable std::mutex status_mutex_;
  std::atomic<bool> failed_{false};
  Status status_;
};

}  // namespace segue
