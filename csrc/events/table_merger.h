// TableMerger: the rows of several SSTables in (key, time, sequence) order.
//
// A tournament over the tables, of which each one's current block is in memory;
// rows that have expired (SstReader::visible_from) are left out.
//
// Thread safety: belongs to one thread.
// Memory: about two decoded blocks a table, whatever the tables' size.
// Cost: log2(tables) comparisons a row, of one integer when keys are short.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "events/column_batch.h"
#include "events/sstable_reader.h"

namespace segue {

class TableMerger {
 public:
  // From the first row of key `from` or a higher one on.
  TableMerger(const StoreSchema* schema, const std::vector<std::shared_ptr<const SstReader>>& tables,
              std::string from = "");

  // Replaces *out with the next rows; false at the end.
  Result<bool> Next(ColumnBatch* out);

  uint64_t bytes_read() const { return bytes_read_; }  // of the blocks that were read

 private:
  struct Block {
    ColumnBatch rows;
    RawVector<uint64_t> prefixes;
    bool named = false;  // by entries
  };
  struct Input {
    std::shared_ptr<const SstReader> table;
    size_t next_block = 0;
    uint32_t block = 0;  // place in blocks_
    size_t row = 0;
    bool done = false;
    // Of the current row:
    uint64_t prefix = 0;
    int64_t time = 0;
    uint64_t seq = 0;
    std::string key;  // encoded, when it was needed
    bool has_key = false;
  };
  struct Entry {
    uint32_t source;
    uint32_t row;
  };

  Status Start();
  // To the next visible row, the first one included when `first`.
  Status Advance(Input* input, bool first);
  Result<bool> NextBlock(Input* input);
  bool Less(uint32_t a, uint32_t b);
  const std::string& KeyOf(Input* input);
  uint32_t Play(size_t node);
  size_t BytesOf(const Input& input) const;

  const StoreSchema* schema_;
  const bool exact_;  // a prefix decides the order of keys
  const std::string from_;
  std::vector<size_t> byte_columns_;
  bool started_ = false;
  std::vector<Input> inputs_;
  std::vector<uint32_t> losers_;  // the tournament: of each inner node; [0] is the winner of all
  std::vector<std::unique_ptr<Block>> blocks_;
  std::vector<uint32_t> free_;   // places in blocks_
  std::vector<uint32_t> spent_;  // read to their end, but named by entries
  std::vector<Entry> entries_;
  EncodedBlock scratch_;
  uint64_t bytes_read_ = 0;
};

}  // namespace segue
