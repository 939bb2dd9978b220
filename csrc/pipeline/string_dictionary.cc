#include "pipeline/string_dictionary.h"

#include <cstring>
#include <limits>
#include <string>

#include "base/hash.h"

namespace segue {

int32_t StringDictionary::Find(std::string_view value) const {
  if (slots_.empty()) return -1;
  const uint64_t hash = HashBytes(value);
  const size_t mask = slots_.size() - 1;
  const auto tag = static_cast<uint32_t>(hash >> 32);
  for (size_t i = hash & mask;; i = (i + 1) & mask) {
    const Slot slot = slots_[i];
    if (slot.code < 0) return -1;
    if (slot.tag == tag && At(slot.code) == value) return slot.code;
  }
}

int32_t StringDictionary::Intern(std::string_view value) {
  if (static_cast<size_t>(size_) * 2 >= slots_.size()) Grow();
  const uint64_t hash = HashBytes(value);
  const size_t mask = slots_.size() - 1;
  const auto tag = static_cast<uint32_t>(hash >> 32);
  size_t i = hash & mask;
  for (; slots_[i].code >= 0; i = (i + 1) & mask) {
    if (slots_[i].tag == tag && At(slots_[i].code) == value) return slots_[i].code;
  }
  const int32_t code = size_++;
  const auto n = static_cast<uint32_t>(code) + kFirst;
  const int chunk = std::bit_width(n) - 1;
  auto& entries = chunks_[static_cast<size_t>(chunk - kFirstBits)];
  if (!entries) {
    entries = std::make_unique<std::string_view[]>(size_t{1} << chunk);
    memory_ += sizeof(std::string_view) << chunk;
  }
  entries[n - (1U << chunk)] = std::string_view(Copy(value), value.size());
  slots_[i] = Slot{tag, code};
  return code;
}

void StringDictionary::Grow() {
  const size_t capacity = slots_.empty() ? 256 : slots_.size() * 2;
  memory_ += (capacity - slots_.size()) * sizeof(Slot);
  std::vector<Slot> grown(capacity, Slot{0, -1});
  for (int32_t code = 0; code < size_; ++code) {
    const uint64_t hash = HashBytes(At(code));
    size_t i = hash & (capacity - 1);
    while (grown[i].code >= 0) i = (i + 1) & (capacity - 1);
    grown[i] = Slot{static_cast<uint32_t>(hash >> 32), code};
  }
  slots_ = std::move(grown);
}

const char* StringDictionary::Copy(std::string_view value) {
  if (value.empty()) return "";
  if (value.size() > block_left_) {
    const size_t size = std::max<size_t>(value.size(), 64 << 10);
    blocks_.push_back(std::make_unique_for_overwrite<char[]>(size));
    block_ = blocks_.back().get();
    block_left_ = size;
    memory_ += size;
  }
  char* copy = block_;
  std::memcpy(copy, value.data(), value.size());
  block_ += value.size();
  block_left_ -= value.size();
  bytes_ += value.size();
  return copy;
}

namespace {

struct ExportedStrings {
  std::vector<int32_t> offsets;
  std::string bytes;
};

template <typename CodeAt>
Result<std::shared_ptr<const ExportColumn>> ExportStrings(const StringDictionary& dictionary, int32_t n,
                                                          CodeAt code_at) {
  auto held = std::make_shared<ExportedStrings>();
  held->offsets.reserve(static_cast<size_t>(n) + 1);
  held->offsets.push_back(0);
  for (int32_t i = 0; i < n; ++i) {
    const std::string_view value = dictionary.At(code_at(i));
    if (held->bytes.size() + value.size() > std::numeric_limits<int32_t>::max()) {
      return Status::Unsupported(
          "the distinct values of a dictionary column hold over 2 GiB; make the column a string");
    }
    held->bytes.append(value);
    held->offsets.push_back(static_cast<int32_t>(held->bytes.size()));
  }
  auto column = std::make_shared<ExportColumn>();
  column->offsets = held->offsets.data();
  column->values = held->bytes.data();
  column->owner = std::move(held);
  return std::shared_ptr<const ExportColumn>(std::move(column));
}

}  // namespace

Result<std::shared_ptr<const ExportColumn>> StringDictionary::Export() const {
  return ExportStrings(*this, size_, [](int32_t i) { return i; });
}

Result<std::shared_ptr<const ExportColumn>> StringDictionary::ExportSome(const int32_t* codes, int32_t n) const {
  return ExportStrings(*this, n, [codes](int32_t i) { return codes[i]; });
}

}  // namespace segue
