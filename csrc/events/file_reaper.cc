#include "events/file_reaper.h"

#include <utility>

#include "events/leases.h"

namespace segue {

void FileReaper::Watch(uint64_t number, std::weak_ptr<const SstReader> reader) {
  const std::lock_guard lock(mutex_);
  readers_.emplace(number, std::move(reader));
}

void FileReaper::Retire(uint64_t number, std::string path) {
  const std::lock_guard lock(mutex_);
  retired_.emplace(number, std::move(path));
}

std::set<uint64_t> FileReaper::read() const {
  const std::lock_guard lock(mutex_);
  std::set<uint64_t> numbers;
  for (const auto& [number, reader] : readers_) {
    if (!reader.expired()) numbers.insert(number);
  }
  return numbers;
}

size_t FileReaper::waiting() const {
  const std::lock_guard lock(mutex_);
  return retired_.size();
}

Status FileReaper::Reap(const std::function<bool()>& hurry) {
  const std::lock_guard reaping(reaping_);
  std::vector<std::pair<uint64_t, std::string>> unread;
  {
    const std::lock_guard lock(mutex_);
    std::erase_if(readers_, [](const auto& entry) { return entry.second.expired(); });
    for (const auto& [number, path] : retired_) {
      if (!readers_.contains(number)) unread.emplace_back(number, path);
    }
  }
  if (unread.empty()) return {};
  // After the manifest, never before: see leases.h.
  SEGUE_ASSIGN_OR_RETURN(const std::set<uint64_t> leased, LeasedTables(env_.get(), dir_));
  Status status;
  for (const auto& [number, path] : unread) {
    if (leased.contains(number)) continue;
    const Status removed = env_->RemoveGradually(path, hurry);
    if (removed.ok()) {
      const std::lock_guard lock(mutex_);
      retired_.erase(number);
    } else {
      status = removed;
    }
  }
  return status;
}

}  // namespace segue
