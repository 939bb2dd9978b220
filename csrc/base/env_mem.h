// MemEnv: a file system in memory that knows exactly what was synced.
//
// A test double. It keeps, for every file, the bytes that a read sees and the
// bytes that power loss leaves; for every folder, the names that a lookup sees
// and the names that power loss leaves. It fails where it is told to, and
// Crash() gives the file system as the next start of the program finds it.
//
// Operations. Every change of the file system is one operation with a number,
// from 1: create (a file, a mapped file, each folder), append, sync, mapped
// write, prepare, store and sync, release, rename, remove, syncdir. Reads and
// locks have none. A process that is killed leaves what Crash(kAll) leaves.
//
// Stores into a mapping are an operation when MappedFile::Stored tells of them.
// A crash at one (or at a mapped write) leaves some of its words, in no order,
// whatever is kept: `seed` says which. When one fails, its bytes are as before.
//
// Harsher than most real file systems, never milder: syncing a file does not
// save its name; a sync of a mapping saves exactly the bytes asked for; after a
// failed sync, what was dirty then is never saved by a later sync through the
// same handle, though that sync says ok (as Linux does it).
//
// Thread safety: all methods, except that stores into a mapping concurrent with
// SetCrashAt's operation are as racy as they are against a real power loss.
// Ownership: Crash() returns an independent copy; files of the old MemEnv go on
// failing. Open files share its state, and may outlive it.
// Invariants: after the operation given to SetCrashAt, every call fails with EIO.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/env.h"

namespace segue {

struct MemState;  // mem_state.h: the tree of files, and the orders to fail

// What power loss leaves of that which was not synced.
enum class CrashKeep : uint8_t {
  kNone,    // nothing
  kAll,     // everything: also what a killed process leaves
  kRandom,  // of each file a prefix of what was appended, torn anywhere; of a mapping some sectors of 512 bytes;
            // of each folder the first few changes
};

class MemEnv final : public Env {
 public:
  MemEnv();
  ~MemEnv() override;

  // ---- Fault injection ----
  uint64_t op_count() const;
  // "append db/wal" of operation `n`; empty when there was none.
  std::string op(uint64_t n) const;
  // Operation `n` is cut off by the crash (it may have happened or not), and it
  // and all calls after it fail with EIO. 0 takes the order back.
  void SetCrashAt(uint64_t n);
  // Operation `n`, and only that one, fails with `errno_value` and does nothing;
  // an append or write with `short_write` does the first half (of a mapped file: in whole
  // words of 8 bytes). 0 takes the order back.
  void SetFailAt(uint64_t n, int errno_value, bool short_write = false);
  // From now on all files together have so many bytes at most: what is more ends with ENOSPC, after as much of it
  // as goes. UINT64_MAX: any number.
  void SetCapacity(uint64_t bytes);
  uint64_t used() const;
  bool crashed() const;
  // The file system after power loss now, or, after SetCrashAt, at that operation.
  std::unique_ptr<MemEnv> Crash(CrashKeep keep, uint64_t seed = 0) const;

  // ---- For tests: outside the numbering, and allowed after a crash ----
  Result<std::string> ReadRaw(const std::string& path) const;
  // Replaces or creates; synced, name included, with its folders.
  Status WriteRaw(const std::string& path, std::string_view bytes);
  std::vector<std::string> ListAll() const;  // paths of all files, sorted

  // ---- Env ----
  Result<std::unique_ptr<WritableFile>> NewWritableFile(const std::string& path) override;
  Result<std::unique_ptr<RandomAccessFile>> NewRandomAccessFile(const std::string& path) override;
  Result<std::unique_ptr<MappedFile>> NewMappedFile(const std::string& path, uint64_t size) override;
  Result<std::string> ReadFile(const std::string& path) override;
  Result<bool> Exists(const std::string& path) override;
  Result<uint64_t> FileSize(const std::string& path) override;
  Result<std::vector<std::string>> List(const std::string& dir) override;
  Status CreateDirs(const std::string& dir) override;
  Status Rename(const std::string& from, const std::string& to) override;
  Status Remove(const std::string& path) override;
  void ReleaseTail(const std::string& path, uint64_t offset) override;
  Status SyncDir(const std::string& dir) override;
  Result<std::unique_ptr<FileLock>> LockFile(const std::string& path) override;
  Result<bool> RemoveUnlocked(const std::string& path) override;

 private:
  std::shared_ptr<MemState> state_;  // open files share it
};

}  // namespace segue
