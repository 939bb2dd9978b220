// WalReader: reads the records of one write-ahead log file in order.
//
// For recovery, and for a reader beside a live writer: after Next() returned
// false it may be called again, and goes on where new records have appeared.
//
// Where the records end: at the first place that holds no record of this
// file's generation with a right CRC. At or beyond synced_to that is the torn
// tail of a crash (or simply the end), and quiet; below, bytes that were on the
// medium have changed, which is kCorruption with the offset.
//
// Thread safety: none; one thread at a time.
// Ownership: a record's payload is valid until the next call of Next or SeekTo.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/env.h"
#include "base/status.h"
#include "events/wal_format.h"

namespace segue {

struct WalRecord {
  WalRecordType type{};
  uint64_t first_seq = 0;
  uint32_t count = 0;
  uint64_t offset = 0;  // of the record in the file
  std::string_view payload;
};

class WalReader {
 public:
  // kCorruption when the header is damaged or names another store.
  static Result<std::unique_ptr<WalReader>> Open(Env* env, const std::string& path, const StoreId& store_id);

  // The first record, without going on; false where there is none yet.
  Result<bool> First(WalRecord* out);
  // Of the first event in the log, or that would be: `first` is its first record, or null.
  uint64_t FirstSequence(const WalRecord* first) const {
    return first != nullptr && header_.made_ahead ? first->first_seq : header_.first_sequence;
  }
  // False at the end (see above). kClosed when the file was reused for a newer
  // log meanwhile: look its successor up in the manifest.
  Result<bool> Next(WalRecord* out);

  // Reads the note in the header again. kClosed as in Next.
  Status ReadSyncedWord();

  // Where the record after the last one returned begins: a place to resume.
  uint64_t last_offset() const { return offset_; }
  // Goes on at `offset`, which last_offset() gave for this file and generation.
  Status SeekTo(uint64_t offset);

  const WalHeader& header() const { return header_; }
  // The note in the header, as last read: never above what was synced.
  uint64_t synced_to() const { return synced_to_; }
  // Whether all logs before this one were complete on the medium when it began, or had its first sync: a log is
  // synced after those before it. (Or, of a recovery's copy of the log before it, has all of that.)
  bool ProvesPriorSynced() const { return header_.prior_synced || synced_to_ > kWalHeaderSize; }
  uint64_t capacity() const { return capacity_; }

 private:
  explicit WalReader(std::unique_ptr<RandomAccessFile> file);

  Status ReadHeader(const StoreId& store_id);
  // Bytes [offset, offset + n) of the file, through the buffer; null past its end.
  Result<const uint8_t*> View(uint64_t offset, uint64_t n);
  // Parses the record at offset_; `why` says what is wrong when it is none.
  Result<bool> ParseHere(WalRecord* out, const char** why);

  std::unique_ptr<RandomAccessFile> file_;
  WalHeader header_;
  uint8_t header_bytes_[wal_header::kSynced] = {};
  uint64_t capacity_ = 0;
  uint64_t synced_to_ = kWalHeaderSize;
  uint64_t offset_ = kWalHeaderSize;

  std::unique_ptr<uint8_t[]> buffer_;
  uint64_t buffer_capacity_ = 0;
  uint64_t buffer_begin_ = 0;  // file offsets of the bytes in the buffer
  uint64_t buffer_end_ = 0;
  uint64_t chunk_;  // how much to read at once: little at the end of a log that is followed
};

// kCorruption: the records of the log at `path` end at `offset` with event `last`, and the log `next`, which
// proves it to have been synced, begins with event `first`.
Status LogEndsEarly(const std::string& path, uint64_t offset, uint64_t last, const std::string& next, uint64_t first);

}  // namespace segue
