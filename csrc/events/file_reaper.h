// FileReaper: removes SSTables that the manifest no longer names, once nobody
// reads them any more.
//
// A retired file goes when every reader object of this process that was
// registered for it is gone (snapshots hold them) and no lease of another
// process pins it. What is left when the store closes is found, unnamed, at the
// next open, and retired again.
//
// Thread safety: all methods from any thread; one Reap at a time does the work,
// which may take seconds and keeps no other method waiting.
// Invariants: a file is retired only after a durable manifest does not name it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "base/env.h"
#include "events/sstable_reader.h"

namespace segue {

class FileReaper {
 public:
  FileReaper(std::shared_ptr<Env> env, std::string dir) : env_(std::move(env)), dir_(std::move(dir)) {}

  // `reader` reads this file, whether it is retired already or later.
  void Watch(uint64_t number, std::weak_ptr<const SstReader> reader);
  void Retire(uint64_t number, std::string path);
  std::set<uint64_t> read() const;  // files with a watched reader

  // Removes what can be removed now, without making the disk busy until `hurry`
  // says so. After an error more may be left than needs to be.
  Status Reap(const std::function<bool()>& hurry);
  size_t waiting() const;  // retired files that are still there

 private:
  const std::shared_ptr<Env> env_;
  const std::string dir_;
  std::mutex reaping_;        // held by Reap; taken before mutex_
  mutable std::mutex mutex_;  // guards what follows
  std::multimap<uint64_t, std::weak_ptr<const SstReader>> readers_;
  std::map<uint64_t, std::string> retired_;
};

}  // namespace segue
