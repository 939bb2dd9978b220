#include "events/sstable_builder.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <tuple>

#include "base/crc32c.h"
#include "base/thread_priority.h"
#include "events/bloom.h"
#include "events/key_hashes.h"

namespace segue {

namespace {

// Of a table in the device's queue at a time: 0.4 ms of a small disk. Pieces of
// 256 KiB without waiting made log syncs wait 5 ms (p99) and 17 ms (worst).
constexpr uint64_t kWritebackBytes = uint64_t{128} << 10;

void AppendCrc(size_t begin, std::string* out) {
  PutFixed<uint32_t>(out, Crc32c(out->data() + begin, out->size() - begin));
}

}  // namespace

SstBuilder::SstBuilder(const StoreSchema* schema, const Interners* interners, SstOptions options,
                       std::shared_ptr<const TableModels> models)
    : schema_(schema),
      interners_(interners),
      options_(options),
      models_(std::move(models)),
      dictionaries_(schema->columns.size()) {
  if (!models_) return;
  for (size_t c = 0; c < schema_->columns.size(); ++c) {
    if (!schema_->columns[c].coded) continue;
    const auto known = static_cast<size_t>((*interners_)[c]->size());
    for (const int32_t code : models_->frequent_codes[c]) AddCode(c, code, known);
  }
}

SstBuilder::~SstBuilder() = default;

Result<std::unique_ptr<SstBuilder>> SstBuilder::Create(Env* env, const std::string& path, uint64_t file_number,
                                                       const StoreSchema* schema, const Interners* interners,
                                                       SstOptions options, std::shared_ptr<const TableModels> models) {
  if (options.block_rows < 1 || options.block_rows > kMaxBlockRows) {
    return Status::Invalid("block_rows is " + std::to_string(options.block_rows) + "; use 1 to " +
                           std::to_string(kMaxBlockRows));
  }
  std::unique_ptr<SstBuilder> builder(new SstBuilder(schema, interners, options, std::move(models)));
  SEGUE_ASSIGN_OR_RETURN(builder->file_, env->NewWritableFile(path));
  builder->footer_.meta.file_number = file_number;
  SEGUE_RETURN_IF_ERROR(builder->Write(std::string_view(sst::kMagic, sizeof(sst::kMagic))));
  return builder;
}

Status SstBuilder::Write(std::string_view bytes) {
  // A bloom filter or an index has megabytes: in pieces, like the blocks.
  while (!bytes.empty()) {
    const std::string_view piece = bytes.substr(0, kWritebackBytes - (offset_ - writeback_));
    SEGUE_RETURN_IF_ERROR(file_->Append(piece));
    offset_ += piece.size();
    bytes.remove_prefix(piece.size());
    if (offset_ - writeback_ == kWritebackBytes) {
      SEGUE_RETURN_IF_ERROR(file_->WriteBack());
      writeback_ = offset_;
    }
  }
  return Status();
}

Status SstBuilder::Add(const ColumnBatch& rows) {
  if (!status_.ok()) return status_;
  if (finished_) return Status::Invalid("this SSTable is finished");
  if (rows.columns.size() != schema_->columns.size() || rows.seq.size() != rows.rows) {
    return Status::Invalid("an SSTable takes whole rows: all columns and their sequence numbers");
  }
  status_ = AddRows(rows);
  return status_;
}

size_t SstBuilder::RowsThatFit(const ColumnBatch& batch, size_t begin, size_t rows, size_t bytes, size_t* used) const {
  size_t n = rows;
  *used = 0;
  for (size_t c = 0; c < schema_->columns.size(); ++c) {
    if (schema_->columns[c].width == 0) {
      const auto& offsets = batch.columns[c].offsets;
      *used += offsets[begin + n] - offsets[begin];
    }
  }
  if (*used <= bytes) return n;
  *used = 0;
  for (n = 0; n < rows; ++n) {
    size_t row_bytes = 0;
    for (size_t c = 0; c < schema_->columns.size(); ++c) {
      if (schema_->columns[c].width == 0) row_bytes += batch.columns[c].Bytes(begin + n).size();
    }
    if (*used + row_bytes > bytes) break;
    *used += row_bytes;
  }
  return n;
}

Status SstBuilder::AddRows(const ColumnBatch& rows) {
  const std::vector<bool> all;
  size_t begin = 0;
  while (begin < rows.rows) {
    const size_t most = std::min(options_.block_rows - pending_.rows, rows.rows - begin);
    const size_t room = options_.block_bytes - std::min(options_.block_bytes, pending_bytes_);
    size_t bytes = 0;
    size_t n = RowsThatFit(rows, begin, most, room, &bytes);
    const bool full = n < most;
    if (n == 0 && pending_.rows == 0) n = 1;  // one row larger than a block should be
    if (pending_.rows == 0 && (n == options_.block_rows || full)) {
      SEGUE_RETURN_IF_ERROR(WriteBlock(rows, begin, n));  // straight from the caller's batch
      begin += n;
      continue;
    }
    if (n > 0) {
      AppendRows(*schema_, rows, begin, begin + n, all, &pending_);
      pending_bytes_ += bytes;
      begin += n;
    }
    if (full || pending_.rows == options_.block_rows) {
      SEGUE_RETURN_IF_ERROR(WriteBlock(pending_, 0, pending_.rows));
      for (ColumnData& column : pending_.columns) {
        column.values.clear();
        column.offsets.clear();
        column.valid.clear();
      }
      pending_.seq.clear();
      pending_.rows = 0;
      pending_bytes_ = 0;
    }
  }
  return Status();
}

int32_t* SstBuilder::FileDictionary::Slot(int32_t code, size_t known) {
  constexpr size_t kSmall = size_t{1} << 16;  // a table whatever the file uses of it
  if (codes.empty() && known > kSmall && strings.size() < known / 16) return &few.try_emplace(code, -1).first->second;
  if (codes.size() < known) {
    codes.resize(known, -1);
    for (const auto& [store, file] : few) codes[static_cast<size_t>(store)] = file;
    few.clear();
  }
  return &codes[static_cast<size_t>(code)];
}

// The next code of the file for one of the store that it has not used yet.
int32_t SstBuilder::AddCode(size_t column, int32_t code, size_t known) {
  FileDictionary& dictionary = dictionaries_[column];
  const auto added = static_cast<int32_t>(dictionary.strings.size());
  *dictionary.Slot(code, known) = added;
  dictionary.strings.push_back((*interners_)[column]->At(code));
  return added;
}

void SstBuilder::MapCodes(size_t column, const ColumnData& data, size_t begin, size_t n) {
  FileDictionary& dictionary = dictionaries_[column];
  const auto known = static_cast<size_t>((*interners_)[column]->size());
  file_codes_.values.resize(n * sizeof(int32_t));
  for (size_t i = 0; i < n; ++i) {
    int32_t mapped = 0;
    if (!data.IsNull(begin + i)) {
      const auto code = data.Get<int32_t>(begin + i);
      mapped = *dictionary.Slot(code, known);
      if (mapped < 0) mapped = AddCode(column, code, known);
    }
    StoreAs<int32_t>(file_codes_.values.data() + i * sizeof(int32_t), mapped);
  }
  file_codes_.valid.clear();
  if (!data.valid.empty()) {
    file_codes_.valid.insert(file_codes_.valid.end(), data.valid.data() + begin, data.valid.data() + begin + n);
  }
}

void SstBuilder::PrepareContext(const ColumnBatch& batch, size_t begin, size_t n) {
  if (!models_) return;
  SameKeys(*schema_, batch, begin, n, &same_);
  if (models_->clock.empty()) return;
  clock_.resize(n);
  models_->clock.AtMany(batch.seq.data() + begin, n, clock_.data());
}

BlockContext SstBuilder::ContextOf(size_t chunk) const {
  if (!models_) return {};
  return {models_->Of(chunk), same_.data(), clock_.data()};
}

Status SstBuilder::WriteBlock(const ColumnBatch& batch, size_t begin, size_t n) {
  BlockInfo block;
  block.offset = offset_;
  block.rows = static_cast<uint32_t>(n);
  EncodeKey(*schema_, batch, begin, &block.first_key);
  EncodeKey(*schema_, batch, begin + n - 1, &block.last_key);
  const ColumnData& time = batch.columns[static_cast<size_t>(schema_->time)];
  const auto place = [&](const std::string& key, size_t row) {
    return std::tuple<std::string_view, int64_t, uint64_t>(key, time.Get<int64_t>(row), batch.seq[row]);
  };
  const auto first = place(block.first_key, begin);
  const auto last = place(block.last_key, begin + n - 1);
  SstMeta& meta = footer_.meta;
  const bool after =
      meta.rows == 0 || std::tuple<std::string_view, int64_t, uint64_t>(last_key_, last_time_, last_seq_) <= first;
  if (!after || last < first) {
    return Status::Invalid("rows " + std::to_string(meta.rows) + " to " + std::to_string(meta.rows + n) +
                           " of an SSTable are not in key, time, sequence order");
  }
  block.min_time = block.max_time = time.Get<int64_t>(begin);
  block.min_seq = block.max_seq = batch.seq[begin];
  for (size_t row = begin; row < begin + n; ++row) {
    block.min_time = std::min(block.min_time, time.Get<int64_t>(row));
    block.max_time = std::max(block.max_time, time.Get<int64_t>(row));
    block.min_seq = std::min(block.min_seq, batch.seq[row]);
    block.max_seq = std::max(block.max_seq, batch.seq[row]);
  }

  PrepareContext(batch, begin, n);
  block_.clear();
  std::vector<uint32_t> sizes;
  for (size_t c = 0; c <= schema_->columns.size(); ++c) {
    const size_t start = block_.size();
    if (c == schema_->columns.size()) {
      encoder_.EncodeUInt64s(batch.seq.data() + begin, n, ContextOf(c), &block_);
    } else {
      const StoreColumn& column = schema_->columns[c];
      const ColumnData* data = &batch.columns[c];
      size_t from = begin;
      if (column.coded) {
        MapCodes(c, *data, begin, n);
        data = &file_codes_;
        from = 0;
      }
      SEGUE_ASSIGN_OR_RETURN(
          [[maybe_unused]] const Encoding encoding,
          encoder_.Encode(ColumnShape::Of(column), *data, from, n, std::nullopt, &block_, ContextOf(c)));
    }
    AppendCrc(start, &block_);
    GiveWay();
    if (block_.size() > std::numeric_limits<uint32_t>::max()) {
      return Status::Invalid("a block of " + std::to_string(n) + " rows has 4 GiB or more; a row is too large");
    }
    sizes.push_back(static_cast<uint32_t>(block_.size() - start));
  }
  block.size = static_cast<uint32_t>(block_.size());
  SEGUE_RETURN_IF_ERROR(Write(block_));
  sst::EncodeIndexEntry(block, sizes, &index_);
  AppendKeyHashes(*schema_, batch, begin, begin + n, &key_hashes_);

  if (meta.rows == 0) {
    meta.first_key = block.first_key;
    meta.min_time = block.min_time;
    meta.max_time = block.max_time;
    meta.min_seq = block.min_seq;
    meta.max_seq = block.max_seq;
  } else {
    meta.min_time = std::min(meta.min_time, block.min_time);
    meta.max_time = std::max(meta.max_time, block.max_time);
    meta.min_seq = std::min(meta.min_seq, block.min_seq);
    meta.max_seq = std::max(meta.max_seq, block.max_seq);
  }
  meta.rows += n;
  ++footer_.blocks;
  last_key_ = std::move(block.last_key);
  last_time_ = time.Get<int64_t>(begin + n - 1);
  last_seq_ = batch.seq[begin + n - 1];
  return Status();
}

Status SstBuilder::WriteSection(std::string body, sst::Section* section) {
  AppendCrc(0, &body);
  *section = {offset_, body.size()};
  return Write(body);
}

Result<SstMeta> SstBuilder::Finish(const std::vector<TokenEntry>& tokens) {
  if (!status_.ok()) return status_;
  if (finished_) return Status::Invalid("this SSTable is finished");
  if (rows() == 0) return Status::Invalid("an SSTable needs at least one row");
  status_ = FinishFile(tokens);
  if (!status_.ok()) return status_;
  finished_ = true;
  return footer_.meta;
}

Status SstBuilder::FinishFile(const std::vector<TokenEntry>& tokens) {
  if (pending_.rows > 0) {
    SEGUE_RETURN_IF_ERROR(WriteBlock(pending_, 0, pending_.rows));
    pending_ = ColumnBatch();
  }
  footer_.schema = schema_->Serialize();
  footer_.meta.last_key = last_key_;
  for (size_t c = 0; c < schema_->columns.size(); ++c) {
    if (!schema_->columns[c].coded) continue;
    sst::Dictionary dictionary;
    dictionary.entries = dictionaries_[c].strings.size();
    std::string body;
    EncodeStrings(dictionaries_[c].strings, &body);
    SEGUE_RETURN_IF_ERROR(WriteSection(std::move(body), &dictionary.section));
    footer_.dictionaries.push_back(dictionary);
  }
  if (models_) {
    std::string body;
    models_->Serialize(&body);
    // Nobody reads them before the rows' log is gone: what could not be read must not be written.
    SEGUE_RETURN_IF_ERROR(TableModels::Parse(*schema_, body).status());
    SEGUE_RETURN_IF_ERROR(WriteSection(std::move(body), &footer_.models));
  }
  {
    BloomFilter bloom(key_hashes_.size(), options_.bloom_bits_per_key);
    constexpr size_t kKeys = 16384;
    for (size_t i = 0; i < key_hashes_.size(); i += kKeys) {
      bloom.AddMany(key_hashes_.data() + i, std::min(kKeys, key_hashes_.size() - i));
      GiveWay();
    }
    key_hashes_ = {};
    std::string body;
    bloom.Serialize(&body);
    SEGUE_RETURN_IF_ERROR(WriteSection(std::move(body), &footer_.bloom));
  }
  std::string body;
  sst::EncodeTokens(tokens, &body);
  SEGUE_RETURN_IF_ERROR(WriteSection(std::move(body), &footer_.tokens));
  SEGUE_RETURN_IF_ERROR(WriteSection(std::move(index_), &footer_.index));
  SEGUE_RETURN_IF_ERROR(Write(sst::EncodeFooter(footer_)));
  footer_.meta.file_size = offset_;
  SEGUE_RETURN_IF_ERROR(file_->Sync());
  return file_->Close();
}

}  // namespace segue
