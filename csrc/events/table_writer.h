// TableWriter: one or several SSTables from rows in (key, time, sequence) order.
//
// A flush and a merge write through it: rows of different windows go to
// different outputs. An output becomes several tables of disjoint key ranges
// where one would have too many distinct keys, so that memory stays bounded.
//
// Thread safety: belongs to one thread.
// Ownership: owns the files it began until Finish gave them away; destroyed
// before that, it removes them.
// Memory: a block of rows and the builder's hashes for each output that is open.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/env.h"
#include "events/sstable_builder.h"

namespace segue {

// The number and the path of a table that does not exist yet.
using NewTable = std::function<std::pair<uint64_t, std::string>()>;

class TableWriter {
 public:
  // An output each for `models` (null: it has none). A table of about `table_keys` distinct keys is
  // continued in another one.
  TableWriter(Env* env, const StoreSchema* schema, const Interners* interners, SstOptions options, uint64_t table_keys,
              std::vector<std::shared_ptr<const TableModels>> models, NewTable new_table);
  ~TableWriter();
  TableWriter(const TableWriter&) = delete;
  TableWriter& operator=(const TableWriter&) = delete;

  // Rows in order within the batch, and after the rows that this output got before.
  Status Add(size_t output, const ColumnBatch& rows);
  // Rows `order` of a batch.
  Status Add(size_t output, const ColumnBatch& rows, const std::vector<uint32_t>& order);
  // Finishes an output early, which frees its memory. Not the last one: Finish
  // gives that one the tokens.
  Status Close(size_t output);

  // Finishes every table and syncs each one; the caller syncs the folder and
  // then owns the files. With no rows at all there are no tables, and the
  // tokens went nowhere.
  Result<std::vector<SstMeta>> Finish(const std::vector<TokenEntry>& tokens);

  uint64_t bytes_written() const;

 private:
  struct Output {
    std::unique_ptr<SstBuilder> builder;
    std::string last_key;  // of the rows so far
  };

  Status FinishTable(Output* output, const std::vector<TokenEntry>& tokens);

  Env* env_;
  const StoreSchema* schema_;
  const Interners* interners_;
  const SstOptions options_;
  const uint64_t table_keys_;
  const std::vector<std::shared_ptr<const TableModels>> models_;
  const NewTable new_table_;
  std::vector<Output> outputs_;
  std::vector<std::string> paths_;  // of every file begun
  std::vector<SstMeta> finished_;
  uint64_t finished_bytes_ = 0;
};

}  // namespace segue
