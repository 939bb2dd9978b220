#include "events/interner.h"

#include <limits>
#include <mutex>

namespace segue {

int32_t Interner::InternLocked(std::string_view value) {
  const auto found = codes_.find(value);
  if (found != codes_.end()) return found->second;
  const auto code = static_cast<int32_t>(strings_.size());
  strings_.emplace_back(value);
  bytes_ += value.size();
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

std::shared_ptr<const StringBuffers> Interner::Buffers() const {
  constexpr size_t kMostBytes = std::numeric_limits<int32_t>::max();
  constexpr size_t kKeptBytes = size_t{1} << 20;
  auto made = std::make_shared<StringBuffers>();
  size_t memory = 0;
  {
    const std::shared_lock lock(mutex_);
    if (buffers_ != nullptr && buffers_->size() == strings_.size()) return buffers_;
    if (bytes_ > kMostBytes) return nullptr;
    made->bytes.reserve(bytes_);
    made->offsets.reserve(strings_.size() + 1);
    for (const std::string& value : strings_) made->Add(value);
    memory = bytes_ + made->offsets.capacity() * sizeof(int32_t);
  }
  if (memory <= kKeptBytes) {
    const std::unique_lock lock(mutex_);
    buffers_ = made;
  }
  return made;
}

}  // namespace segue
