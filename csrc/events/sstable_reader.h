// SstReader: reads one SSTable.
//
// Blocks are read into memory, never mapped: a file that is cut short or a
// device that fails is then an error of one read, where a mapping would end the
// process with a signal. What reading costs more, a copy from the page cache, is
// little beside decoding, and the block cache spares it where keys are hot.
//
// Thread safety: const methods may be called from many threads.
// Ownership: shares the store's open files and block cache; borrows StoreSchema
// and Interners (which gain the file's strings when a coded column is first read).
// Memory: bloom filter, index (about 120 bytes a block) and tokens from Open
// on; a coded column's mapping of codes (4 bytes a string) and the models (8
// bytes for each 64 rows, and some 100 KB) from their first use on.
// Errors: kCorruption names the path and the offset of the damaged part.
#pragma once

#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "base/env.h"
#include "base/status.h"
#include "events/block_cache.h"
#include "events/block_encoding.h"
#include "events/bloom.h"
#include "events/column_batch.h"
#include "events/open_files.h"
#include "events/read_counters.h"
#include "events/sstable_format.h"
#include "events/store_schema.h"
#include "events/table_models.h"

namespace segue {

// What the SSTables of one store share; null where a file is read on its own.
struct SstResources {
  std::shared_ptr<OpenFiles> files;
  std::shared_ptr<BlockCache> cache;
};

// Chunks of one block, or of the rows that one key has in it, checked and still
// encoded. Belongs to one thread at a time; reusing it reuses its memory.
class EncodedBlock {
 public:
  size_t rows() const { return rows_; }
  size_t bytes() const { return bytes_.size(); }  // that were read from the file, past the cache
  bool slice() const { return slice_; }           // all rows have the key, and there are no others of it in the block

 private:
  friend class SstReader;
  size_t number_ = 0;
  size_t rows_ = 0;
  bool slice_ = false;
  BlockCache::BlockPtr cached_;           // what chunks_ point into, or null:
  RawVector<char> bytes_;                 // then this
  std::vector<std::string_view> chunks_;  // without checksum; empty: not fetched
  std::vector<size_t> numbers_;           // scratch: chunks that are to be read
  // What models go by, made when a chunk is decoded that needs it, for all rows:
  struct Foretelling {
    bool has_same = false;
    bool has_clock = false;  // and seq
    RawVector<uint8_t> same;
    RawVector<uint64_t> seq;
    RawVector<uint64_t> clock;
    ColumnBatch keys;
    ModelCoder coder;

    void Forget() { has_same = has_clock = false; }
  };
  mutable Foretelling foretelling_;
};

// Scratch of KeepSlice.
struct SliceMaker {
  ColumnEncoder encoder;
  ColumnData column;
  RawVector<uint64_t> seq;
  std::string bytes;
  std::vector<size_t> ends;
};

class SstReader {
 public:
  // kCorruption also when the file was written with another schema;
  // kUnsupported when a newer version of the format wrote it.
  static Result<std::unique_ptr<SstReader>> Open(Env* env, const std::string& path, const StoreSchema* schema,
                                                 const Interners* interners, SstResources resources = {});
  ~SstReader();

  // The schema that a file was written with, to open it where no table is at hand.
  static Result<StoreSchema> ReadSchema(Env* env, const std::string& path);

  const SstMeta& meta() const { return parts_.footer.meta; }
  const std::vector<BlockInfo>& blocks() const { return parts_.blocks; }
  const std::vector<TokenEntry>& tokens() const { return parts_.tokens; }
  const BloomFilter& bloom() const { return parts_.bloom; }

  // Rows before this time have expired: scans pass over them. Set before the reader is shared.
  int64_t visible_from() const { return visible_from_; }
  void HideBefore(int64_t time) { visible_from_ = time; }

  // False: no row has a key of this hash. Touches no file.
  bool MayContainKey(uint64_t key_hash) const { return parts_.bloom.MayContain(key_hash); }
  void PrefetchKey(uint64_t key_hash) const { parts_.bloom.Prefetch(key_hash); }
  // Blocks [first, second) may have rows of this key; none other has. Touches no file.
  std::pair<size_t, size_t> BlocksOfKey(std::string_view encoded_key) const;

  // Brings the chunks of columns wanted[c] (empty: all) and, with `seq`, of the
  // sequence numbers of a block, and checks them: from the cache or from the
  // file, reading only the bytes of those chunks unless the gap between them is
  // too small to save a read. `fill`: look into the cache, and keep there what
  // was read if the cache admits it.
  Status Fetch(size_t block, const std::vector<bool>& wanted, bool seq, bool fill, EncodedBlock* out,
               ReadCounts* counts) const;
  // The same for a read of one key: what the cache has of its rows alone, or else the whole block.
  Status FetchOfKey(size_t block, std::string_view encoded_key, uint64_t key_hash, const std::vector<bool>& wanted,
                    bool seq, EncodedBlock* out, ReadCounts* counts) const;
  // Of a block that FetchOfKey read from the file: keeps rows [begin, end), all that the key has, for the
  // next read of it, if the cache admits them; *block is that slice then.
  Status KeepSlice(std::string_view encoded_key, uint64_t key_hash, size_t begin, size_t end, SliceMaker* maker,
                   EncodedBlock* block) const;
  // Appends rows [begin, end) of a fetched column to *out.
  Status Decode(const EncodedBlock& block, size_t column, size_t begin, size_t end, ColumnData* out) const;
  Status DecodeSequences(const EncodedBlock& block, size_t begin, size_t end, RawVector<uint64_t>* out) const;

