#include "events/wal_writer.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

namespace segue {
namespace {

// Pages are made ready for stores this far ahead: one call for 64 pages, and
// no more dirty pages than that beyond the end of the log.
constexpr uint64_t kPrepareAhead = uint64_t{256} << 10;
// Records from this size on are written, not stored: dirtying a page of the
// mapping costs several microseconds, a write call one or two for all.
constexpr size_t kWriteBytes = 4096;
// Zeros are written this far ahead into blocks that are preallocated and were never written: for the first write of
// a block its file system has to note at the next sync that there is something in it, which takes longer than the
// write. One sync of many takes the notes of all these blocks along, and less than a millisecond.
constexpr uint64_t kZeroAhead = uint64_t{512} << 10;
// Staged pages are given back in pieces of this size.
constexpr uint64_t kDiscardBytes = uint64_t{1} << 20;

void StoreWord(uint8_t* p, uint64_t value) {
  // Aligned: the mapping is page-aligned and every word's offset a multiple of 8.
  __atomic_store_n(reinterpret_cast<uint64_t*>(p), value, __ATOMIC_RELEASE);
}

std::string_view View(const uint8_t* bytes, size_t size) { return {reinterpret_cast<const char*>(bytes), size}; }

void FillHeader(uint8_t* page, const WalHeader& header, uint64_t capacity) {
  std::memset(page, 0, kWalHeaderSize);
  std::memcpy(page + wal_header::kMagic, kWalMagic, 8);
  StoreAs<uint32_t>(page + wal_header::kVersion, kWalVersion);
  StoreAs<uint32_t>(page + wal_header::kFlags, (header.prior_synced ? 1 : 0) | (header.made_ahead ? 2 : 0));
  std::memcpy(page + wal_header::kStoreId, header.store_id.data(), header.store_id.size());
  StoreAs<uint64_t>(page + wal_header::kGeneration, header.generation);
  StoreAs<uint64_t>(page + wal_header::kFirstSequence, header.first_sequence);
  StoreAs<uint64_t>(page + wal_header::kCapacity, capacity);
  StoreAs<uint32_t>(page + wal_header::kCrc, Crc32c(page, wal_header::kCrc));
  StoreAs<uint64_t>(page + wal_header::kSynced, WalSyncedWord(header.generation, kWalHeaderSize));
}

}  // namespace

uint64_t WalWriter::FileSizeFor(size_t payload) {
  constexpr uint64_t kGrain = uint64_t{1} << 20;
  const uint64_t needed = kWalHeaderSize + WalRecordSize(payload);
  return std::max(kWalDefaultCapacity, (needed + kGrain - 1) / kGrain * kGrain);
}

WalWriter::WalWriter(std::string path, const WalHeader& header, std::unique_ptr<MappedFile> file)
    : path_(std::move(path)), header_(header), file_(std::move(file)), data_(file_->data()), capacity_(file_->size()) {}

Result<std::unique_ptr<WalWriter>> WalWriter::Create(Env* env, const std::string& path, const WalHeader& header,
                                                     WalMode mode, uint64_t capacity, const std::string& recycle) {
  if (header.generation == 0) return Status::Invalid("a log's generation starts at 1; 0 was given for " + path);
  capacity = WalAlign(capacity);
  if (capacity < kWalHeaderSize + kWalRecordHeaderSize || capacity > kWalMaxCapacity) {
    return Status::Invalid("a log of " + std::to_string(capacity) + " bytes is impossible; give " + path + " " +
                           std::to_string(kWalHeaderSize + kWalRecordHeaderSize) + " to " +
                           std::to_string(kWalMaxCapacity));
  }
  std::unique_ptr<PrivatePages> image;
  if (mode == WalMode::kStaged) {
    image = std::make_unique<PrivatePages>(capacity);
    if (image->data() == nullptr) return Status::Invalid("there is no memory for the log " + path);
  }
  const std::string temporary = path + ".new";
  if (!recycle.empty()) SEGUE_RETURN_IF_ERROR(env->Rename(recycle, temporary));
  {
    uint8_t page[kWalHeaderSize];
    FillHeader(page, header, capacity);
    SEGUE_ASSIGN_OR_RETURN(std::unique_ptr<MappedFile> unnamed, env->NewMappedFile(temporary, capacity));
    SEGUE_RETURN_IF_ERROR(unnamed->Write(0, {View(page, sizeof(page))}));
    // Of a mapped log that is used again the header alone: its dead records may never have been synced.
    SEGUE_RETURN_IF_ERROR(mode == WalMode::kStaged ? unnamed->SyncWritten() : unnamed->Sync(0, kWalHeaderSize));
  }
  SEGUE_RETURN_IF_ERROR(env->Rename(temporary, path));
  SEGUE_RETURN_IF_ERROR(env->SyncDir(DirName(path)));
  // Mapped anew, so that its errors name the path that people see.
  SEGUE_ASSIGN_OR_RETURN(std::unique_ptr<MappedFile> file, env->NewMappedFile(path, capacity));
  std::unique_ptr<WalWriter> wal(new WalWriter(path, header, std::move(file)));
  if (image) {
    wal->data_ = image->data();
    wal->image_ = std::move(image);
    if (!recycle.empty()) wal->zeroed_ = capacity;
  } else {
    SEGUE_RETURN_IF_ERROR(wal->file_->Prepare(0, kWalHeaderSize));
  }
  return wal;
}

bool WalWriter::Fits(size_t payload_size) const {
  return !failed_.load(std::memory_order_acquire) && payload_size <= kWalMaxPayload &&
         WalRecordSize(payload_size) <= capacity_ - end_.load(std::memory_order_relaxed);
}

bool WalWriter::AtOnce(size_t payload_size) const {
  const uint64_t size = WalRecordSize(payload_size);
  return image_ || (size < kWriteBytes && end_.load(std::memory_order_relaxed) + size <= prepared_);
}

Status WalWriter::PrepareStores(uint64_t begin, uint64_t end) {
  if (end <= prepared_) return Status();
  const uint64_t upto = std::min(capacity_, end + kPrepareAhead);
  if (image_) {
    image_->Prepare(std::max(begin, prepared_), upto);
  } else if (Status status = file_->Prepare(std::max(begin, prepared_), upto); !status.ok()) {
    return Fail(std::move(status));
  }
  prepared_ = upto;
  return Status();
}

Status WalWriter::Append(WalRecordType type, uint64_t first_seq, uint32_t count, std::string_view payload) {
  const uint64_t begin = end_.load(std::memory_order_relaxed);
  if (!Fits(payload.size())) {
    SEGUE_RETURN_IF_ERROR(status());
    return Status::Invalid("a record of " + std::to_string(payload.size()) + " bytes does not fit into " + path_);
  }
  const uint64_t size = WalRecordSize(payload.size());
  const uint64_t padding = size - kWalRecordHeaderSize - payload.size();
  alignas(8) uint8_t head[kWalRecordHeaderSize] = {};
  constexpr char kZeros[8] = {};
  StoreAs<uint32_t>(head + wal_record::kLength, static_cast<uint32_t>(payload.size()));
  StoreAs<uint64_t>(head + wal_record::kGeneration, header_.generation);
  StoreAs<uint64_t>(head + wal_record::kFirstSeq, first_seq);
  StoreAs<uint32_t>(head + wal_record::kCount, count);
  StoreAs<uint32_t>(head + wal_record::kType, static_cast<uint32_t>(type));  // and its 3 zeros
  uint32_t crc = Crc32c(head + wal_record::kLength, kWalRecordHeaderSize - wal_record::kLength);
  crc = Crc32c(payload.data(), payload.size(), crc);
  crc = Crc32c(kZeros, padding, crc);
  const uint64_t first_word = uint64_t{payload.size()} << 32 | crc;
  StoreAs<uint64_t>(head, first_word);

  if (!image_ && size >= kWriteBytes) {
    Status status = file_->Write(begin, {View(head, sizeof(head)), payload, {kZeros, padding}});
    if (!status.ok()) return Fail(std::move(status));
  } else {
    SEGUE_RETURN_IF_ERROR(PrepareStores(begin, begin + size));
    uint8_t* record = data_ + begin;
    std::memcpy(record + 8, head + 8, sizeof(head) - 8);
    if (!payload.empty()) std::memcpy(record + sizeof(head), payload.data(), payload.size());
    std::memset(record + sizeof(head) + payload.size(), 0, padding);
    StoreWord(record, first_word);
    if (!image_) {
      if (Status status = file_->Stored(begin, begin + size); !status.ok()) {
        StoreWord(record, 0);  // refused: no recovery may find it, wherever its page went
        return Fail(std::move(status));
      }
    }
  }
  end_.store(begin + size, std::memory_order_release);
  return Status();
}

Status WalWriter::Sync(uint64_t upto) {
  if (upto > end_offset()) {
    return Status::Invalid("cannot sync " + path_ + " to byte " + std::to_string(upto) + ": it ends at " +
                           std::to_string(end_offset()));
  }
  if (upto <= synced_offset()) return Status();
  const std::lock_guard lock(sync_mutex_);
  return SyncLocked(upto);
}

// What the header says of the last sync; the next one takes it along.
Status WalWriter::StoreNote(uint64_t synced_to) {
  const uint64_t word = WalSyncedWord(header_.generation, synced_to);
  if (!image_) {
    StoreWord(data_ + wal_header::kSynced, word);
    return file_->Stored(wal_header::kSynced, wal_header::kEnd);
  }
  uint8_t bytes[8];
  StoreAs<uint64_t>(bytes, word);
  return file_->Write(wal_header::kSynced, {View(bytes, sizeof(bytes))});
}

Status WalWriter::SyncLocked(uint64_t upto) {
  if (upto <= synced_offset()) return Status();  // another thread's sync took it along
  if (failed_.load(std::memory_order_acquire)) return status();
  const uint64_t end = end_offset();
  if (image_) {
    if (Status status = file_->Write(written_, {View(data_ + written_, end - written_)}); !status.ok()) {
      return Fail(std::move(status));
    }
    written_ = end;
    if (Status status = ZeroAhead(); !status.ok()) return Fail(std::move(status));
  }
  if (Status status = SyncFile(end); !status.ok()) return Fail(std::move(status));
  if (Status status = StoreNote(end); !status.ok()) return Fail(std::move(status));
  synced_.store(end, std::memory_order_release);
  if (const uint64_t whole = end / kDiscardBytes * kDiscardBytes; image_ && whole > discarded_) {
    image_->Discard(discarded_, whole);
    discarded_ = whole;
  }
  return Status();
}

Status WalWriter::ZeroAhead() {
  if (written_ <= zeroed_) return Status();
  zeroed_ = std::min(capacity_, written_ + kZeroAhead);
  const std::string zeros(zeroed_ - written_, '\0');
  return file_->Write(written_, {zeros});
}

Status WalWriter::Seal() {
  const std::lock_guard lock(sync_mutex_);
  if (failed_.load(std::memory_order_acquire)) return status();
  SEGUE_RETURN_IF_ERROR(SyncLocked(end_offset()));
  if (Status status = SyncFile(kWalHeaderSize); !status.ok()) return Fail(std::move(status));
  return Status();
}

// From 0, so that the note of the sync before goes along; clean pages cost nothing.
Status WalWriter::SyncFile(uint64_t end) { return image_ ? file_->SyncWritten() : file_->Sync(0, end); }

Status WalWriter::Fail(Status status) {
  const std::lock_guard lock(status_mutex_);
  if (status_.ok()) status_ = std::move(status);
  failed_.store(true, std::memory_order_release);
  return status_;
}

Status WalWriter::status() const {
  const std::lock_guard lock(status_mutex_);
  return status_;
}

}  // namespace segue
