#include "base/env_mem.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/mem_state.h"

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
    if (n > 0) {
      const size_t old_size = file_->now.size();
      file_->now.Resize(old_size + n);
      std::memcpy(file_->now.data() + old_size, data.data(), n);
    }
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
    if (n > 0) std::memcpy(data_ + offset, bytes.data(), n);
    return operation.status();
  }

  Status Sync(uint64_t begin, uint64_t end) override {
    const Lock lock(state_->mutex);
    if (begin > end || end > size_) return OutOfRange(begin, end);
    const MemOperation operation(state_.get(), "msync", path_);
    if (operation.fails()) lost_ = true;
    if (operation.succeeds() && !lost_) {
      file_->saved.Resize(file_->now.size());
      file_->saved.CopyFrom(file_->now, begin, end);
    }
    return operation.status();
  }

  Status Prepare(uint64_t begin, uint64_t end) override {
    const Lock lock(state_->mutex);
    if (begin > end || end > size_) return OutOfRange(begin, end);
    return state_->Alive("write", path_);
  }

  // A process that was killed has stored nothing more, and acknowledges nothing.
  Status StoreStatus() const override {
    const Lock lock(state_->mutex);
    return state_->Alive("store", path_);
  }

 private:
  Status OutOfRange(uint64_t begin, uint64_t end) const {
    return Status::Invalid(path_ + " has no bytes " + std::to_string(begin) + " to " + std::to_string(end) +
                           ": it has " + std::to_string(size_));
  }

  State state_;
  std::string path_;
  std::shared_ptr<MemFile> file_;
  uint8_t* data_;
  uint64_t size_;
  bool lost_ = false;
};

class MemFileLock final : public FileLock {
 public:
  MemFileLock(State state, std::string name) : state_(std::move(state)), name_(std::move(name)) {}
  ~MemFileLock() override {
    const Lock lock(state_->mutex);
    state_->locked.erase(name_);
  }

 private:
  State state_;
  std::string name_;
};

// One spelling for a path: a lock belongs to the name.
std::string LockName(const std::string& path) {
  std::string name;
  for (const std::string& part : SplitMemPath(path)) name += "/" + part;
  return name;
}

// The file `path`, or the error that open() gives.
Result<std::shared_ptr<MemFile>> FindFile(const MemState& state, const char* verb, const std::string& path) {
  const std::shared_ptr<MemNode> node = state.Find(path);
  if (node == nullptr) return MemIoError(verb, path, ENOENT);
  if (node->is_dir()) return MemIoError(verb, path, EISDIR);
  return std::static_pointer_cast<MemFile>(node);
}

// The file `path`, made where it is not there yet.
Result<std::shared_ptr<MemFile>> MakeFile(MemState* state, const char* verb, const std::string& path) {
  SEGUE_ASSIGN_OR_RETURN(const auto place, state->Parent(verb, path));
  const auto& [dir, name] = place;
  if (const auto it = dir->now.find(name); it != dir->now.end()) return FindFile(*state, verb, path);
  auto file = std::make_shared<MemFile>();
  state->Set(dir, name, file);
  return file;
}

}  // namespace

MemEnv::MemEnv() : state_(std::make_shared<MemState>()) {}
MemEnv::~MemEnv() = default;

uint64_t MemEnv::op_count() const {
  const Lock lock(state_->mutex);
  return state_->ops.size();
}

std::string MemEnv::op(uint64_t n) const {
  const Lock lock(state_->mutex);
  return n >= 1 && n <= state_->ops.size() ? state_->ops[n - 1] : std::string();
}

void MemEnv::SetCrashAt(uint64_t n) {
  const Lock lock(state_->mutex);
  state_->crash_at = n;
}

void MemEnv::SetFailAt(uint64_t n, int errno_value, bool short_write) {
  const Lock lock(state_->mutex);
  state_->fail_at = n;
  state_->fail_errno = errno_value;
  state_->fail_short = short_write;
}

bool MemEnv::crashed() const {
  const Lock lock(state_->mutex);
  return state_->dead;
}

std::unique_ptr<MemEnv> MemEnv::Crash(CrashKeep keep, uint64_t seed) const {
  auto after = std::make_unique<MemEnv>();
  after->state_ = state_->CrashCopy(keep, seed);
  return after;
}

Result<std::string> MemEnv::ReadRaw(const std::string& path) const {
  const Lock lock(state_->mutex);
  SEGUE_ASSIGN_OR_RETURN(const std::shared_ptr<MemFile> file, FindFile(*state_, "read", path));
  return std::string(file->seen().view());
}

