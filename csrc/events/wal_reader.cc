#include "events/wal_reader.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace segue {
namespace {

constexpr uint64_t kChunk = uint64_t{1} << 20;  // stays in the second-level cache between copy and CRC
constexpr uint64_t kTailChunk = uint64_t{16} << 10;

std::string Hex(const uint8_t* bytes, size_t n) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (size_t i = 0; i < n; ++i) {
    text.push_back(kDigits[bytes[i] >> 4]);
    text.push_back(kDigits[bytes[i] & 15]);
  }
  return text;
}

}  // namespace

WalReader::WalReader(std::unique_ptr<RandomAccessFile> file) : file_(std::move(file)), chunk_(kTailChunk) {}

Result<std::unique_ptr<WalReader>> WalReader::Open(Env* env, const std::string& path, const StoreId& store_id) {
  SEGUE_ASSIGN_OR_RETURN(std::unique_ptr<RandomAccessFile> file, env->NewRandomAccessFile(path));
  std::unique_ptr<WalReader> reader(new WalReader(std::move(file)));
  SEGUE_RETURN_IF_ERROR(reader->ReadHeader(store_id));
  SEGUE_RETURN_IF_ERROR(reader->ReadSyncedWord());
  return reader;
}

Status WalReader::ReadHeader(const StoreId& store_id) {
  const std::string& path = file_->path();
  if (file_->size() < kWalHeaderSize) {
    return Status::Corruption(
        path, 0,
        path + " is no write-ahead log: it has " + std::to_string(file_->size()) + " bytes, its header alone has 4096");
  }
  SEGUE_RETURN_IF_ERROR(file_->Read(0, sizeof(header_bytes_), header_bytes_));
  const uint8_t* p = header_bytes_;
  if (std::memcmp(p + wal_header::kMagic, kWalMagic, 8) != 0) {
    return Status::Corruption(path, 0, path + " is no write-ahead log: it does not begin with " + kWalMagic);
  }
  if (LoadAs<uint32_t>(p + wal_header::kCrc) != Crc32c(p, wal_header::kCrc)) {
    return Status::Corruption(path, wal_header::kCrc, path + " has a damaged header: its checksum does not fit");
  }
  // After the checksum: a version that we do not know is a newer program's, not damage.
  const auto version = LoadAs<uint32_t>(p + wal_header::kVersion);
  if (version != kWalVersion) {
    return Status::Unsupported(path + " has format version " + std::to_string(version) + "; this program reads " +
                               std::to_string(kWalVersion) + ": upgrade segue to open it");
  }
  std::memcpy(header_.store_id.data(), p + wal_header::kStoreId, header_.store_id.size());
  if (header_.store_id != store_id) {
    return Status::Corruption(path, wal_header::kStoreId,
                              path + " belongs to the event table " + Hex(header_.store_id.data(), 16) + ", not to " +
                                  Hex(store_id.data(), 16) + ": was it copied from another database?");
  }
  header_.generation = LoadAs<uint64_t>(p + wal_header::kGeneration);
  header_.first_sequence = LoadAs<uint64_t>(p + wal_header::kFirstSequence);
  const auto flags = LoadAs<uint32_t>(p + wal_header::kFlags);
  header_.prior_synced = (flags & 1) != 0;
  header_.made_ahead = (flags & 2) != 0;
  capacity_ = LoadAs<uint64_t>(p + wal_header::kCapacity);
  if (file_->size() < capacity_) {
    return Status::Corruption(
        path, static_cast<int64_t>(file_->size()),
        path + " was cut: it has " + std::to_string(file_->size()) + " bytes of " + std::to_string(capacity_));
  }
  return Status();
}

Status WalReader::ReadSyncedWord() {
  uint8_t now[wal_header::kEnd];
  SEGUE_RETURN_IF_ERROR(file_->Read(0, sizeof(now), now));
  if (std::memcmp(now, header_bytes_, sizeof(header_bytes_)) != 0) {
    return Status::Closed(file_->path() + " was reused for a newer log while it was read: open its successor");
  }
  uint64_t synced_to = 0;
  if (!ParseWalSyncedWord(LoadAs<uint64_t>(now + wal_header::kSynced), header_.generation, &synced_to) ||
      synced_to < kWalHeaderSize || synced_to > capacity_) {
    return Status::Corruption(file_->path(), wal_header::kSynced,
                              file_->path() + " has a damaged note of how far it was synced");
  }
  synced_to_ = synced_to;
  return Status();
}