  // Fetch and Decode in one: replaces *out (reusing its memory) with the wanted
  // columns and the sequence numbers of a block. Past the cache.
  Status ReadBlock(size_t block, const std::vector<bool>& wanted, EncodedBlock* scratch, ColumnBatch* out) const;

  // Reads everything anew: every CRC, every value, every zone map.
  Status Verify() const;

  // The encoding of each column of a block, and the size of its chunk; for statistics.
  struct ChunkInfo {
    std::string encoding;
    uint32_t size = 0;
  };
  Result<std::vector<ChunkInfo>> DescribeBlock(size_t block) const;

 private:
  struct Parts {
    sst::Footer footer;
    BloomFilter bloom;
    std::vector<TokenEntry> tokens;
    std::vector<BlockInfo> blocks;
    std::vector<uint64_t> last_prefixes;  // KeyPrefix of each block's last key: a search in it stays in the cache
    std::vector<uint32_t> chunk_ends;     // of each block, relative to its offset: one a column, one for seq
  };
  struct CodeMap {
    std::mutex mutex;
    std::atomic<bool> ready = false;
    std::vector<int32_t> codes;  // file code -> store code
  };

  SstReader(std::string path, SstResources resources, const StoreSchema* schema, const Interners* interners);

  static void BecomeSlice(size_t block, BlockCache::BlockPtr slice, EncodedBlock* out);
  Status ReadParts(const RandomAccessFile& file, Parts* parts) const;
  Status ReadIndex(const RandomAccessFile& file, uint64_t blocks_end, Parts* parts) const;
  // Reads [offset, offset + size), whose last bytes are a CRC; *out is the body.
  Status ReadSection(const RandomAccessFile& file, const sst::Section& section, const char* what,
                     std::string* out) const;
  // What chunks are needed for those that are wanted. `models` may be null.
  bool NeedsChunk(const TableModels* models, size_t chunk, const std::vector<bool>& wanted, bool seq) const;
  Status Models(const TableModels** models) const;  // null: it has none
  Result<std::unique_ptr<TableModels>> ReadModels() const;
  // What decodes a chunk of a block, and what that needs of the block's other chunks.
  Status ContextOf(const EncodedBlock& block, size_t chunk, DecodeContext* context) const;
  Status PrepareSame(const EncodedBlock& block) const;
  Status PrepareClock(const EncodedBlock& block, const TableModels& models) const;
  // Decode with the codes of the file, and for the key the one time that it is decoded for both.
  Status DecodeChunk(const EncodedBlock& block, size_t column, size_t begin, size_t end, ColumnData* out) const;
  Status DecodeAnew(const EncodedBlock& block, size_t column, size_t begin, size_t end, ColumnData* out) const;
  Status DecodeSequences(const EncodedBlock& block, size_t begin, size_t end, uint64_t* out) const;
  Status ReadStrings(size_t column, std::string* bytes, std::vector<std::string_view>* strings) const;
  Status ReadCodes(size_t column, const std::vector<int32_t>** codes) const;
  // Reads and checks chunks (ascending numbers) of a block; (*views)[chunk] point into *bytes.
  Status ReadChunks(size_t block, const std::vector<size_t>& chunks, RawVector<char>* bytes,
                    std::vector<std::string_view>* views) const;
  Status CheckChunk(size_t block, size_t chunk, std::string_view bytes) const;
  Status VerifyZoneMap(size_t block, const ColumnBatch& rows) const;
  Status VerifyText(size_t block, const ColumnBatch& rows) const;
  Status Damaged(uint64_t offset, const std::string& what) const;
  Status DamagedChunk(size_t block, size_t chunk, const std::string& what) const {
    return Damaged(parts_.blocks[block].offset + ChunkBegin(block, chunk), ChunkName(chunk) + ": " + what);
  }

  uint32_t ChunkBegin(size_t block, size_t chunk) const { return chunk == 0 ? 0 : ChunkEnd(block, chunk - 1); }
  uint32_t ChunkEnd(size_t block, size_t chunk) const {
    return parts_.chunk_ends[block * (schema_->columns.size() + 1) + chunk];
  }
  std::string ChunkName(size_t chunk) const;

  const std::string path_;
  const SstResources resources_;
  const StoreSchema* schema_;
  const Interners* interners_;
  const uint64_t fork_;  // its ForkGeneration
  uint64_t cache_table_ = 0;
  std::vector<int> dictionary_of_;  // column -> place in footer.dictionaries, or -1
  Parts parts_;
  int64_t visible_from_ = std::numeric_limits<int64_t>::min();
  mutable std::vector<CodeMap> code_maps_;  // one per column
  mutable std::mutex models_mutex_;
  mutable std::atomic<const TableModels*> models_ready_ = nullptr;
  mutable std::unique_ptr<const TableModels> models_;
};

}  // namespace segue
