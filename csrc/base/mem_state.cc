#include "base/mem_state.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>
#include <new>
#include <unordered_map>

namespace segue {
namespace {

constexpr size_t kPage = 4096;
constexpr size_t kSector = 512;  // what a drive writes whole or not at all
constexpr size_t kWord = 8;      // what a processor stores whole or not at all
constexpr uint8_t kZeros[kPage] = {};

// Uniform enough, and the same on every platform (std distributions are not).
class Dice {
 public:
  explicit Dice(uint64_t seed) : engine_(seed) {}
  uint64_t Below(uint64_t n) { return n == 0 ? 0 : engine_() % n; }
  // 0 and n are as likely as all that is between them.
  uint64_t UpTo(uint64_t n) {
    const uint64_t way = Below(3);
    return way == 0 ? 0 : way == 1 ? n : Below(n + 1);
  }

 private:
  std::mt19937_64 engine_;
};

// A part of a change that was cut off: words, as nothing smaller is ever halved, the first or the last few, or
// any; or pages. The order of stores is no help, as one page may be written back before another.
void Tear(const MemFile::Torn& torn, Dice* dice, MemBytes* bytes) {
  const uint64_t way = dice->Below(4);
  const size_t unit = way == 3 ? kPage : kWord;
  const uint64_t end = std::min<uint64_t>(torn.begin + torn.before.size(), bytes->size());
  const uint64_t units = (end + unit - 1) / unit - torn.begin / unit;
  const uint64_t some = dice->UpTo(units);
  uint64_t place = 0;
  for (uint64_t at = torn.begin; at < end; ++place) {
    const uint64_t next = std::min(end, (at / unit + 1) * unit);
    const bool made = way == 0 ? place < some : way == 1 ? place >= units - some : dice->Below(2) == 0;
    if (!made) std::memcpy(bytes->data() + at, torn.before.data() + (at - torn.begin), next - at);
    at = next;
  }
}

// What power loss leaves of a file.
void Settle(const MemFile& before, CrashKeep keep, Dice* dice, MemFile* after) {
  MemBytes torn;
  if (before.torn && keep != CrashKeep::kNone) {
    torn = before.seen().Copy();
    Tear(*before.torn, dice, &torn);
  }
  const MemBytes& now = before.torn && keep != CrashKeep::kNone ? torn : before.seen();
  const MemBytes& saved = before.saved;
  MemBytes& out = after->now;
  if (keep != CrashKeep::kRandom) {
    const MemBytes& left = keep == CrashKeep::kAll ? now : saved;
    out = left.Copy();
    after->saved = left.Copy();
    after->same = left.size();
    return;
  }
  if (before.was_mapped) {
    // The new size is known only if that metadata came through.
    const size_t size = dice->Below(2) == 0 ? saved.size() : now.size();
    out.Resize(size);
    out.CopyFrom(saved, 0, size);
    const uint64_t chance = 1 + dice->Below(7);  // of 8, for this file
    for (size_t at = 0; at < std::min(size, now.size()); at += kPage) {
      const size_t page_end = std::min({at + kPage, size, now.size()});
      if (std::memcmp(out.data() + at, now.data() + at, page_end - at) == 0) continue;
      for (size_t sector = at; sector < page_end; sector += kSector) {
        if (dice->Below(8) < chance) out.CopyFrom(now, sector, std::min(sector + kSector, page_end));
      }
    }
  } else if (before.same < saved.size() && dice->Below(2) == 0) {
    out = saved.Copy();  // written anew, and nothing of that came through
  } else {
    const size_t written = before.same + dice->UpTo(now.size() - before.same);
    // The size may come through before the bytes do: they read as zero then.
    const size_t size = dice->Below(4) == 0 ? written + dice->Below(now.size() - written + 1) : written;
    out.Resize(size);
    out.CopyFrom(now, 0, written);
  }
  after->saved = out.Copy();
  after->same = out.size();
}

}  // namespace

void MemBytes::Resize(size_t size) {
  if (size > capacity_) {
    const size_t capacity = size_ == 0 ? size : std::max(size, capacity_ * 2);
    auto* bigger = static_cast<uint8_t*>(std::calloc(capacity, 1));
    if (bigger == nullptr) throw std::bad_alloc();
    if (size_ > 0) std::memcpy(bigger, data_, size_);
    std::free(data_);
    data_ = bigger;
    capacity_ = capacity;
  } else if (size < size_) {
    std::memset(data_ + size, 0, size_ - size);
  }
  size_ = size;
}

void MemBytes::CopyFrom(const MemBytes& other, size_t begin, size_t end) {
  for (size_t at = begin; at < end; at += kPage) {
    const size_t n = std::min(kPage, end - at);
    const size_t there = at < other.size_ ? std::min(n, other.size_ - at) : 0;
    // Reading a page that was never written does not allocate it; writing does.
    if (there > 0 && std::memcmp(data_ + at, other.data_ + at, there) != 0) {
      std::memcpy(data_ + at, other.data_ + at, there);
    }
    if (there < n) std::memset(data_ + at + there, 0, n - there);
  }
}

void MemBytes::Clear(size_t begin, size_t end) {
  for (size_t at = begin; at < end; at += kPage) {
    const size_t n = std::min(kPage, end - at);
    if (std::memcmp(data_ + at, kZeros, n) != 0) std::memset(data_ + at, 0, n);
  }
}

MemBytes MemBytes::Copy() const {
  MemBytes copy;
  copy.Resize(size_);
  for (size_t at = 0; at < size_; at += kPage) {
    const size_t n = std::min(kPage, size_ - at);
    if (std::memcmp(data_ + at, kZeros, n) != 0) std::memcpy(copy.data_ + at, data_ + at, n);
  }
  return copy;
}

uint64_t MemWholePages(uint64_t offset) { return (offset + kPage - 1) / kPage * kPage; }

std::vector<std::string> SplitMemPath(std::string_view path) {
  std::vector<std::string> parts;
  while (!path.empty()) {
    const size_t slash = std::min(path.find('/'), path.size());
    const std::string_view part = path.substr(0, slash);
    if (!part.empty() && part != ".") parts.emplace_back(part);
    path.remove_prefix(std::min(slash + 1, path.size()));
  }
  return parts;
}

Status MemIoError(const char* verb, const std::string& path, int error) {
  return Status::Io(path, error, std::string("cannot ") + verb + " " + path + ": " + std::strerror(error));
}

MemState::~MemState() {
  for (const std::weak_ptr<MemDir>& weak : dirs) {
    if (const auto dir = weak.lock()) dir->changes.clear();
  }
  root->changes.clear();
}

void MemState::Die() {
  dead = true;
  for (const std::weak_ptr<MemFile>& weak : mapped) {
    if (const auto file = weak.lock(); file != nullptr && file->mappings > 0) file->frozen = file->now.Copy();
  }
}

uint64_t MemState::Used() const {
  uint64_t bytes = 0;
  std::vector<const MemDir*> open = {root.get()};
  while (!open.empty()) {
    const MemDir* dir = open.back();
    open.pop_back();
    for (const auto& [name, node] : dir->now) {
      if (node->is_dir()) {
        open.push_back(static_cast<const MemDir*>(node.get()));
      } else {
        bytes += static_cast<const MemFile*>(node.get())->now.size();
      }
    }
  }
  return bytes;
}

uint64_t MemState::Room() const {
  if (capacity == UINT64_MAX) return UINT64_MAX;
  return capacity - std::min(capacity, Used());
}

Status MemState::Alive(const char* verb, const std::string& path) const {
  return dead ? MemIoError(verb, path, EIO) : Status();
}

MemOperation::MemOperation(MemState* state, const char* verb, const std::string& path)
    : state_(state), verb_(verb), path_(path), fate_(MemFate::kDead) {
  if (state_->dead) return;
  state_->ops.push_back(std::string(verb) + " " + path);
  const size_t number = state_->ops.size();
  fate_ = number == state_->crash_at ? MemFate::kCut : number == state_->fail_at ? MemFate::kFail : MemFate::kGo;
}

Status MemOperation::status() const {
  if (fate_ == MemFate::kGo) return Status();
  return MemIoError(verb_, path_, fate_ == MemFate::kFail ? state_->fail_errno : EIO);
}

std::shared_ptr<MemNode> MemState::Find(const std::string& path) const {
  std::shared_ptr<MemNode> node = root;
  for (const std::string& part : SplitMemPath(path)) {
    if (!node->is_dir()) return nullptr;
    const auto& names = static_cast<MemDir*>(node.get())->now;
    const auto it = names.find(part);
    if (it == names.end()) return nullptr;
    node = it->second;
  }
  return node;
}

Result<std::pair<std::shared_ptr<MemDir>, std::string>> MemState::Parent(const char* verb,
                                                                         const std::string& path) const {
  const std::vector<std::string> parts = SplitMemPath(path);
  if (parts.empty()) return MemIoError(verb, path, EISDIR);
  if (std::find(parts.begin(), parts.end(), "..") != parts.end()) {
    return Status::Invalid("MemEnv takes no .. in a path: " + path);
  }
  std::shared_ptr<MemNode> node = root;
  for (size_t i = 0; i + 1 < parts.size(); ++i) {
    const auto& names = static_cast<MemDir*>(node.get())->now;
    const auto it = names.find(parts[i]);
    if (it == names.end()) return MemIoError(verb, path, ENOENT);
    if (!it->second->is_dir()) return MemIoError(verb, path, ENOTDIR);
    node = it->second;
  }
  return std::pair(std::static_pointer_cast<MemDir>(node), parts.back());
}

std::shared_ptr<MemDir> MemState::MakeDir() {
  auto dir = std::make_shared<MemDir>();
  dirs.push_back(dir);
  return dir;
}

void MemState::Set(const std::shared_ptr<MemDir>& dir, const std::string& name, std::shared_ptr<MemNode> node) {
  if (node == nullptr) {
    dir->now.erase(name);
  } else {
    dir->now[name] = node;
  }
  dir->changes.push_back({next_serial++, {{name, std::move(node)}}, nullptr});
}

void MemState::Move(const std::shared_ptr<MemDir>& from, const std::string& from_name,
                    const std::shared_ptr<MemDir>& to, const std::string& to_name) {
  const std::shared_ptr<MemNode> node = from->now[from_name];
  from->now.erase(from_name);
  to->now[to_name] = node;
  const uint64_t serial = next_serial++;
  if (from == to) {
    from->changes.push_back({serial, {{from_name, nullptr}, {to_name, node}}, nullptr});
    return;
  }
  from->changes.push_back({serial, {{from_name, nullptr}}, to});
  to->changes.push_back({serial, {{to_name, node}}, from});
}

void MemState::SaveNames(MemDir* dir, uint64_t upto_serial) {
  while (!dir->changes.empty() && dir->changes.front().serial <= upto_serial) {
    const MemDir::Change change = std::move(dir->changes.front());
    dir->changes.pop_front();
    for (const auto& [name, node] : change.names) {
      if (node == nullptr) {
        dir->saved.erase(name);
      } else {
        dir->saved[name] = node;
      }
    }
    if (change.partner != nullptr) SaveNames(change.partner.get(), change.serial);
  }
}

std::shared_ptr<MemState> MemState::CrashCopy(CrashKeep keep, uint64_t seed) {
  const std::lock_guard lock(mutex);
  auto after = std::make_shared<MemState>();
  Dice dice(seed);

  // 1. The same tree, with folders of its own; files are still the old ones.
  std::unordered_map<const MemNode*, std::shared_ptr<MemNode>> copies;
  const std::function<std::shared_ptr<MemNode>(const std::shared_ptr<MemNode>&)> copy =
      [&](const std::shared_ptr<MemNode>& node) -> std::shared_ptr<MemNode> {
    if (node == nullptr || !node->is_dir()) return node;
    if (const auto it = copies.find(node.get()); it != copies.end()) return it->second;
    const auto& from = static_cast<const MemDir&>(*node);
    const std::shared_ptr<MemDir> to = after->MakeDir();
    copies[node.get()] = to;
    for (const auto& [name, child] : from.saved) to->saved[name] = copy(child);
    for (const MemDir::Change& change : from.changes) {
      MemDir::Change mine{change.serial, {}, std::static_pointer_cast<MemDir>(copy(change.partner))};
      for (const auto& [name, child] : change.names) mine.names.emplace_back(name, copy(child));
      to->changes.push_back(std::move(mine));
    }
    return to;
  };
  after->root = std::static_pointer_cast<MemDir>(copy(root));

  // 2. The changes of each folder that came through. In all folders before any
  // is looked into, since a move between two takes the other's along.
  for (const std::weak_ptr<MemDir>& weak : after->dirs) {
    const auto dir = weak.lock();
    size_t kept = keep == CrashKeep::kNone ? 0 : dir->changes.size();
    if (keep == CrashKeep::kRandom) kept = dice.UpTo(kept);
    if (kept > 0) SaveNames(dir.get(), dir->changes[kept - 1].serial);
  }

  // 3. What is left of each file that still has a name.
  const std::function<void(MemDir*)> settle = [&](MemDir* dir) {
    dir->changes.clear();
    for (auto& [name, node] : dir->saved) {
      if (node->is_dir()) {
        settle(static_cast<MemDir*>(node.get()));
        continue;
      }
      auto file = std::make_shared<MemFile>();
      Settle(static_cast<const MemFile&>(*node), keep, &dice, file.get());
      node = file;
    }
    dir->now = dir->saved;
  };
  settle(after->root.get());
  return after;
}

}  // namespace segue
