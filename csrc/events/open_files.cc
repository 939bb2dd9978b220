#include "events/open_files.h"

#include <utility>

namespace segue {

Result<OpenFiles::File> OpenFiles::Get(const std::string& path) {
  {
    const std::lock_guard lock(mutex_);
    const auto found = places_.find(path);
    if (found != places_.end()) {
      files_.splice(files_.begin(), files_, found->second);
      return found->second->file;
    }
  }
  // Without the lock: opening may wait for the disk.
  SEGUE_ASSIGN_OR_RETURN(std::unique_ptr<RandomAccessFile> opened, env_->NewRandomAccessFile(path));
  File file = std::move(opened);
  std::list<Entry> closed;  // freed without the lock
  const std::lock_guard lock(mutex_);
  if (places_.contains(path)) return file;
  while (files_.size() >= limit_) {
    places_.erase(files_.back().path);
    closed.splice(closed.begin(), files_, std::prev(files_.end()));
  }
  files_.push_front({path, file});
  places_.emplace(path, files_.begin());
  return file;
}

void OpenFiles::Close(const std::string& path) {
  std::list<Entry> closed;
  const std::lock_guard lock(mutex_);
  const auto found = places_.find(path);
  if (found == places_.end()) return;
  closed.splice(closed.begin(), files_, found->second);
  places_.erase(found);
}

size_t OpenFiles::open() const {
  const std::lock_guard lock(mutex_);
  return files_.size();
}

}  // namespace segue
