#include "base/mem_files.h"

#include <cerrno>
#include <cstring>
#include <initializer_list>
#include <string_view>
#include <utility>
#include <vector>

namespace segue {
namespace {

using State = std::shared_ptr<MemState>;
using Lock = std::lock_guard<std::mutex>;

class MemWritableFile final : public WritableFile {
 public:
  MemWritableFile(State state, std::string path, std::shared_ptr<MemFile> file)
      : state_(std::move(state)), path_(std::move(path)), file_(std::move(file)) {}

  Status Append(std::string_view data) override {
    const Lock lock(state_->mutex);
    if (closed_) return Status::Closed("cannot write " + path_ + ": the file is closed");
    const MemOperation operation(state_.get(), "append", path_);
    size_t n = operation.takes_effect() ? data.size() : 0;
    if (operation.fails() && state_->fail_short) n = data.size() / 2;
    const bool full = n > state_->Room();
    if (full) n = state_->Room();
    if (n > 0) {
      const size_t old_size = file_->now.size();
      file_->now.Resize(old_size + n);
      std::memcpy(file_->now.data() + old_size, data.data(), n);
    }
    if (full && operation.succeeds()) return MemIoError("append", path_, ENOSPC);
    return operation.status();
  }

  Status WriteBack() override {
    const Lock lock(state_->mutex);
    if (closed_) return Status::Closed("cannot write " + path_ + ": the file is closed");
    const MemOperation operation(state_.get(), "write_back", path_);
    if (operation.fails()) lost_ = true;  // and a later sync says nothing, as where a system tells an error once
    return operation.status();
  }

  Status Sync() override {
    const Lock lock(state_->mutex);
    if (closed_) return Status::Closed("cannot sync " + path_ + ": the file is closed");
    const MemOperation operation(state_.get(), "sync", path_);
    if (operation.fails()) lost_ = true;
    if (operation.succeeds() && !lost_) {
      const MemBytes& now = file_->now;
      file_->saved.Resize(now.size());
      file_->saved.CopyFrom(now, file_->was_mapped ? 0 : file_->same, now.size());
      file_->same = now.size();
      file_->was_mapped = false;
    }
    return operation.status();
  }

  Status Close() override {
    const Lock lock(state_->mutex);
    closed_ = true;
    return state_->Alive("close", path_);
  }

 private:
  State state_;
  std::string path_;
  std::shared_ptr<MemFile> file_;
  bool lost_ = false;  // a sync or write-back failed: what is written here is never saved
  bool closed_ = false;
};

class MemRandomAccessFile final : public RandomAccessFile {
 public:
  MemRandomAccessFile(State state, std::string path, std::shared_ptr<MemFile> file)
      : state_(std::move(state)), path_(std::move(path)), file_(std::move(file)), size_(file_->now.size()) {}

  Status Read(uint64_t offset, size_t n, void* scratch) const override {
    const Lock lock(state_->mutex);
    SEGUE_RETURN_IF_ERROR(state_->Alive("read", path_));
    const uint64_t size = file_->now.size();
    if (offset > size || n > size - offset) {
      return Status::Corruption(path_, static_cast<int64_t>(offset),
                                path_ + " is too short: " + std::to_string(n) + " bytes expected at offset " +
                                    std::to_string(offset) + ", it has " + std::to_string(size));
    }
    if (n > 0) std::memcpy(scratch, file_->now.data() + offset, n);
    return Status();
  }

  uint64_t size() const override { return size_; }
  const std::string& path() const override { return path_; }

 private:
  State state_;
  std::string path_;
  std::shared_ptr<MemFile> file_;
  uint64_t size_;
};

class MemMappedFile final : public MappedFile {
 public:
  // With the state's mutex held, and room made in `file`.
  MemMappedFile(State state, std::string path, std::shared_ptr<MemFile> file)
      : state_(std::move(state)),
        path_(std::move(path)),
        file_(std::move(file)),
        data_(file_->now.data()),
        size_(file_->now.size()) {
    ++file_->mappings;
    state_->mapped.push_back(file_);
  }
  ~MemMappedFile() override {
    const Lock lock(state_->mutex);
    --file_->mappings;
  }

  uint8_t* data() override { return data_; }
  uint64_t size() const override { return size_; }
  const std::string& path() const override { return path_; }