Status WalReader::SeekTo(uint64_t offset) {
  if (offset < kWalHeaderSize || offset > capacity_ || offset % 8 != 0) {
    return Status::Invalid("no record of " + file_->path() + " begins at byte " + std::to_string(offset) +
                           "; give what last_offset() returned");
  }
  offset_ = offset;
  return Status();
}

Result<const uint8_t*> WalReader::View(uint64_t offset, uint64_t n) {
  if (n > capacity_ || offset > capacity_ - n) return static_cast<const uint8_t*>(nullptr);
  if (offset < buffer_begin_ || offset + n > buffer_end_) {
    const uint64_t wanted = std::min(std::max(n, chunk_), capacity_ - offset);
    chunk_ = std::min(kChunk, 4 * chunk_);
    if (wanted > buffer_capacity_) {
      buffer_.reset(new uint8_t[wanted]);  // not zeroed
      buffer_capacity_ = wanted;
    }
    buffer_begin_ = buffer_end_ = offset;
    SEGUE_RETURN_IF_ERROR(file_->Read(offset, static_cast<size_t>(wanted), buffer_.get()));
    buffer_end_ = offset + wanted;
  }
  return static_cast<const uint8_t*>(buffer_.get() + (offset - buffer_begin_));
}

Result<bool> WalReader::ParseHere(WalRecord* out, const char** why) {
  SEGUE_ASSIGN_OR_RETURN(const uint8_t* p, View(offset_, kWalRecordHeaderSize));
  if (p == nullptr) {
    *why = "the file ends";
    return false;
  }
  // The generation first: the length of a stale record would only have bytes read in vain.
  if (LoadAs<uint64_t>(p + wal_record::kGeneration) != header_.generation) {
    *why = "a record of this log is not there";
    return false;
  }
  const uint64_t length = LoadAs<uint32_t>(p + wal_record::kLength);
  const uint64_t size = WalRecordSize(length);
  SEGUE_ASSIGN_OR_RETURN(p, View(offset_, size));
  if (p == nullptr) {
    *why = "a record reaches beyond the end of the file";
    return false;
  }
  if (LoadAs<uint32_t>(p) != Crc32c(p + wal_record::kLength, size - wal_record::kLength)) {
    *why = "a record's checksum does not fit";
    return false;
  }
  const uint8_t type = p[wal_record::kType];
  if (type == 0) {
    *why = "a record has no type";
    return false;
  }
  out->type = static_cast<WalRecordType>(type);
  out->first_seq = LoadAs<uint64_t>(p + wal_record::kFirstSeq);
  out->count = LoadAs<uint32_t>(p + wal_record::kCount);
  out->offset = offset_;
  out->payload = std::string_view(reinterpret_cast<const char*>(p + kWalRecordHeaderSize), length);
  offset_ += size;
  return true;
}

Result<bool> WalReader::First(WalRecord* out) {
  const uint64_t offset = offset_;
  offset_ = kWalHeaderSize;
  Result<bool> found = Next(out);
  offset_ = offset;
  return found;
}

Result<bool> WalReader::Next(WalRecord* out) {
  const char* why = "";
  SEGUE_ASSIGN_OR_RETURN(bool found, ParseHere(out, &why));
  if (found) return true;
  // What the buffer holds may be older than a record that a writer has just
  // committed. Note first, record again after: then a record that is still not
  // there, below the note, was damaged.
  SEGUE_RETURN_IF_ERROR(ReadSyncedWord());
  buffer_begin_ = buffer_end_ = 0;
  chunk_ = kTailChunk;
  SEGUE_ASSIGN_OR_RETURN(found, ParseHere(out, &why));
  if (found) return true;
  buffer_begin_ = buffer_end_ = 0;  // the next call looks at the file again
  chunk_ = kTailChunk;
  if (offset_ >= synced_to_) return false;
  return Status::Corruption(file_->path(), static_cast<int64_t>(offset_),
                            file_->path() + " is damaged at byte " + std::to_string(offset_) + ": " + why +
                                ", though the log was synced to byte " + std::to_string(synced_to_));
}

Status LogEndsEarly(const std::string& path, uint64_t offset, uint64_t last, const std::string& next, uint64_t first) {
  return Status::Corruption(path, static_cast<int64_t>(offset),
                            "'" + path + "' ends early: there is no record at byte " + std::to_string(offset) +
                                ", after event " + std::to_string(last) + ", and '" + next +
                                "', which shows that all before it was synced, begins with event " +
                                std::to_string(first));
}

}  // namespace segue
