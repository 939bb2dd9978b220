#include "events/wal_writer.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace segue {
namespace {

// Pages are made ready for stores this far ahead: one call for 64 pages, and
// no more dirty pages than that beyond the end of the log.
constexpr uint64_t kPrepareAhead = uint64_t{256} << 10;

void StoreWord(uint8_t* p, uint64_t value) {
  // Aligned: the mapping is page-aligned and every word's offset a multiple of 8.
  __atomic_store_n(reinterpret_cast<uint64_t*>(p), value, __ATOMIC_RELEASE);
}

void FillHeader(uint8_t* page, const WalHeader& header, uint64_t capacity) {
  std::memset(page, 0, kWalHeaderSize);
  std::memcpy(page + wal_header::kMagic, kWalMagic, 8);
  StoreAs<uint32_t>(page + wal_header::kVersion, kWalVersion);
  StoreAs<uint32_t>(page + wal_header::kFlags, header.prior_synced ? 1 : 0);
  std::memcpy(page + wal_header::kStoreId, header.store_id.data(), header.store_id.size());
  StoreAs<uint64_t>(page + wal_header::kGeneration, header.generation);
  StoreAs<uint64_t>(page + wal_header::kFirstSequence, header.first_sequence);
  StoreAs<uint64_t>(page + wal_header::kCapacity, capacity);
  StoreAs<uint32_t>(page + wal_header::kCrc, Crc32c(page, wal_header::kCrc));
  StoreWord(page + wal_header::kSynced, WalSyncedWord(header.generation, kWalHeaderSize));
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
                                                     uint64_t capacity, const std::string& recycle) {
  if (header.generation == 0) return Status::Invalid("a log's generation starts at 1; 0 was given for " + path);
  capacity = WalAlign(capacity);
  if (capacity < kWalHeaderSize + kWalRecordHeaderSize || capacity > kWalMaxCapacity) {
    return Status::Invalid("a log of " + std::to_string(capacity) + " bytes is impossible; give " + path + " " +
                           std::to_string(kWalHeaderSize + kWalRecordHeaderSize) + " to " +
                           std::to_string(kWalMaxCapacity));
  }
  const std::string temporary = path + ".new";
  if (!recycle.empty()) SEGUE_RETURN_IF_ERROR(env->Rename(recycle, temporary));
  {
    SEGUE_ASSIGN_OR_RETURN(std::unique_ptr<MappedFile> unnamed, env->NewMappedFile(temporary, capacity));
    SEGUE_RETURN_IF_ERROR(unnamed->Prepare(0, kWalHeaderSize));
    FillHeader(unnamed->data(), header, capacity);
    SEGUE_RETURN_IF_ERROR(unnamed->Sync(0, kWalHeaderSize));
  }
  SEGUE_RETURN_IF_ERROR(env->Rename(temporary, path));
  SEGUE_RETURN_IF_ERROR(env->SyncDir(DirName(path)));
  // Mapped anew, so that its errors name the path that people see.
  SEGUE_ASSIGN_OR_RETURN(std::unique_ptr<MappedFile> file, env->NewMappedFile(path, capacity));
  SEGUE_RETURN_IF_ERROR(file->Prepare(0, kWalHeaderSize));
  return std::unique_ptr<WalWriter>(new WalWriter(path, header, std::move(file)));
}

uint8_t* WalWriter::Reserve(size_t payload_size) {
  if (failed_.load(std::memory_order_acquire)) return nullptr;
  const uint64_t begin = end_.load(std::memory_order_relaxed);
  if (payload_size > kWalMaxPayload || WalRecordSize(payload_size) > capacity_ - begin) return nullptr;
  const uint64_t end = begin + WalRecordSize(payload_size);
  if (end > prepared_) {
    const uint64_t upto = std::min(capacity_, end + kPrepareAhead);
    if (Status status = file_->Prepare(prepared_, upto); !status.ok()) {
      (void)Fail(std::move(status));
      return nullptr;
    }
    prepared_ = upto;
  }
  reserved_ = payload_size;
  return data_ + begin + kWalRecordHeaderSize;
}

uint64_t WalWriter::Commit(WalRecordType type, uint64_t first_seq, uint32_t count, size_t payload_size) {
  const uint64_t begin = end_.load(std::memory_order_relaxed);
  if (payload_size > reserved_) {
    (void)Fail(Status::Invalid("a record of " + std::to_string(payload_size) + " bytes was committed to " + path_ +
                               " where " + std::to_string(reserved_) + " were reserved"));
    return begin;
  }
  const uint64_t size = WalRecordSize(payload_size);
  uint8_t* record = data_ + begin;
  StoreAs<uint32_t>(record + wal_record::kLength, static_cast<uint32_t>(payload_size));
  StoreAs<uint64_t>(record + wal_record::kGeneration, header_.generation);
  StoreAs<uint64_t>(record + wal_record::kFirstSeq, first_seq);
  StoreAs<uint32_t>(record + wal_record::kCount, count);
  StoreAs<uint32_t>(record + wal_record::kType, static_cast<uint32_t>(type));  // and its 3 zeros
  const uint64_t payload_end = kWalRecordHeaderSize + payload_size;
  std::memset(record + payload_end, 0, size - payload_end);
  const uint32_t crc = Crc32c(record + wal_record::kLength, size - wal_record::kLength);
  StoreWord(record, uint64_t{payload_size} << 32 | crc);
  reserved_ = 0;
  end_.store(begin + size, std::memory_order_release);
  return begin + size;
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

Status WalWriter::SyncLocked(uint64_t upto) {
  if (upto <= synced_offset()) return Status();  // another thread's sync took it along
  if (failed_.load(std::memory_order_acquire)) return status();
  const uint64_t end = end_offset();
  // From 0, so that the note of the sync before goes along; clean pages cost nothing.
  if (Status status = file_->Sync(0, end); !status.ok()) return Fail(std::move(status));
  StoreWord(data_ + wal_header::kSynced, WalSyncedWord(header_.generation, end));
  synced_.store(end, std::memory_order_release);
  return Status();
}

Status WalWriter::Seal() {
  const std::lock_guard lock(sync_mutex_);
  if (failed_.load(std::memory_order_acquire)) return status();
  SEGUE_RETURN_IF_ERROR(SyncLocked(end_offset()));
  if (Status status = file_->Sync(0, kWalHeaderSize); !status.ok()) return Fail(std::move(status));
  return Status();
}

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
