// Leases: how a reader process keeps the SSTables that it uses from being removed.
//
// A lease is one file in the store's folder `leases`, named by nobody else ever,
// held under an operating-system lock and listing file numbers. The lock goes
// with its process, so a killed reader pins nothing; the file is on disk, so a
// writer that starts anew still respects it. docs/formats/lease.md.
//
// How no file disappears between a look at the manifest and the lease: the
// reader looks, takes the lease, looks again, and starts over when a file that
// it leased is no longer named. The writer first replaces the manifest, then
// asks for the leases, then removes. A lease whose list is not complete yet pins
// nothing, and need not: its reader has still to look again.
//
// Thread safety: a Lease is immutable; share it freely.
// Ownership: the lease lasts as long as the object, or the process. In a forked
// child the object does nothing: the lease is the parent's.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>

#include "base/env.h"
#include "base/status.h"

namespace segue {

inline constexpr char kLeaseFolder[] = "leases";

class Lease {
 public:
  // Pins SSTables of the store in `dir`, from the moment it returns. kIo with
  // EACCES, EPERM or EROFS where this process may not write into the folder.
  static Result<std::shared_ptr<const Lease>> Take(std::shared_ptr<Env> env, const std::string& dir,
                                                   const std::set<uint64_t>& tables);
  ~Lease();
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;

  const std::string& path() const { return path_; }

 private:
  Lease(std::shared_ptr<Env> env, std::string path, std::unique_ptr<FileLock> lock);

  const std::shared_ptr<Env> env_;
  const std::string path_;
  const int process_;  // that took it
  std::unique_ptr<FileLock> lock_;
};

// The numbers of the SSTables that live leases pin; removes the files of dead
// ones. For the writer, after the manifest that no longer names the SSTables is
// durable. An error means that a lease could not be read: remove nothing then.
Result<std::set<uint64_t>> LeasedTables(Env* env, const std::string& dir);

}  // namespace segue
