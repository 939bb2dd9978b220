#include "pipeline/sorted_run.h"

#include <algorithm>

#include "base/crc32c.h"

namespace segue {

namespace {

constexpr uint32_t kMagic = 0x31425253;  // "SRB1"
constexpr size_t kHeaderBytes = 32;
constexpr size_t kSlack = 8;  // keys are loaded 8 bytes at a time

}  // namespace

SpilledRun::~SpilledRun() { RemoveFile(); }

void SpilledRun::RemoveFile() const {
  if (removed_.exchange(true)) return;
  // Nobody can act on a scratch file that will not go; the next run clears the directory.
  const Status ignored = env_->Remove(path_);
  (void)ignored;
}

size_t SpilledRun::FirstBlock(Key128 key) const {
  // Rows equal to `key` may begin in the block before the first one that starts with it.
  const auto at = std::partition_point(blocks_.begin(), blocks_.end(), [&](const Block& b) { return b.first < key; });
  const auto index = static_cast<size_t>(at - blocks_.begin());
  return index == 0 ? 0 : index - 1;
}

Status SpilledRun::ReadBlock(size_t number, Buffer* buffer) const {
  const Block& block = blocks_[number];
  {
    const std::lock_guard<std::mutex> lock(open_mutex_);
    if (file_ == nullptr) {
      SEGUE_ASSIGN_OR_RETURN(file_, env_->NewRandomAccessFile(path_));
    }
  }
  SEGUE_RETURN_IF_ERROR(buffer->Reserve(block.size + kSlack));
  buffer->SetSize(block.size);
  SEGUE_RETURN_IF_ERROR(file_->Read(block.offset, block.size, buffer->data()));
  counters_->read.fetch_add(block.size, std::memory_order_relaxed);
  const uint8_t* p = buffer->data();
  const auto rows = LoadAs<uint32_t>(p + 8);
  const auto heap_bytes = LoadAs<uint32_t>(p + 12);
  const auto key_bytes = static_cast<uint32_t>(codec_.stored_bytes());
  const uint64_t expected = kHeaderBytes + static_cast<uint64_t>(rows) * (stride_ + key_bytes) + heap_bytes;
  if (LoadAs<uint32_t>(p) != kMagic || LoadAs<uint32_t>(p + 4) != Crc32c(p + 8, block.size - 8) || rows != block.rows ||
      LoadAs<uint32_t>(p + 16) != stride_ || LoadAs<uint32_t>(p + 20) != key_bytes ||
      LoadAs<uint64_t>(p + 24) != number || expected != block.size) {
    return Status::Corruption(path_, static_cast<int64_t>(block.offset),
                              "spill file '" + path_ + "' is damaged at offset " + std::to_string(block.offset) +
                                  ": block " + std::to_string(number) +
                                  " is not what was written; run the job again, and check the disk of spill_dir");
  }
  return Status();
}

Result<std::unique_ptr<SpillWriter>> SpillWriter::Create(Env* env, const std::string& path, const RowLayout* layout,
                                                         const KeyCodec& codec, uint64_t block_bytes,
                                                         MemoryBudget* budget, SpillCounters* counters) {
  std::unique_ptr<SpillWriter> writer(new SpillWriter());
  writer->layout_ = layout;
  writer->block_bytes_ = block_bytes;
  writer->run_ = std::make_unique<SpilledRun>(env, path, layout->stride(), codec, counters);
  SEGUE_ASSIGN_OR_RETURN(writer->file_, env->NewWritableFile(path));
  writer->reservation_ = Reservation(budget);
  return writer;
}

Status SpillWriter::Append(Key128 key, RowRef row) {
  const size_t stride = layout_->stride();
  const uint64_t strings = layout_->has_variable() ? layout_->HeapBytes(row) : 0;
  const auto key_bytes = static_cast<size_t>(run_->codec_.stored_bytes());
  if (rows_ != 0 && block_.size() + keys_.size() + heap_.size() + stride + key_bytes + strings > block_bytes_) {
    SEGUE_RETURN_IF_ERROR(Flush());
  }
  if (rows_ == 0) {
    SEGUE_RETURN_IF_ERROR(block_.Resize(kHeaderBytes));
    first_ = key;
  }
  SEGUE_RETURN_IF_ERROR(block_.Reserve(block_.size() + stride));
  SEGUE_RETURN_IF_ERROR(heap_.Reserve(heap_.size() + strings));
  layout_->CopyRow(row, block_.data() + block_.size(), &heap_, 0);
  block_.SetSize(block_.size() + stride);
  SEGUE_RETURN_IF_ERROR(keys_.Reserve(keys_.size() + 16));
  if (run_->codec_.narrow()) {
    const uint64_t compact = run_->codec_.Compact(key);
    std::memcpy(keys_.data() + keys_.size(), &compact, 8);
  } else {
    std::memcpy(keys_.data() + keys_.size(), &key, 16);
  }
  keys_.SetSize(keys_.size() + key_bytes);
  ++rows_;
  return Status();
}

Status SpillWriter::Flush() {
  if (rows_ == 0) return Status();
  const auto heap_bytes = static_cast<uint32_t>(heap_.size());
  SEGUE_RETURN_IF_ERROR(block_.Reserve(block_.size() + keys_.size() + heap_.size()));
  block_.AppendUnchecked(keys_.data(), keys_.size());
  block_.AppendUnchecked(heap_.data(), heap_.size());
  reservation_.Resize(block_.capacity() + keys_.capacity() + heap_.capacity());
  uint8_t* p = block_.data();
  StoreAs<uint32_t>(p, kMagic);
  StoreAs<uint32_t>(p + 8, rows_);
  StoreAs<uint32_t>(p + 12, heap_bytes);
  StoreAs<uint32_t>(p + 16, layout_->stride());
  StoreAs<uint32_t>(p + 20, static_cast<uint32_t>(run_->codec_.stored_bytes()));
  StoreAs<uint64_t>(p + 24, run_->blocks_.size());
  StoreAs<uint32_t>(p + 4, Crc32c(p + 8, block_.size() - 8));
  if (block_.size() > UINT32_MAX) return Status::Unsupported("a row of over 4 GiB cannot be spilled");
  SEGUE_RETURN_IF_ERROR(file_->Append(std::string_view(reinterpret_cast<const char*>(block_.data()), block_.size())));
  run_->blocks_.push_back({run_->bytes_, static_cast<uint32_t>(block_.size()), rows_, first_});
  run_->bytes_ += block_.size();
  run_->rows_ += rows_;
  run_->counters_->written.fetch_add(block_.size(), std::memory_order_relaxed);
  rows_ = 0;
  block_.SetSize(0);
  keys_.SetSize(0);
  heap_.SetSize(0);
  return Status();
}

Result<std::unique_ptr<SpilledRun>> SpillWriter::Finish() {
  SEGUE_RETURN_IF_ERROR(Flush());
  // Not synced: a crash ends the job, and its scratch files with it.
  SEGUE_RETURN_IF_ERROR(file_->Close());
  return std::move(run_);
}

Status BlockReader::Seek(Key128 begin, const Key128* end) {
  bounded_ = end != nullptr;
  if (bounded_) end_ = *end;
  key_bytes_ = run_->codec().stored_bytes();
  key_mask_ = key_bytes_ >= 8 ? ~uint64_t{0} : (uint64_t{1} << (8 * key_bytes_)) - 1;
  done_ = run_->blocks().empty();
  if (done_) return Status();
  block_ = run_->FirstBlock(begin);
  SEGUE_RETURN_IF_ERROR(Load());
  if (done_) return Status();
  row_ = LowerBound(begin);
  // Nothing of it in this block: then the next one starts at or after `begin`.
  if (row_ >= end_row_) return NextBlock();
  return Status();
}

Status BlockReader::NextBlock() {
  ++block_;
  if (block_ >= run_->blocks().size()) {
    done_ = true;
    return Status();
  }
  return Load();
}

Status BlockReader::Load() {
  const SpilledRun::Block& block = run_->blocks()[block_];
  row_ = 0;
  if (bounded_ && !(block.first < end_)) {
    done_ = true;
    return Status();
  }
  SEGUE_RETURN_IF_ERROR(run_->ReadBlock(block_, &buffer_));
  reservation_.Resize(buffer_.capacity());
  rows_ = buffer_.data() + kHeaderBytes;
  keys_ = rows_ + static_cast<size_t>(block.rows) * layout_->stride();
  heap_ = keys_ + static_cast<size_t>(block.rows) * static_cast<size_t>(key_bytes_);
  end_row_ = block.rows;
  const bool last = block_ + 1 == run_->blocks().size();
  if (bounded_ && (last || !(run_->blocks()[block_ + 1].first < end_))) end_row_ = LowerBound(end_);
  done_ = false;
  return Status();
}

Key128 BlockReader::KeyAt(uint32_t row) const {
  const uint8_t* p = keys_ + static_cast<size_t>(row) * static_cast<size_t>(key_bytes_);
  if (!run_->codec().narrow()) return LoadAs<Key128>(p);
  return run_->codec().Expand(LoadAs<uint64_t>(p) & key_mask_);
}

uint32_t BlockReader::LowerBound(Key128 key) const {
  uint32_t low = 0;
  uint32_t high = end_row_;
  while (low < high) {
    const uint32_t middle = low + (high - low) / 2;
    if (KeyAt(middle) < key) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

}  // namespace segue
