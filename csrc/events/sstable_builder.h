// SstBuilder: writes one SSTable from rows in (key, time, sequence) order.
//
// Thread safety: belongs to one thread.
// Ownership: owns its file; borrows Env, StoreSchema and Interners. Destroyed
// before a successful Finish, it leaves a file without a footer, which no
// reader opens: the caller removes it.
// Invariants: after an error, every further call returns that error.
// Memory: one block of rows, and 8 bytes a distinct key until Finish has built
// the bloom filter.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/env.h"
#include "base/status.h"
#include "events/block_encoding.h"
#include "events/column_batch.h"
#include "events/sstable_format.h"
#include "events/store_schema.h"
#include "events/table_models.h"

namespace segue {

class SstBuilder {
 public:
  static Result<std::unique_ptr<SstBuilder>> Create(Env* env, const std::string& path, uint64_t file_number,
                                                    const StoreSchema* schema, const Interners* interners,
                                                    SstOptions options,
                                                    std::shared_ptr<const TableModels> models = nullptr);
  ~SstBuilder();

  // All columns and seq; rows in order within the batch and after the rows
  // added before. The order is checked at the ends of blocks only.
  Status Add(const ColumnBatch& rows);

  // Writes what is left, the dictionaries, bloom filter, tokens, index and
  // footer, and syncs the file. The caller syncs the directory. kInvalid when
  // no row was added.
  Result<SstMeta> Finish(const std::vector<TokenEntry>& tokens);

  uint64_t rows() const { return footer_.meta.rows + pending_.rows; }
  uint64_t bytes_written() const { return offset_; }
  size_t distinct_keys() const { return key_hashes_.size(); }  // of the blocks written; neighbours that differ

 private:
  // The strings of one coded column that this file uses.
  struct FileDictionary {
    // Store code -> file code, -1 when not used yet. As a table where the file
    // uses a good part of the store's strings, else as a map: many builders may be
    // open at a time.
    std::vector<int32_t> codes;
    std::unordered_map<int32_t, int32_t> few;
    std::vector<std::string_view> strings;

    // `known`: how many strings the store has.
    int32_t* Slot(int32_t code, size_t known);
  };

  SstBuilder(const StoreSchema* schema, const Interners* interners, SstOptions options,
             std::shared_ptr<const TableModels> models);

  Status AddRows(const ColumnBatch& rows);
  Status FinishFile(const std::vector<TokenEntry>& tokens);
  size_t RowsThatFit(const ColumnBatch& batch, size_t begin, size_t rows, size_t bytes, size_t* used) const;
  Status WriteBlock(const ColumnBatch& batch, size_t begin, size_t n);
  int32_t AddCode(size_t column, int32_t code, size_t known);
  void MapCodes(size_t column, const ColumnData& data, size_t begin, size_t n);
  void PrepareContext(const ColumnBatch& batch, size_t begin, size_t n);
  BlockContext ContextOf(size_t chunk) const;
  Status WriteSection(std::string body, sst::Section* section);
  Status Write(std::string_view bytes);

  const StoreSchema* schema_;
  const Interners* interners_;
  const SstOptions options_;
  const std::shared_ptr<const TableModels> models_;  // or null
  std::unique_ptr<WritableFile> file_;
  Status status_;
  bool finished_ = false;

  ColumnBatch pending_;       // rows of a block not yet full
  size_t pending_bytes_ = 0;  // of its strings
  uint64_t offset_ = 0;
  uint64_t writeback_ = 0;  // offset at the last WriteBack

  ColumnEncoder encoder_;
  std::string block_;                         // scratch: the block being written
  ColumnData file_codes_;                     // scratch: a coded column with this file's codes
  RawVector<uint8_t> same_;                   // scratch: what the block's rows are foretold by
  RawVector<uint64_t> clock_;                 // scratch: the same
  std::vector<FileDictionary> dictionaries_;  // one per column; used by coded ones
  RawVector<uint64_t> key_hashes_;
  std::string index_;
  std::string last_key_;
  int64_t last_time_ = 0;
  uint64_t last_seq_ = 0;
  sst::Footer footer_;
};

}  // namespace segue
