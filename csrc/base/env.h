// Env: the one seam between Segue and the file system.
//
// Every file operation of the core goes through an Env, mapped regions
// included, so that tests can inject crashes, torn writes,
// ENOSPC and EIO. Implementations: Env::Posix() and MemEnv (env_mem.h).
//
// Durability contract, the same for both:
//   - bytes appended to a file survive power loss after that file's Sync();
//   - a name created, renamed or removed survives after SyncDir(parent);
//   - bytes stored into a MappedFile survive after MappedFile::Sync();
//   - after a Sync() that failed, nothing more may be assumed: never retry.
//
// Thread safety: Env is safe to share. A WritableFile belongs to one thread at
// a time. RandomAccessFile::Read may be called from many threads.
// Ownership: files close when destroyed, and outlive neither their Env.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace segue {

class WritableFile {
 public:
  virtual ~WritableFile() = default;
  virtual Status Append(std::string_view data) = 0;
  // Waits for the write-back that the last call started, then starts that of
  // what was appended since. Called every so many bytes, no more than these are
  // ever in the device's queue, where a sync of another file, the log's, would
  // wait behind them; and a later Sync() is short. Promises nothing. After an
  // error the file is lost: a later Sync() need not know of it.
  virtual Status WriteBack() = 0;
  virtual Status Sync() = 0;
  virtual Status Close() = 0;  // idempotent; does not sync
};

class RandomAccessFile {
 public:
  virtual ~RandomAccessFile() = default;
  // Exactly `n` bytes at `offset` into `scratch`; fewer in the file is
  // kCorruption with this file's path and the offset.
  virtual Status Read(uint64_t offset, size_t n, void* scratch) const = 0;
  virtual uint64_t size() const = 0;
  virtual const std::string& path() const = 0;
};

// A preallocated file mapped shared: stores into data() reach the file without
// a system call and survive a killed process (not power loss). Write() does the
// same by one system call; it is the cheaper way for more than some pages, and
// for everything that is synced soon: a sync write-protects the pages of a
// mapping, and each next first store into one is a fault that journals the
// file's time stamps (measured on ext4: Write and Sync of 40 KB 0.15 ms, stores
// and Sync 1 ms).
class MappedFile {
 public:
  virtual ~MappedFile() = default;
  virtual uint8_t* data() = 0;
  virtual uint64_t size() const = 0;
  // Puts the `parts`, one behind the other, at `offset`, inside the file.
  virtual Status Write(uint64_t offset, std::initializer_list<std::string_view> parts) = 0;
  // Makes the bytes [begin, end) durable. Safe to call from one thread while
  // others store elsewhere in the region.
  virtual Status Sync(uint64_t begin, uint64_t end) = 0;
  // Makes durable what Write has put there, and need not do so for stores. Unlike Sync it does not queue up
  // for the lock that guards the process's mappings, which other threads may hold for milliseconds.
  virtual Status SyncWritten() = 0;
  // Brings [begin, end) in, ready to be written: what the first store would
  // meet (a device error, a full copy-on-write disk) becomes an error here, and
  // one call replaces a page fault for each page.
  virtual Status Prepare(uint64_t begin, uint64_t end) = 0;
  // To be told of stores into [begin, end) of data() that are to be relied on, after them; cheap. An error once
  // one went to nowhere, as its page could not be had any more (somebody cut the file short, the device failed):
  // never a SIGBUS.
  virtual Status Stored(uint64_t begin, uint64_t end) = 0;
  virtual const std::string& path() const = 0;
};

// Held until destroyed; released by the system when the process dies.
class FileLock {
 public:
  virtual ~FileLock() = default;
};

class Env {
 public:
  virtual ~Env() = default;

  static Env* Posix();  // process-wide, never destroyed

  // Truncates an existing file.
  virtual Result<std::unique_ptr<WritableFile>> NewWritableFile(const std::string& path) = 0;
  virtual Result<std::unique_ptr<RandomAccessFile>> NewRandomAccessFile(const std::string& path) = 0;
  // Creates (or reuses, keeping its bytes; a longer one is cut) a file with
  // `size` bytes of real, allocated disk space and maps it. A full disk is an error here, so that a
  // later store into the region cannot meet one.
  virtual Result<std::unique_ptr<MappedFile>> NewMappedFile(const std::string& path, uint64_t size) = 0;

  virtual Result<std::string> ReadFile(const std::string& path) = 0;  // whole; for small files
  // Writes `data` to a temporary file beside `path`, syncs it, renames it over
  // `path` and syncs the directory: the old or the new content, never a mix.
  virtual Status WriteFileAtomic(const std::string& path, std::string_view data);

  virtual Result<bool> Exists(const std::string& path) = 0;
  virtual Result<uint64_t> FileSize(const std::string& path) = 0;
  virtual Result<std::vector<std::string>> List(const std::string& dir) = 0;  // names, sorted
  virtual Status CreateDirs(const std::string& dir) = 0;                      // with parents; ok when it exists
  virtual Status Rename(const std::string& from, const std::string& to) = 0;
  virtual Status Remove(const std::string& path) = 0;  // a file or an empty directory
  // Remove() of a large file that gives its blocks back piece by piece, with
  // pauses, until `hurry` says that this takes too long. Where a file system
  // tells the device of every freed block (ext4 with `discard`), removing 20 MB
  // at once makes syncs of other files wait 30 ms. The name goes first. Content
  // that has another name, or that somebody has open, is left alone.
  virtual Status RemoveGradually(const std::string& path, const std::function<bool()>& hurry);
  // Gives back the disk space of whole pages from `offset` on, which read as zeros from then on; the size
  // stays. A hint: where that cannot be done, nothing happens.
  virtual void ReleaseTail(const std::string& path, uint64_t offset);
  virtual Status SyncDir(const std::string& dir) = 0;

  // Exclusive between processes and between handles of one process. kLocked
  // names the holder's process id, and its command line where it can be read.
  virtual Result<std::unique_ptr<FileLock>> LockFile(const std::string& path) = 0;
  // Removes a file on which nobody holds a lock, and never makes one: true when
  // it is gone then, false when somebody holds it. Who locks meanwhile gets
  // kLocked, or a lock on a file that has lost its name.
  virtual Result<bool> RemoveUnlocked(const std::string& path) = 0;
};

std::string JoinPath(std::string_view dir, std::string_view name);
std::string DirName(std::string_view path);

}  // namespace segue
