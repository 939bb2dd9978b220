// What MemEnv's files and folders are made of: for each, what is seen now and
// what power loss leaves. Internal to env_mem.cc and mem_state.cc.
//
// Thread safety: MemState::mutex guards everything but the bytes of a mapping.
// Ownership: nodes are shared by the folders that name them (now, or after
// power loss) and by open handles.
// Invariants: MemFile bytes [0, same) are equal in `now` and `saved`; while
// `mappings` > 0, `now` never moves. A folder's `saved` with all of its
// `changes` applied is its `now`.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/env_mem.h"
#include "base/status.h"

namespace segue {

// A byte array whose untouched zero pages take no memory.
class MemBytes {
 public:
  MemBytes() = default;
  MemBytes(const MemBytes&) = delete;
  MemBytes& operator=(const MemBytes&) = delete;
  MemBytes(MemBytes&& other) noexcept { Swap(other); }
  MemBytes& operator=(MemBytes&& other) noexcept {
    Swap(other);
    return *this;
  }
  ~MemBytes() { std::free(data_); }

  uint8_t* data() { return data_; }
  const uint8_t* data() const { return data_; }
  size_t size() const { return size_; }
  std::string_view view() const { return {reinterpret_cast<const char*>(data_), size_}; }

  // New bytes are zero. May move the bytes. Throws std::bad_alloc, as std::vector would.
  void Resize(size_t size);
  // Makes [begin, end) equal to `other`'s (zero past its end), page by page
  // where it differs.
  void CopyFrom(const MemBytes& other, size_t begin, size_t end);
  // Makes [begin, end) zero, page by page where it is not.
  void Clear(size_t begin, size_t end);
  MemBytes Copy() const;

 private:
  void Swap(MemBytes& other) {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(capacity_, other.capacity_);
  }

  uint8_t* data_ = nullptr;
  size_t size_ = 0;
  size_t capacity_ = 0;
};

struct MemNode {
  virtual ~MemNode() = default;
  virtual bool is_dir() const = 0;
};

struct MemFile final : MemNode {
  bool is_dir() const override { return false; }

  MemBytes now;
  MemBytes saved;
  size_t same = 0;
  int mappings = 0;
  bool was_mapped = false;  // stores may have changed any byte since the last sync
  MemBytes told;            // what of `now` is prepared for stores, but for stores that nobody told of yet
  // A change of words that the crash came upon: which of them it made is open.
  struct Torn {
    uint64_t begin;
    std::string before;
  };
  std::optional<Torn> torn;
  std::optional<MemBytes> frozen;  // `now` of a mapping when the crash came; stores after it are a dead process's
  const MemBytes& seen() const { return frozen ? *frozen : now; }
};

struct MemDir final : MemNode {
  // `name` becomes `node`, or goes away where that is null. A rename is two
  // changes; between folders, either takes the `partner` folder's along, as a
  // journal does.
  struct Change {
    uint64_t serial;
    std::vector<std::pair<std::string, std::shared_ptr<MemNode>>> names;
    std::shared_ptr<MemDir> partner;
  };

  bool is_dir() const override { return true; }

  std::map<std::string, std::shared_ptr<MemNode>> now;
  std::map<std::string, std::shared_ptr<MemNode>> saved;
  std::deque<Change> changes;  // not synced, oldest first
};

// What is to happen to the operation that asks.
enum class MemFate : uint8_t { kGo, kCut, kFail, kDead };

struct MemState {
  MemState() : root(std::make_shared<MemDir>()) {}
  // Folders may name each other through changes not yet synced: break the cycles.
  ~MemState();

  std::mutex mutex;
  std::shared_ptr<MemDir> root;
  std::vector<std::weak_ptr<MemDir>> dirs;  // all, for the destructor
  std::vector<std::weak_ptr<MemFile>> mapped;
  std::set<std::string> locked;
  uint64_t next_serial = 1;

  std::vector<std::string> ops;
  uint64_t crash_at = 0;
  uint64_t fail_at = 0;
  int fail_errno = 0;
  bool fail_short = false;
  bool dead = false;
  uint64_t capacity = UINT64_MAX;  // of all files together

  // Everything below wants `mutex` held, but for CrashCopy.

  void Die();
  uint64_t Used() const;  // bytes of all files that have a name
  uint64_t Room() const;
  Status Alive(const char* verb, const std::string& path) const;

  std::shared_ptr<MemNode> Find(const std::string& path) const;  // null: not there
  // The folder that `path` is or would be in, and its name there.
  Result<std::pair<std::shared_ptr<MemDir>, std::string>> Parent(const char* verb, const std::string& path) const;
  std::shared_ptr<MemDir> MakeDir();

  void Set(const std::shared_ptr<MemDir>& dir, const std::string& name, std::shared_ptr<MemNode> node);
  void Move(const std::shared_ptr<MemDir>& from, const std::string& from_name, const std::shared_ptr<MemDir>& to,
            const std::string& to_name);
  static void SaveNames(MemDir* dir, uint64_t upto_serial = UINT64_MAX);

  std::shared_ptr<MemState> CrashCopy(CrashKeep keep, uint64_t seed);
};

// One numbered operation: asks for its fate when made, with the mutex held, and
// carries a cut-off out when it goes, whichever way its function returns.
class MemOperation {
 public:
  MemOperation(MemState* state, const char* verb, const std::string& path);
  MemOperation(const MemOperation&) = delete;
  MemOperation& operator=(const MemOperation&) = delete;
  ~MemOperation() {
    if (fate_ == MemFate::kCut) state_->Die();
  }

  // Whether it changes anything: it succeeds, or is cut off in the middle.
  bool takes_effect() const { return fate_ == MemFate::kGo || fate_ == MemFate::kCut; }
  bool succeeds() const { return fate_ == MemFate::kGo; }
  bool fails() const { return fate_ == MemFate::kFail; }
  bool cut_off() const { return fate_ == MemFate::kCut; }
  Status status() const;

 private:
  MemState* state_;
  const char* verb_;
  const std::string& path_;
  MemFate fate_;
};

// `offset`, rounded up to where a page begins.
uint64_t MemWholePages(uint64_t offset);
std::vector<std::string> SplitMemPath(std::string_view path);
Status MemIoError(const char* verb, const std::string& path, int error);

}  // namespace segue
