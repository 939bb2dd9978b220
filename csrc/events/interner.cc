#include "events/interner.h"

#include <mutex>

namespace segue {

int32_t Interner::InternLocked(std::string_view value) {
  const auto found = codes_.find(value);
  if (found != codes_.end()) return found->second;
  const auto code = static_cast<int32_t>(strings_.size());
  strings_.emplace_back(value);
  codes_.emplace(strings_.back(), code);
  return code;
}

int32_t Interner::Intern(std::string_view value) {
  {
    const std::shared_lock lock(mutex_);
    const auto found = codes_.find(value);
    if (found != codes_.end()) return found->second;
  }
  const std::unique_lock lock(mutex_);
  return InternLocked(value);
}

void Interner::InternMany(const std::vector<std::string_view>& values, std::vector<int32_t>* codes) {
  codes->assign(values.size(), -1);
  bool all = true;
  {
    // Nearly always every string is known: many batches may look at once.
    const std::shared_lock lock(mutex_);
    for (size_t i = 0; i < values.size(); ++i) {
      const auto found = codes_.find(values[i]);
      if (found == codes_.end()) {
        all = false;
      } else {
        (*codes)[i] = found->second;
      }
    }
  }
  if (all) return;
  const std::unique_lock lock(mutex_);
  for (size_t i = 0; i < values.size(); ++i) {
    if ((*codes)[i] < 0) (*codes)[i] = InternLocked(values[i]);
  }
}

std::string_view Interner::At(int32_t code) const {
  const std::shared_lock lock(mutex_);
  return strings_[static_cast<size_t>(code)];
}

std::vector<std::string_view> Interner::AtMany(const std::vector<int32_t>& codes) const {
  std::vector<std::string_view> values;
  values.reserve(codes.size());
  const std::shared_lock lock(mutex_);
  for (const int32_t code : codes) values.push_back(strings_[static_cast<size_t>(code)]);
  return values;
}

int32_t Interner::size() const {
  const std::shared_lock lock(mutex_);
  return static_cast<int32_t>(strings_.size());
}

void Interner::Export(int32_t n, std::vector<int32_t>* offsets, std::string* bytes) const {
  const std::shared_lock lock(mutex_);
  offsets->clear();
  bytes->clear();
  offsets->push_back(0);
  for (int32_t i = 0; i < n; ++i) {
    bytes->append(strings_[static_cast<size_t>(i)]);
    offsets->push_back(static_cast<int32_t>(bytes->size()));
  }
}

}  // namespace segue
