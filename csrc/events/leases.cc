#include "events/leases.h"

#include <unistd.h>

#include <cerrno>
#include <optional>
#include <random>
#include <string_view>
#include <utility>

#include "base/coding.h"
#include "base/crc32c.h"

namespace segue {
namespace {

constexpr std::string_view kMagic = "SEGUELSE";
constexpr std::string_view kSuffix = ".lease";
constexpr uint32_t kVersion = 1;
constexpr size_t kHeader = 8 + 4 + 4 + 8;  // magic, version, CRC of the body, length of the body

// A name is tried once: another one is free of whatever stood in the way.
constexpr int kAttempts = 16;

std::string Serialize(const std::set<uint64_t>& tables) {
  std::string body;
  for (const uint64_t number : tables) PutFixed(&body, number);
  std::string out(kMagic);
  PutFixed(&out, kVersion);
  PutFixed(&out, Crc32c(body.data(), body.size()));
  PutFixed(&out, static_cast<uint64_t>(body.size()));
  return out + body;
}

// Nothing while the list is still being written (see leases.h).
Result<std::optional<std::set<uint64_t>>> Parse(const std::string& path, const std::string& bytes) {
  const std::optional<std::set<uint64_t>> incomplete;
  Cursor in(bytes);
  std::string_view magic;
  uint32_t version = 0;
  uint32_t crc = 0;
  uint64_t size = 0;
  if (!in.GetBytes(kMagic.size(), &magic) || magic != kMagic || !in.GetFixed(&version)) return incomplete;
  if (version != kVersion) {
    return Status::Unsupported("'" + path + "' has lease version " + std::to_string(version) +
                               "; this Segue reads version 1: upgrade the process that writes");
  }
  std::string_view body;
  if (!in.GetFixed(&crc) || !in.GetFixed(&size) || !in.GetBytes(size, &body)) return incomplete;
  if (Crc32c(body.data(), body.size()) != crc || size % sizeof(uint64_t) != 0) {
    return Status::Corruption(path, kHeader,
                              "the lease '" + path + "' fails its checksum; end the process that " +
                                  "holds it, whose number its name begins with");
  }
  std::set<uint64_t> tables;
  Cursor numbers(body);
  for (uint64_t number = 0; numbers.GetFixed(&number);) tables.insert(number);
  return std::optional(std::move(tables));
}

std::string UniqueName() {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::random_device random;
  uint64_t value = uint64_t{random()} << 32 | random();
  std::string name = std::to_string(getpid()) + "-";
  for (int i = 0; i < 16; ++i, value >>= 4) name.push_back(kDigits[value & 15]);
  return name.append(kSuffix);
}

Status Write(Env* env, const std::string& path, const std::string& bytes) {
  // The same file that the lock is on, cut and filled: not replaced by a rename.
  SEGUE_ASSIGN_OR_RETURN(std::unique_ptr<WritableFile> file, env->NewWritableFile(path));
  SEGUE_RETURN_IF_ERROR(file->Append(bytes));
  return file->Close();
}

}  // namespace

Lease::Lease(std::shared_ptr<Env> env, std::string path, std::unique_ptr<FileLock> lock)
    : env_(std::move(env)), path_(std::move(path)), process_(getpid()), lock_(std::move(lock)) {}

Lease::~Lease() {
  if (getpid() != process_) return;  // lock_ knows it too
  // While the lock is held, so that nobody takes the file for a dead one's. A
  // file that cannot be removed pins nothing once the lock is gone.
  const Status ignored = env_->Remove(path_);
  static_cast<void>(ignored);
}

Result<std::shared_ptr<const Lease>> Lease::Take(std::shared_ptr<Env> env, const std::string& dir,
                                                 const std::set<uint64_t>& tables) {
  const std::string folder = JoinPath(dir, kLeaseFolder);
  const std::string bytes = Serialize(tables);
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    SEGUE_ASSIGN_OR_RETURN(const bool made, env->Exists(folder));
    if (!made) SEGUE_RETURN_IF_ERROR(env->CreateDirs(folder));
    const std::string path = JoinPath(folder, UniqueName());
    Result<std::unique_ptr<FileLock>> lock = env->LockFile(path);
    // A writer that tried whether the file is a dead one's was faster.
    if (lock.status().code() == StatusCode::kLocked) continue;
    SEGUE_RETURN_IF_ERROR(lock.status());
    // Or it has removed the file already; from here on it cannot.
    SEGUE_ASSIGN_OR_RETURN(const bool there, env->Exists(path));
    if (!there) continue;
    std::shared_ptr<const Lease> lease(new Lease(env, path, lock.Take()));
    SEGUE_RETURN_IF_ERROR(Write(env.get(), path, bytes));
    return lease;
  }
  return Status::Io(folder, EAGAIN,
                    "cannot take a lease in '" + folder + "': every one was removed at once; try again");
}

Result<std::set<uint64_t>> LeasedTables(Env* env, const std::string& dir) {
  std::set<uint64_t> leased;
  const std::string folder = JoinPath(dir, kLeaseFolder);
  SEGUE_ASSIGN_OR_RETURN(const bool made, env->Exists(folder));
  if (!made) return leased;
  SEGUE_ASSIGN_OR_RETURN(const std::vector<std::string> names, env->List(folder));
  for (const std::string& name : names) {
    if (!name.ends_with(kSuffix)) continue;
    const std::string path = JoinPath(folder, name);
    const Result<bool> removed = env->RemoveUnlocked(path);
    if (removed.ok() && *removed) continue;
    // Held; or another user's, which we may not remove: then it counts as held.
    const Result<std::string> bytes = env->ReadFile(path);
    if (!bytes.ok()) {
      SEGUE_ASSIGN_OR_RETURN(const bool there, env->Exists(path));
      if (!there) continue;                                            // let go of meanwhile
      if (bytes.status().code() == StatusCode::kCorruption) continue;  // just being cut, to be filled
      return bytes.status();
    }
    SEGUE_ASSIGN_OR_RETURN(const std::optional<std::set<uint64_t>> tables, Parse(path, *bytes));
    if (tables) leased.insert(tables->begin(), tables->end());
  }
  return leased;
}

}  // namespace segue
