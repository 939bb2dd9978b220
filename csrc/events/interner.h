// Interner: the strings of one dictionary column, each with a dense int32 code.
//
// Codes live as long as the open store and are never written to disk: WAL
// records and SSTables carry the strings they use, so each stands alone.
//
// Thread safety: all methods may be called from any thread. A string_view
// returned by At stays valid for the interner's life (strings never move).
#pragma once

#include <cstdint>
#include <deque>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace segue {

class Interner {
 public:
  int32_t Intern(std::string_view value);
  void InternMany(const std::vector<std::string_view>& values, std::vector<int32_t>* codes);
  std::string_view At(int32_t code) const;
  std::vector<std::string_view> AtMany(const std::vector<int32_t>& codes) const;
  int32_t size() const;
  // Codes [0, n) as Arrow string buffers.
  void Export(int32_t n, std::vector<int32_t>* offsets, std::string* bytes) const;

 private:
  int32_t InternLocked(std::string_view value);

  mutable std::shared_mutex mutex_;
  std::deque<std::string> strings_;
  std::unordered_map<std::string_view, int32_t> codes_;
};

}  // namespace segue