  Status Write(uint64_t offset, std::initializer_list<std::string_view> parts) override {
    std::string bytes;
    for (const std::string_view part : parts) bytes += part;
    const Lock lock(state_->mutex);
    if (offset > size_ || bytes.size() > size_ - offset) return OutOfRange(offset, offset + bytes.size());
    const MemOperation operation(state_.get(), "write", path_);
    size_t n = operation.takes_effect() ? bytes.size() : 0;
    // The system copies whole words: one that is aligned is never halved.
    if (operation.fails() && state_->fail_short) n = bytes.size() / 2 / 8 * 8;
    if (operation.cut_off()) Tear(file_->now, offset, bytes.size());
    if (n > 0) std::memcpy(data_ + offset, bytes.data(), n);
    written_.emplace_back(offset, offset + n);
    if (offset + n <= file_->told.size()) file_->told.CopyFrom(file_->now, offset, offset + n);
    return operation.status();
  }

  Status Sync(uint64_t begin, uint64_t end) override {
    const Lock lock(state_->mutex);
    if (begin > end || end > size_) return OutOfRange(begin, end);
    return SyncLocked("msync", {{begin, end}});
  }

  Status SyncWritten() override {
    const Lock lock(state_->mutex);
    return SyncLocked("fdatasync", std::exchange(written_, {}));
  }

  Status Prepare(uint64_t begin, uint64_t end) override {
    const Lock lock(state_->mutex);
    if (begin > end || end > size_) return OutOfRange(begin, end);
    const MemOperation operation(state_.get(), "prepare", path_);
    if (operation.succeeds()) {
      // Now nobody stores here, so this is what is there before the stores to come.
      if (file_->told.size() < end) file_->told.Resize(static_cast<size_t>(size_));
      file_->told.CopyFrom(file_->now, begin, end);
    }
    return operation.status();
  }

  Status Stored(uint64_t begin, uint64_t end) override {
    const Lock lock(state_->mutex);
    if (begin > end || end > size_) return OutOfRange(begin, end);
    SEGUE_RETURN_IF_ERROR(state_->Alive("store", path_));
    if (end > file_->told.size()) return Status::Invalid(path_ + " was not prepared for stores");
    const MemOperation operation(state_.get(), "store", path_);
    if (operation.cut_off()) Tear(file_->told, begin, end - begin);
    if (operation.succeeds()) file_->told.CopyFrom(file_->now, begin, end);
    if (operation.fails()) {
      // As where the page could not be had: the stores went to nowhere, and syncs save nothing any more.
      file_->now.CopyFrom(file_->told, begin, end);
      lost_ = true;
    }
    return operation.status();
  }

 private:
  using Ranges = std::vector<std::pair<uint64_t, uint64_t>>;

  Status SyncLocked(const char* what, const Ranges& ranges) {
    const MemOperation operation(state_.get(), what, path_);
    if (operation.fails()) lost_ = true;
    if (operation.succeeds() && !lost_) {
      file_->saved.Resize(file_->now.size());
      for (const auto& [begin, end] : ranges) file_->saved.CopyFrom(file_->now, begin, end);
    }
    return operation.status();
  }

  // The crash comes upon a change of these bytes, which were as in `before`.
  void Tear(const MemBytes& before, uint64_t offset, uint64_t n) {
    file_->torn = MemFile::Torn{offset, std::string(before.view().substr(offset, n))};
  }

  Status OutOfRange(uint64_t begin, uint64_t end) const {
    return Status::Invalid(path_ + " has no bytes " + std::to_string(begin) + " to " + std::to_string(end) +
                           ": it has " + std::to_string(size_));
  }

  State state_;
  std::string path_;
  std::shared_ptr<MemFile> file_;
  uint8_t* data_;
  uint64_t size_;
  Ranges written_;  // since the last SyncWritten
  bool lost_ = false;
};

}  // namespace

std::unique_ptr<WritableFile> OpenMemWritable(const State& state, const std::string& path,
                                              const std::shared_ptr<MemFile>& file) {
  return std::make_unique<MemWritableFile>(state, path, file);
}

std::unique_ptr<RandomAccessFile> OpenMemRandomAccess(const State& state, const std::string& path,
                                                      const std::shared_ptr<MemFile>& file) {
  return std::make_unique<MemRandomAccessFile>(state, path, file);
}

std::unique_ptr<MappedFile> OpenMemMapped(const State& state, const std::string& path,
                                          const std::shared_ptr<MemFile>& file) {
  return std::make_unique<MemMappedFile>(state, path, file);
}

}  // namespace segue
