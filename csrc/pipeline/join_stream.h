// JoinStream: a stream of batches with attributes of one broadcast table added.
//
// Thread safety: one thread at a time. Order: that of the input; an inner join
// leaves out rows without a match and counts them.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/arrow_array.h"
#include "pipeline/broadcast_join.h"

namespace segue {

class JoinStream {
 public:
  // `columns`: attributes to add, all when not given; `on`: the stream's key column.
  static Result<std::unique_ptr<JoinStream>> Make(std::shared_ptr<const BroadcastTable> table, StreamReader stream,
                                                  const std::string& on,
                                                  const std::optional<std::vector<std::string>>& columns, JoinType how);

  // False at the end. Batches without a row left are skipped.
  Result<bool> Next(ArrowArray* out);
  const Schema& schema() const { return schema_; }
  int64_t dropped() const { return dropped_; }

 private:
  explicit JoinStream(StreamReader stream) : stream_(std::move(stream)) {}

  StreamReader stream_;
  std::shared_ptr<const BroadcastTable> table_;
  JoinType how_ = JoinType::kInner;
  size_t on_ = 0;
  std::vector<size_t> attributes_;
  Schema schema_;
  std::optional<BroadcastTable::Prober> prober_;
  std::vector<std::unique_ptr<StringDictionary>> dictionaries_;  // by input column
  std::vector<std::unique_ptr<DictionaryExport>> exports_;
  std::vector<DictionaryMapper> mappers_;
  std::unique_ptr<BatchReader> batch_;  // kept until the next one's dictionaries were compared
  int64_t dropped_ = 0;
};

}  // namespace segue
