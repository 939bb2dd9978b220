// Interner: the strings of one dictionary column, each with a dense int32 code.
//
// Codes live as long as the open store and are never written to disk: WAL
// records and SSTables carry the strings they use, so each stands alone.
//
// Thread safety: all methods may be called from any thread. A string_view
// returned by At stays valid for the interner's life (strings never move).
// Memory: the strings, and once more what Buffers keeps, at most 1 MiB.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace segue {

// Strings end to end, as Arrow has them: string i is bytes [offsets[i], offsets[i + 1]).
struct StringBuffers {
  std::vector<int32_t> offsets{0};
  std::string bytes;

  void Add(std::string_view value) {
    bytes.append(value);
    offsets.push_back(static_cast<int32_t>(bytes.size()));
  }
  size_t size() const { return offsets.size() - 1; }
};

class Interner {
 public:
  int32_t Intern(std::string_view value);
  void InternMany(const std::vector<std::string_view>& values, std::vector<int32_t>* codes);
  std::string_view At(int32_t code) const;
  std::vector<std::string_view> AtMany(const std::vector<int32_t>& codes) const;
  int32_t size() const;
  // The strings of all codes there are, or null when they take 2 GiB or more. Small ones are kept, so that
  // a read of few rows does not pay for them.
  std::shared_ptr<const StringBuffers> Buffers() const;

 private:
  int32_t InternLocked(std::string_view value);

  mutable std::shared_mutex mutex_;
  mutable std::shared_ptr<const StringBuffers> buffers_;  // as of its size
  size_t bytes_ = 0;                                      // of all strings
  std::deque<std::string> strings_;
  std::unordered_map<std::string_view, int32_t> codes_;
};

}  // namespace segue
