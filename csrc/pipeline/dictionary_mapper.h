// DictionaryMapper: from the dictionary indices of incoming batches to the
// codes of one job-wide StringDictionary.
//
// Thread safety: none; belongs to the thread that consumes.
// Invariants: entries are interned when a row first uses them, so that the
// job's dictionary holds no value that no row has.
// The map is kept while batches share one dictionary. For that the caller keeps
// the previous batch alive until Begin() of the next one has returned.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "pipeline/array_values.h"
#include "pipeline/string_dictionary.h"

namespace segue {

class DictionaryMapper {
 public:
  explicit DictionaryMapper(StringDictionary* target) : target_(target) {}

  void Begin(const ArrayView& view) {
    if (source_ != nullptr && source_->SharesBuffers(*view.dictionary)) {
      source_ = view.dictionary;
      return;
    }
    source_ = view.dictionary;
    // Clearing a map far larger than the batch would cost more than hashing its rows.
    direct_ = source_->length > 16 * std::max<int64_t>(view.length, 1024);
    map_.assign(direct_ ? 0 : static_cast<size_t>(source_->length), -1);
  }

  // The job-wide code of source index `index`, which is not null.
  int32_t Map(int64_t index) {
    if (direct_) return target_->Intern(source_->StringAt(index));
    int32_t& code = map_[static_cast<size_t>(index)];
    if (code < 0) code = target_->Intern(source_->StringAt(index));
    return code;
  }

 private:
  StringDictionary* target_;
  std::shared_ptr<const ArrayView> source_;
  std::vector<int32_t> map_;
  bool direct_ = false;
};

}  // namespace segue
