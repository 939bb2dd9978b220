// SstReader: reads one SSTable.
//
// Thread safety: const methods may be called from many threads.
// Ownership: owns its file, which it keeps open; borrows StoreSchema and
// Interners (which gain the file's strings when a coded column is first read).
// Memory: bloom filter, index (about 100 bytes a block) and tokens from Open
// on; a coded column's mapping of codes (4 bytes a string) from its first read on.
// Errors: kCorruption names the path and the offset of the damaged part.
#pragma once

#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/env.h"
#include "base/status.h"
#include "events/bloom.h"
#include "events/column_batch.h"
#include "events/sstable_format.h"
#include "events/store_schema.h"

namespace segue {

class SstReader {
 public:
  // kCorruption also when the file was written with another schema;
  // kUnsupported when a newer version of the format wrote it.
  static Result<std::unique_ptr<SstReader>> Open(Env* env, const std::string& path, const StoreSchema* schema,
                                                 const Interners* interners);
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

  // Replaces *out (reusing its memory) with the columns wanted[c] of a block;
  // empty `wanted`: all. seq always. Reads and checks only the bytes of those
  // columns, unless the gap between them is too small to save a read.
  Status ReadBlock(size_t block, const std::vector<bool>& wanted, ColumnBatch* out) const;

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
    std::vector<uint32_t> chunk_ends;  // of each block, relative to its offset: one a column, one for seq
  };
  struct CodeMap {
    std::mutex mutex;
    std::atomic<bool> ready = false;
    std::vector<int32_t> codes;  // file code -> store code
  };

  SstReader(std::unique_ptr<RandomAccessFile> file, const StoreSchema* schema, const Interners* interners);

  Status ReadParts(Parts* parts) const;
  Status ReadIndex(uint64_t blocks_end, Parts* parts) const;
  // Reads [offset, offset + size), whose last bytes are a CRC; *out is the body.
  Status ReadSection(const sst::Section& section, const char* what, std::string* out) const;
  Status ReadStrings(size_t column, std::string* bytes, std::vector<std::string_view>* strings) const;
  Status ReadCodes(size_t column, const std::vector<int32_t>** codes) const;
  Status DecodeChunk(size_t block, size_t chunk, std::string_view bytes, uint64_t offset, ColumnBatch* out) const;
  Status VerifyZoneMap(size_t block, const ColumnBatch& rows) const;
  Status Damaged(uint64_t offset, const std::string& what) const;

  std::unique_ptr<RandomAccessFile> file_;
  const StoreSchema* schema_;
  const Interners* interners_;
  std::vector<int> dictionary_of_;  // column -> place in footer.dictionaries, or -1
  Parts parts_;
  int64_t visible_from_ = std::numeric_limits<int64_t>::min();
  mutable std::vector<CodeMap> code_maps_;  // one per column
};

}  // namespace segue
