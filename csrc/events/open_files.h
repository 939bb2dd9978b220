// OpenFiles: keeps at most so many files open for reading, however many there are.
//
// A file is opened at its first use and again after it was closed to make room;
// the one used least recently is closed first. A reader that holds a file keeps
// it open until it lets go, so the bound can be passed by the reads under way.
//
// Thread safety: every method from any thread.
// Ownership: shares its Env; files are shared with their readers.
#pragma once

#include <cstddef>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "base/env.h"
#include "base/status.h"

namespace segue {

class OpenFiles {
 public:
  using File = std::shared_ptr<const RandomAccessFile>;

  OpenFiles(std::shared_ptr<Env> env, size_t limit) : env_(std::move(env)), limit_(limit == 0 ? 1 : limit) {}

  Result<File> Get(const std::string& path);
  // Closes a file that is not to be read again.
  void Close(const std::string& path);
  size_t open() const;

 private:
  struct Entry {
    std::string path;
    File file;
  };

  const std::shared_ptr<Env> env_;
  const size_t limit_;
  mutable std::mutex mutex_;
  std::list<Entry> files_;  // most recently used first
  std::unordered_map<std::string, std::list<Entry>::iterator> places_;
};

}  // namespace segue