Status MemEnv::WriteRaw(const std::string& path, std::string_view bytes) {
  const Lock lock(state_->mutex);
  const std::vector<std::string> parts = SplitMemPath(path);
  std::shared_ptr<MemDir> dir = state_->root;
  for (size_t i = 0; i + 1 < parts.size(); ++i) {
    std::shared_ptr<MemNode> node = dir->now[parts[i]];
    if (node == nullptr) state_->Set(dir, parts[i], node = state_->MakeDir());
    if (!node->is_dir()) return MemIoError("write", path, ENOTDIR);
    MemState::SaveNames(dir.get());
    dir = std::static_pointer_cast<MemDir>(node);
  }
  SEGUE_ASSIGN_OR_RETURN(const std::shared_ptr<MemFile> file, MakeFile(state_.get(), "write", path));
  MemState::SaveNames(dir.get());
  if (bytes.size() != file->now.size()) {
    if (file->mappings > 0) return MemIoError("resize the mapped file", path, EBUSY);
    file->now.Resize(bytes.size());
  }
  if (!bytes.empty()) std::memcpy(file->now.data(), bytes.data(), bytes.size());
  file->saved = file->now.Copy();
  file->same = file->mappings > 0 ? 0 : bytes.size();
  return Status();
}

std::vector<std::string> MemEnv::ListAll() const {
  const Lock lock(state_->mutex);
  std::vector<std::string> paths;
  std::vector<std::pair<std::string, const MemDir*>> open = {{"", state_->root.get()}};
  while (!open.empty()) {
    const auto [prefix, dir] = std::move(open.back());
    open.pop_back();
    for (const auto& [name, node] : dir->now) {
      if (node->is_dir()) {
        open.emplace_back(prefix + name + "/", static_cast<const MemDir*>(node.get()));
      } else {
        paths.push_back(prefix + name);
      }
    }
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

Result<std::unique_ptr<WritableFile>> MemEnv::NewWritableFile(const std::string& path) {
  const Lock lock(state_->mutex);
  const MemOperation operation(state_.get(), "create", path);
  if (!operation.takes_effect()) return operation.status();
  SEGUE_ASSIGN_OR_RETURN(const std::shared_ptr<MemFile> file, MakeFile(state_.get(), "create", path));
  if (file->mappings > 0) return MemIoError("truncate the mapped file", path, EBUSY);
  file->now.Resize(0);
  file->same = 0;
  file->was_mapped = false;
  SEGUE_RETURN_IF_ERROR(operation.status());
  return std::unique_ptr<WritableFile>(std::make_unique<MemWritableFile>(state_, path, file));
}

Result<std::unique_ptr<RandomAccessFile>> MemEnv::NewRandomAccessFile(const std::string& path) {
  const Lock lock(state_->mutex);
  SEGUE_RETURN_IF_ERROR(state_->Alive("open", path));
  SEGUE_ASSIGN_OR_RETURN(const std::shared_ptr<MemFile> file, FindFile(*state_, "open", path));
  return std::unique_ptr<RandomAccessFile>(std::make_unique<MemRandomAccessFile>(state_, path, file));
}

Result<std::unique_ptr<MappedFile>> MemEnv::NewMappedFile(const std::string& path, uint64_t size) {
  const Lock lock(state_->mutex);
  if (size == 0) return Status::Invalid("cannot map " + path + ": a size of 0 bytes is impossible");
  const MemOperation operation(state_.get(), "map", path);
  if (!operation.takes_effect()) return operation.status();
  SEGUE_ASSIGN_OR_RETURN(const std::shared_ptr<MemFile> file, MakeFile(state_.get(), "map", path));
  if (file->now.size() != size) {
    if (file->mappings > 0) return MemIoError("resize the mapped file", path, EBUSY);
    file->now.Resize(static_cast<size_t>(size));
  }
  file->same = 0;
  file->was_mapped = true;
  SEGUE_RETURN_IF_ERROR(operation.status());
  return std::unique_ptr<MappedFile>(std::make_unique<MemMappedFile>(state_, path, file));
}

Result<std::string> MemEnv::ReadFile(const std::string& path) {
  {
    const Lock lock(state_->mutex);
    SEGUE_RETURN_IF_ERROR(state_->Alive("read", path));
  }
  return ReadRaw(path);
}

Result<bool> MemEnv::Exists(const std::string& path) {
  const Lock lock(state_->mutex);
  SEGUE_RETURN_IF_ERROR(state_->Alive("look at", path));
  return state_->Find(path) != nullptr;
}

Result<uint64_t> MemEnv::FileSize(const std::string& path) {
  const Lock lock(state_->mutex);
  SEGUE_RETURN_IF_ERROR(state_->Alive("look at", path));
  SEGUE_ASSIGN_OR_RETURN(const std::shared_ptr<MemFile> file, FindFile(*state_, "look at", path));
  return static_cast<uint64_t>(file->now.size());
}

Result<std::vector<std::string>> MemEnv::List(const std::string& dir) {
  const Lock lock(state_->mutex);
  SEGUE_RETURN_IF_ERROR(state_->Alive("list", dir));
  const std::shared_ptr<MemNode> node = state_->Find(dir);
  if (node == nullptr) return MemIoError("list", dir, ENOENT);
  if (!node->is_dir()) return MemIoError("list", dir, ENOTDIR);
  std::vector<std::string> names;
  for (const auto& [name, child] : static_cast<MemDir*>(node.get())->now) names.push_back(name);
  return names;
}

Status MemEnv::CreateDirs(const std::string& dir) {
  const Lock lock(state_->mutex);
  SEGUE_RETURN_IF_ERROR(state_->Alive("create the folder", dir));
  std::shared_ptr<MemDir> at = state_->root;
  for (const std::string& part : SplitMemPath(dir)) {
    if (const auto it = at->now.find(part); it != at->now.end()) {
      if (!it->second->is_dir()) return MemIoError("create the folder", dir, ENOTDIR);
      at = std::static_pointer_cast<MemDir>(it->second);
      continue;
    }
    const MemOperation operation(state_.get(), "mkdir", dir);
    std::shared_ptr<MemDir> made = state_->MakeDir();
    if (operation.takes_effect()) state_->Set(at, part, made);
    SEGUE_RETURN_IF_ERROR(operation.status());
    at = std::move(made);
  }
  return Status();
}

Status MemEnv::Rename(const std::string& from, const std::string& to) {
  const Lock lock(state_->mutex);
  const MemOperation operation(state_.get(), "rename", from);
  if (!operation.takes_effect()) return operation.status();
  SEGUE_ASSIGN_OR_RETURN(const auto source, state_->Parent("rename", from));
  SEGUE_ASSIGN_OR_RETURN(const auto target, state_->Parent("rename to", to));
  const auto it = source.first->now.find(source.second);
  if (it == source.first->now.end()) return MemIoError("rename", from, ENOENT);
  const auto there = target.first->now.find(target.second);
  if (there != target.first->now.end()) {
    if (there->second == it->second) return operation.status();  // onto itself: nothing
    if (there->second->is_dir()) return MemIoError("rename to", to, EISDIR);
    if (it->second->is_dir()) return MemIoError("rename to", to, ENOTDIR);
  }
  state_->Move(source.first, source.second, target.first, target.second);
  return operation.status();
}

Status MemEnv::Remove(const std::string& path) {
  const Lock lock(state_->mutex);
  const MemOperation operation(state_.get(), "remove", path);
  if (!operation.takes_effect()) return operation.status();
  SEGUE_ASSIGN_OR_RETURN(const auto place, state_->Parent("remove", path));
  const auto it = place.first->now.find(place.second);
  if (it == place.first->now.end()) return MemIoError("remove", path, ENOENT);
  if (it->second->is_dir() && !static_cast<MemDir*>(it->second.get())->now.empty()) {
    return MemIoError("remove", path, ENOTEMPTY);
  }
  state_->Set(place.first, place.second, nullptr);
  return operation.status();
}

Status MemEnv::SyncDir(const std::string& dir) {
  const Lock lock(state_->mutex);
  const MemOperation operation(state_.get(), "syncdir", dir);
  if (operation.succeeds()) {
    const std::shared_ptr<MemNode> node = state_->Find(dir);
    if (node == nullptr) return MemIoError("syncdir", dir, ENOENT);
    if (!node->is_dir()) return MemIoError("syncdir", dir, ENOTDIR);
    MemState::SaveNames(static_cast<MemDir*>(node.get()));
  }
  return operation.status();
}

Result<std::unique_ptr<FileLock>> MemEnv::LockFile(const std::string& path) {
  const Lock lock(state_->mutex);
  SEGUE_RETURN_IF_ERROR(state_->Alive("lock", path));
  std::string name = LockName(path);
  if (state_->locked.count(name) > 0) {
    return Status::Locked(DirName(path) + " is open for writing in this process (process " +
                          std::to_string(::getpid()) + "): close it there first, or open it here with mode=\"r\"");
  }
  SEGUE_RETURN_IF_ERROR(MakeFile(state_.get(), "lock", path).status());
  state_->locked.insert(name);
  return std::unique_ptr<FileLock>(std::make_unique<MemFileLock>(state_, std::move(name)));
}

Result<bool> MemEnv::RemoveUnlocked(const std::string& path) {
  const std::string name = LockName(path);
  {
    const Lock lock(state_->mutex);
    SEGUE_RETURN_IF_ERROR(state_->Alive("remove", path));
    if (state_->Find(path) == nullptr) return true;
    if (!state_->locked.insert(name).second) return false;
  }
  const MemFileLock held(state_, name);
  SEGUE_RETURN_IF_ERROR(Remove(path));
  return true;
}

}  // namespace segue
