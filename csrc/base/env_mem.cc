#include "base/env_mem.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/mem_files.h"
#include "base/mem_state.h"

namespace segue {
namespace {

using State = std::shared_ptr<MemState>;
using Lock = std::lock_guard<std::mutex>;

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

void MemEnv::SetCapacity(uint64_t bytes) {
  const Lock lock(state_->mutex);
  state_->capacity = bytes;
}

uint64_t MemEnv::used() const {
  const Lock lock(state_->mutex);
  return state_->Used();
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
  return OpenMemWritable(state_, path, file);
}

Result<std::unique_ptr<RandomAccessFile>> MemEnv::NewRandomAccessFile(const std::string& path) {
  const Lock lock(state_->mutex);
  SEGUE_RETURN_IF_ERROR(state_->Alive("open", path));
  SEGUE_ASSIGN_OR_RETURN(const std::shared_ptr<MemFile> file, FindFile(*state_, "open", path));
  return OpenMemRandomAccess(state_, path, file);
}

Result<std::unique_ptr<MappedFile>> MemEnv::NewMappedFile(const std::string& path, uint64_t size) {
  const Lock lock(state_->mutex);
  if (size == 0) return Status::Invalid("cannot map " + path + ": a size of 0 bytes is impossible");
  const MemOperation operation(state_.get(), "map", path);
  if (!operation.takes_effect()) return operation.status();
  SEGUE_ASSIGN_OR_RETURN(const std::shared_ptr<MemFile> file, MakeFile(state_.get(), "map", path));
  if (file->now.size() != size) {
    if (file->mappings > 0) return MemIoError("resize the mapped file", path, EBUSY);
    if (size > file->now.size() && size - file->now.size() > state_->Room()) return MemIoError("map", path, ENOSPC);
    file->now.Resize(static_cast<size_t>(size));
  }
  file->same = 0;
  file->was_mapped = true;
  SEGUE_RETURN_IF_ERROR(operation.status());
  return OpenMemMapped(state_, path, file);
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

void MemEnv::ReleaseTail(const std::string& path, uint64_t offset) {
  const Lock lock(state_->mutex);
  const MemOperation operation(state_.get(), "release", path);
  if (!operation.takes_effect()) return;
  const Result<std::shared_ptr<MemFile>> found = FindFile(*state_, "release", path);
  if (!found.ok()) return;
  MemFile* file = found->get();
  const uint64_t begin = MemWholePages(offset);
  if (begin >= file->now.size()) return;
  // Not synced: power loss may leave what was there.
  file->now.Clear(begin, file->now.size());
  file->same = std::min<size_t>(file->same, begin);
  file->was_mapped = true;
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
