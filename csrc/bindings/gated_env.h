// GatedEnv: an Env for tests, in front of another one, where syncs of mapped files wait at a gate, reads of one
// file at another, and writes into mapped files, or what prepares stores, at a third.
//
// With a gate closed a commit, or a long reading, is as slow as a test wants it:
// what others do meanwhile, and who shares the next sync, can be looked at in peace.
//
// Thread safety: all methods. Ownership: shares the Env behind it, and its gate
// with the files; files must not outlive the Env behind it.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "base/env.h"

namespace segue::bindings {

class Gate {
 public:
  // For files with `part` in their path.
  void Close(std::string part = {}) {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    part_ = std::move(part);
  }
  void Open() {
    const std::lock_guard lock(mutex_);
    closed_ = false;
    opened_.notify_all();
  }
  void Pass(const std::string& path) {
    std::unique_lock lock(mutex_);
    ++waiting_;
    opened_.wait(lock, [&] { return !closed_ || path.find(part_) == std::string::npos; });
    --waiting_;
  }
  int waiting() const {
    const std::lock_guard lock(mutex_);
    return waiting_;
  }

 private:
  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable opened_;
  bool closed_ = false;
  std::string part_;
  int waiting_ = 0;
};

class GatedEnv final : public Env {
 public:
  explicit GatedEnv(std::shared_ptr<Env> behind) : behind_(std::move(behind)) {}

  Gate& syncs() { return *syncs_; }
  Gate& reads() { return *reads_; }
  Gate& writes() { return *writes_; }

  Result<std::unique_ptr<WritableFile>> NewWritableFile(const std::string& path) override {
    return behind_->NewWritableFile(path);
  }
  Result<std::unique_ptr<RandomAccessFile>> NewRandomAccessFile(const std::string& path) override {
    SEGUE_ASSIGN_OR_RETURN(std::unique_ptr<RandomAccessFile> file, behind_->NewRandomAccessFile(path));
    return std::unique_ptr<RandomAccessFile>(std::make_unique<Reading>(std::move(file), reads_));
  }
  Result<std::unique_ptr<MappedFile>> NewMappedFile(const std::string& path, uint64_t size) override {
    SEGUE_ASSIGN_OR_RETURN(std::unique_ptr<MappedFile> file, behind_->NewMappedFile(path, size));
    return std::unique_ptr<MappedFile>(std::make_unique<Mapping>(std::move(file), syncs_, writes_));
  }
  Result<std::string> ReadFile(const std::string& path) override { return behind_->ReadFile(path); }
  Status WriteFileAtomic(const std::string& path, std::string_view data) override {
    return behind_->WriteFileAtomic(path, data);
  }
  Result<bool> Exists(const std::string& path) override { return behind_->Exists(path); }
  Result<uint64_t> FileSize(const std::string& path) override { return behind_->FileSize(path); }
  Result<std::vector<std::string>> List(const std::string& dir) override { return behind_->List(dir); }
  Status CreateDirs(const std::string& dir) override { return behind_->CreateDirs(dir); }
  Status Rename(const std::string& from, const std::string& to) override { return behind_->Rename(from, to); }
  Status Remove(const std::string& path) override { return behind_->Remove(path); }
  Status RemoveGradually(const std::string& path, const std::function<bool()>& hurry) override {
    return behind_->RemoveGradually(path, hurry);
  }
  void ReleaseTail(const std::string& path, uint64_t offset) override { behind_->ReleaseTail(path, offset); }
  Status SyncDir(const std::string& dir) override { return behind_->SyncDir(dir); }
  Result<std::unique_ptr<FileLock>> LockFile(const std::string& path) override { return behind_->LockFile(path); }
  Result<bool> RemoveUnlocked(const std::string& path) override { return behind_->RemoveUnlocked(path); }

 private:
  class Reading final : public RandomAccessFile {
   public:
    Reading(std::unique_ptr<RandomAccessFile> behind, std::shared_ptr<Gate> gate)
        : behind_(std::move(behind)), gate_(std::move(gate)) {}
    Status Read(uint64_t offset, size_t n, void* scratch) const override {
      gate_->Pass(behind_->path());
      return behind_->Read(offset, n, scratch);
    }
    uint64_t size() const override { return behind_->size(); }
    const std::string& path() const override { return behind_->path(); }

   private:
    const std::unique_ptr<RandomAccessFile> behind_;
    const std::shared_ptr<Gate> gate_;
  };

  class Mapping final : public MappedFile {
   public:
    Mapping(std::unique_ptr<MappedFile> behind, std::shared_ptr<Gate> gate, std::shared_ptr<Gate> writes)
        : behind_(std::move(behind)), gate_(std::move(gate)), writes_(std::move(writes)) {}
    uint8_t* data() override { return behind_->data(); }
    uint64_t size() const override { return behind_->size(); }
    Status Write(uint64_t offset, std::initializer_list<std::string_view> parts) override {
      writes_->Pass(behind_->path());
      return behind_->Write(offset, parts);
    }
    Status Sync(uint64_t begin, uint64_t end) override {
      gate_->Pass(behind_->path());
      return behind_->Sync(begin, end);
    }
    Status SyncWritten() override {
      gate_->Pass(behind_->path());
      return behind_->SyncWritten();
    }
    Status Prepare(uint64_t begin, uint64_t end) override {
      writes_->Pass(behind_->path());
      return behind_->Prepare(begin, end);
    }
    Status Stored(uint64_t begin, uint64_t end) override { return behind_->Stored(begin, end); }
    const std::string& path() const override { return behind_->path(); }

   private:
    const std::unique_ptr<MappedFile> behind_;
    const std::shared_ptr<Gate> gate_;
    const std::shared_ptr<Gate> writes_;
  };

  const std::shared_ptr<Env> behind_;
  const std::shared_ptr<Gate> syncs_ = std::make_shared<Gate>();
  const std::shared_ptr<Gate> reads_ = std::make_shared<Gate>();
  const std::shared_ptr<Gate> writes_ = std::make_shared<Gate>();
};

}  // namespace segue::bindings
