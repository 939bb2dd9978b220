// SstReader: from a key to blocks, from blocks to columns.
#include <algorithm>

#include "base/crc32c.h"
#include "base/packed_kernels.h"
#include "events/block_encoding.h"
#include "events/skiplist.h"
#include "events/sstable_reader.h"

namespace segue {

namespace {

// Chunks closer together than this are read with one call, the gap included.
constexpr uint64_t kGap = 8 << 10;

}  // namespace

std::string SstReader::ChunkName(size_t chunk) const {
  return chunk == schema_->columns.size() ? "the sequence numbers"
                                          : "column '" + schema_->columns[chunk].field.name + "'";
}

std::pair<size_t, size_t> SstReader::BlocksOfKey(std::string_view encoded_key) const {
  const std::vector<BlockInfo>& blocks = parts_.blocks;
  const std::vector<uint64_t>& prefixes = parts_.last_prefixes;
  auto first = static_cast<size_t>(std::lower_bound(prefixes.begin(), prefixes.end(), KeyPrefix(encoded_key)) -
                                   prefixes.begin());
  // Long keys may share a prefix.
  const auto begin = blocks.begin() + static_cast<ptrdiff_t>(first);
  if (encoded_key.size() > sizeof(uint64_t)) {
    first = static_cast<size_t>(
        std::partition_point(begin, blocks.end(), [&](const BlockInfo& b) { return b.last_key < encoded_key; }) -
        blocks.begin());
  }
  // Nearly always one block, or none.
  size_t end = first;
  while (end < blocks.size() && end - first < 4 && blocks[end].first_key <= encoded_key) ++end;
  if (end - first == 4) {
    end = static_cast<size_t>(std::partition_point(blocks.begin() + static_cast<ptrdiff_t>(end), blocks.end(),
                                                   [&](const BlockInfo& b) { return b.first_key <= encoded_key; }) -
                              blocks.begin());
  }
  return {first, end};
}

Status SstReader::CheckChunk(size_t block, size_t chunk, std::string_view bytes) const {
  const size_t size = bytes.size() - sst::kCrcSize;
  if (Crc32c(bytes.data(), size) == LoadAs<uint32_t>(bytes.data() + size)) return Status();
  return Damaged(parts_.blocks[block].offset + ChunkBegin(block, chunk),
                 "the checksum of " + ChunkName(chunk) + " in block " + std::to_string(block) + " differs");
}

Status SstReader::ReadChunks(size_t block, const std::vector<size_t>& chunks, RawVector<char>* bytes,
                             std::vector<std::string_view>* views) const {
  // One call reads the chunks of a span, from place `first` in `chunks` to what this returns.
  const auto last_of_span = [&](size_t first) {
    size_t last = first;
    while (last + 1 < chunks.size() && ChunkBegin(block, chunks[last + 1]) - ChunkEnd(block, chunks[last]) <= kGap) {
      ++last;
    }
    return last;
  };
  size_t total = 0;
  for (size_t first = 0, last = 0; first < chunks.size(); first = last + 1) {
    last = last_of_span(first);
    total += ChunkEnd(block, chunks[last]) - ChunkBegin(block, chunks[first]);
  }
  bytes->resize(total);
  SEGUE_ASSIGN_OR_RETURN(const OpenFiles::File file, resources_.files->Get(path_));
  char* at = bytes->data();
  for (size_t first = 0, last = 0; first < chunks.size(); first = last + 1) {
    last = last_of_span(first);
    const uint32_t begin = ChunkBegin(block, chunks[first]);
    const size_t size = ChunkEnd(block, chunks[last]) - begin;
    SEGUE_RETURN_IF_ERROR(file->Read(parts_.blocks[block].offset + begin, size, at));
    for (size_t i = first; i <= last; ++i) {
      const uint32_t from = ChunkBegin(block, chunks[i]);
      const std::string_view chunk(at + (from - begin), ChunkEnd(block, chunks[i]) - from);
      SEGUE_RETURN_IF_ERROR(CheckChunk(block, chunks[i], chunk));
      (*views)[chunks[i]] = chunk.substr(0, chunk.size() - sst::kCrcSize);
    }
    at += size;
  }
  return Status();
}

Status SstReader::Fetch(size_t block, const std::vector<bool>& wanted, bool seq, bool fill, EncodedBlock* out,
                        ReadCounts* counts) const {
  const size_t columns = schema_->columns.size();
  if (block >= parts_.blocks.size()) {
    return Status::Invalid("block " + std::to_string(block) + " of an SSTable of " +
                           std::to_string(parts_.blocks.size()));
  }
  if (!wanted.empty() && wanted.size() != columns) return Status::Invalid("`wanted` needs one entry a column");
  out->number_ = block;
  out->rows_ = parts_.blocks[block].rows;
  out->slice_ = false;
  out->cached_.reset();
  out->foretelling_.Forget();
  const TableModels* models = nullptr;
  SEGUE_RETURN_IF_ERROR(Models(&models));
  const auto want = [&](size_t chunk) { return NeedsChunk(models, chunk, wanted, seq); };
  const BlockCache::Key key{cache_table_, block, 0};
  fill = fill && resources_.cache && resources_.cache->capacity() > 0;
  BlockCache::BlockPtr found;
  if (fill) found = resources_.cache->Find(key);
  bool all = found != nullptr;
  for (size_t chunk = 0; all && chunk <= columns; ++chunk) all = !want(chunk) || !found->chunks[chunk].empty();
  if (all) {
    ++counts->cache_hits;
    out->chunks_ = found->chunks;
    out->cached_ = std::move(found);
    return Status();
  }
  // What was in the cache already is read again with the rest: one piece of memory, one call.
  std::vector<size_t>& chunks = out->numbers_;
  chunks.clear();
  for (size_t chunk = 0; chunk <= columns; ++chunk) {
    if (want(chunk) || (found && !found->chunks[chunk].empty())) chunks.push_back(chunk);
  }
  ++counts->blocks_read;
  if (fill) ++counts->cache_misses;
  if (fill && !found) {
    const uint32_t bytes = chunks.empty() ? 0 : ChunkEnd(block, chunks.back()) - ChunkBegin(block, chunks.front());
    fill = resources_.cache->Admits(key, bytes, columns + 1);
  }
  if (fill) {  // also where more of a block that is in the cache takes the place of that
    auto read = std::make_shared<BlockCache::Block>();
    read->chunks.resize(columns + 1);
    SEGUE_RETURN_IF_ERROR(ReadChunks(block, chunks, &read->bytes, &read->chunks));
    counts->block_bytes_read += read->bytes.size();
    out->chunks_ = read->chunks;
    out->cached_ = read;
    resources_.cache->Insert(key, std::move(read));
    return Status();
  }
  out->chunks_.assign(columns + 1, {});
  SEGUE_RETURN_IF_ERROR(ReadChunks(block, chunks, &out->bytes_, &out->chunks_));
  counts->block_bytes_read += out->bytes_.size();
  return Status();
}

bool SstReader::NeedsChunk(const TableModels* models, size_t chunk, const std::vector<bool>& wanted, bool seq) const {
  const size_t columns = schema_->columns.size();
  const auto wants = [&](size_t c) { return c == columns ? seq : wanted.empty() || wanted[c]; };
  if (wants(chunk) || models == nullptr) return wants(chunk);
  const bool clock =
      wants(static_cast<size_t>(schema_->time)) && models->NeedsClock(static_cast<size_t>(schema_->time));
  if (chunk == columns) return clock;
  if (!IsKey(*schema_, chunk)) return false;
  for (size_t c = 0; c <= columns; ++c) {
    if (models->NeedsKeys(c) && (wants(c) || (c == columns && clock))) return true;
  }
  return false;
}

Status SstReader::PrepareSame(const EncodedBlock& block) const {
  EncodedBlock::Foretelling& foretelling = block.foretelling_;
  if (foretelling.has_same) return Status();
  foretelling.keys.columns.resize(schema_->columns.size());
  for (const int key : schema_->key) {
    ColumnData& data = foretelling.keys.columns[static_cast<size_t>(key)];
    data.values.clear();
    data.offsets.clear();
    data.valid.clear();
    SEGUE_RETURN_IF_ERROR(DecodeAnew(block, static_cast<size_t>(key), 0, block.rows_, &data));
  }
  SameKeys(*schema_, foretelling.keys, 0, block.rows_, &foretelling.same);
  foretelling.has_same = true;
  return Status();
}

Status SstReader::PrepareClock(const EncodedBlock& block, const TableModels& models) const {
  EncodedBlock::Foretelling& foretelling = block.foretelling_;
  if (foretelling.has_clock) return Status();
  foretelling.seq.resize(block.rows_);
  SEGUE_RETURN_IF_ERROR(DecodeSequences(block, 0, block.rows_, foretelling.seq.data()));
  foretelling.clock.resize(block.rows_);
  models.clock.AtMany(foretelling.seq.data(), block.rows_, foretelling.clock.data());
  foretelling.has_clock = true;
  return Status();
}

Status SstReader::ContextOf(const EncodedBlock& block, size_t chunk, DecodeContext* context) const {
  if (!IsModelled(block.chunks_[chunk])) return Status();
  const TableModels* models = nullptr;
  SEGUE_RETURN_IF_ERROR(Models(&models));
  if (models == nullptr || models->Of(chunk) == nullptr) return Status();  // decoding says that it is damaged
  if (models->NeedsKeys(chunk)) SEGUE_RETURN_IF_ERROR(PrepareSame(block));
  if (models->NeedsClock(chunk)) SEGUE_RETURN_IF_ERROR(PrepareClock(block, *models));
  EncodedBlock::Foretelling& foretelling = block.foretelling_;
  context->block = {models->Of(chunk), foretelling.same.data(), foretelling.clock.data()};
  context->coder = &foretelling.coder;
  return Status();
}

Status SstReader::DecodeChunk(const EncodedBlock& block, size_t column, size_t begin, size_t end,
                              ColumnData* out) const {
  const TableModels* models = nullptr;
  const StoreColumn& spec = schema_->columns[column];
  const auto fetched = [&](int key) { return !block.chunks_[static_cast<size_t>(key)].empty(); };
  if (block.slice_ || spec.width == 0 || !IsKey(*schema_, column) ||
      !std::all_of(schema_->key.begin(), schema_->key.end(), fetched)) {
    return DecodeAnew(block, column, begin, end, out);
  }
  SEGUE_RETURN_IF_ERROR(Models(&models));
  if (models == nullptr || !models->AnyNeedsKeys()) return DecodeAnew(block, column, begin, end, out);
  SEGUE_RETURN_IF_ERROR(PrepareSame(block));
  // Keys have no nulls.
  const auto width = static_cast<size_t>(spec.width);
  const size_t old = out->values.size();
  out->values.resize(old + (end - begin) * width);
  std::copy_n(block.foretelling_.keys.columns[column].values.data() + begin * width, (end - begin) * width,
              out->values.data() + old);
  return Status();
}

Status SstReader::DecodeAnew(const EncodedBlock& block, size_t column, size_t begin, size_t end,
                             ColumnData* out) const {
  DecodeContext context;
  SEGUE_RETURN_IF_ERROR(ContextOf(block, column, &context));
  const Status status = DecodeColumn(ColumnShape::Of(schema_->columns[column]), block.chunks_[column], block.rows_,
                                     begin, end, out, context);
  if (!status.ok()) return DamagedChunk(block.number_, column, status.message());
  if (!out->valid.empty() && IsKey(*schema_, column)) return DamagedChunk(block.number_, column, "a null in a key");
  return Status();
}

Status SstReader::Decode(const EncodedBlock& block, size_t column, size_t begin, size_t end, ColumnData* out) const {
  const StoreColumn& spec = schema_->columns[column];
  const auto damaged = [&](const std::string& what) { return DamagedChunk(block.number_, column, what); };
  const size_t old = out->values.size();
  SEGUE_RETURN_IF_ERROR(DecodeChunk(block, column, begin, end, out));
  if (!spec.coded) return Status();
  const std::vector<int32_t>* codes = nullptr;
  SEGUE_RETURN_IF_ERROR(ReadCodes(column, &codes));
  auto* values = reinterpret_cast<uint32_t*>(out->values.data() + old);
  const size_t n = end - begin;
  const auto entries = static_cast<uint32_t>(codes->size());
  if (out->valid.empty()) {
    const PackedKernels& kernels = ActivePackedKernels();
    if (n > 0 && kernels.max(values, n) >= entries) return damaged("a code outside the file's dictionary");
    kernels.gather(reinterpret_cast<const uint32_t*>(codes->data()), values, n, values);
    return Status();
  }
  const uint8_t* valid = out->valid.data() + (out->valid.size() - n);
  for (size_t i = 0; i < n; ++i) {
    if (valid[i] == 0) continue;
    if (values[i] >= entries) return damaged("a code outside the file's dictionary");
    values[i] = static_cast<uint32_t>((*codes)[values[i]]);
  }
  return Status();
}

Status SstReader::DecodeSequences(const EncodedBlock& block, size_t begin, size_t end, RawVector<uint64_t>* out) const {
  const size_t old = out->size();
  out->resize(old + (end - begin));
  return DecodeSequences(block, begin, end, out->data() + old);
}

Status SstReader::DecodeSequences(const EncodedBlock& block, size_t begin, size_t end, uint64_t* out) const {
  const EncodedBlock::Foretelling& foretelling = block.foretelling_;
  if (foretelling.has_clock) {
    std::copy_n(foretelling.seq.begin() + static_cast<ptrdiff_t>(begin), end - begin, out);
    return Status();
  }
  const size_t chunk = schema_->columns.size();
  DecodeContext context;
  SEGUE_RETURN_IF_ERROR(ContextOf(block, chunk, &context));
  const Status status = DecodeUInt64s(block.chunks_[chunk], block.rows_, begin, end, out, context);
  if (status.ok()) return status;
  return DamagedChunk(block.number_, chunk, status.message());
}

Status SstReader::ReadBlock(size_t block, const std::vector<bool>& wanted, EncodedBlock* scratch,
                            ColumnBatch* out) const {
  EncodedBlock& encoded = *scratch;
  ReadCounts counts;
  SEGUE_RETURN_IF_ERROR(Fetch(block, wanted, true, false, &encoded, &counts));
  out->columns.resize(schema_->columns.size());
  out->rows = encoded.rows();
  out->seq.clear();
  for (size_t c = 0; c < out->columns.size(); ++c) {
    ColumnData& data = out->columns[c];
    data.values.clear();
    data.offsets.clear();
    data.valid.clear();
    if (wanted.empty() || wanted[c]) SEGUE_RETURN_IF_ERROR(Decode(encoded, c, 0, encoded.rows(), &data));
  }
  return DecodeSequences(encoded, 0, encoded.rows(), &out->seq);
}

}  // namespace segue
