// Spilled runs: sorted rows in a file of their own, in checked blocks.
//
//   file   := block*
//   block  := magic:u32 crc:u32 rows:u32 heap_bytes:u32 stride:u32 key_bytes:u32 number:u64
//             row[rows] key[rows] heap
//   crc    := CRC32C of everything in the block after itself
//   row    := as RowLayout, string offsets counting from the block's heap
//   key    := the low key_bytes of the key compacted by the run's KeyCodec,
//             little-endian; 16 bytes hi, lo when it does not fit 64 bits
//
// The files are scratch: they serve the job that wrote them, which keeps their
// index in memory and removes them; no other process or version reads them.
//
// Thread safety: a SpillWriter belongs to one thread; SpilledRun is const and
// shared, each reader with a BlockReader of its own.
// Ownership: a SpilledRun removes its file when destroyed.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/env.h"
#include "pipeline/buffer.h"
#include "pipeline/key_codec.h"
#include "pipeline/memory_budget.h"
#include "pipeline/row_layout.h"

namespace segue {

struct SpillCounters {
  std::atomic<uint64_t> written{0};
  std::atomic<uint64_t> read{0};
};

class SpilledRun {
 public:
  struct Block {
    uint64_t offset;
    uint32_t size;
    uint32_t rows;
    Key128 first;
  };

  SpilledRun(Env* env, std::string path, uint32_t stride, KeyCodec codec, SpillCounters* counters)
      : env_(env), path_(std::move(path)), stride_(stride), codec_(codec), counters_(counters) {}
  ~SpilledRun();
  SpilledRun(const SpilledRun&) = delete;
  SpilledRun& operator=(const SpilledRun&) = delete;

  const KeyCodec& codec() const { return codec_; }
  const std::vector<Block>& blocks() const { return blocks_; }
  uint64_t bytes() const { return bytes_; }
  int64_t rows() const { return rows_; }
  const std::string& path() const { return path_; }
  // The block that may hold the first row not below `key`.
  size_t FirstBlock(Key128 key) const;
  // kCorruption when the block is not what was written.
  Status ReadBlock(size_t number, Buffer* buffer) const;
  // Now rather than at destruction; readers that have it open go on.
  void RemoveFile() const;

 private:
  friend class SpillWriter;

  Env* env_;
  const std::string path_;
  const uint32_t stride_;
  const KeyCodec codec_;
  SpillCounters* counters_;
  std::vector<Block> blocks_;
  uint64_t bytes_ = 0;
  int64_t rows_ = 0;
  mutable std::mutex open_mutex_;
  mutable std::unique_ptr<RandomAccessFile> file_;  // opened by the first reader
  mutable std::atomic<bool> removed_{false};
};

class SpillWriter {
 public:
  // Blocks of about `block_bytes`; a larger row gets a block of its own.
  // `counters` must outlive the run.
  static Result<std::unique_ptr<SpillWriter>> Create(Env* env, const std::string& path, const RowLayout* layout,
                                                     const KeyCodec& codec, uint64_t block_bytes, MemoryBudget* budget,
                                                     SpillCounters* counters);
  // Rows come in key order.
  Status Append(Key128 key, RowRef row);
  // Without it the file is removed again.
  Result<std::unique_ptr<SpilledRun>> Finish();

 private:
  SpillWriter() = default;
  Status Flush();

  const RowLayout* layout_ = nullptr;
  uint64_t block_bytes_ = 0;
  std::unique_ptr<SpilledRun> run_;
  std::unique_ptr<WritableFile> file_;
  Buffer block_;  // header and rows; keys and heap join when it is written
  Buffer keys_;
  Buffer heap_;
  uint32_t rows_ = 0;
  Key128 first_;
  Reservation reservation_;
};

// Steps through the rows of a spilled run from one key to another.
class BlockReader {
 public:
  BlockReader(std::shared_ptr<const SpilledRun> run, const RowLayout* layout, MemoryBudget* budget)
      : run_(std::move(run)), layout_(layout), reservation_(budget) {}

  // Positions at the first row with key >= begin; rows with key >= *end (null: none) are not shown.
  Status Seek(Key128 begin, const Key128* end);
  bool done() const { return done_; }
  Key128 key() const { return KeyAt(row_); }
  RowRef row() const { return {rows_ + static_cast<size_t>(row_) * layout_->stride(), heap_}; }
  // Goes to the next row if it is in this block: earlier refs stay valid.
  // False: call NextBlock(), which invalidates them.
  bool Step() { return ++row_ < end_row_; }
  Status NextBlock();

 private:
  Key128 KeyAt(uint32_t row) const;
  uint32_t LowerBound(Key128 key) const;
  Status Load();

  std::shared_ptr<const SpilledRun> run_;
  const RowLayout* layout_;
  Reservation reservation_;
  Buffer buffer_;
  size_t block_ = 0;
  uint32_t row_ = 0;
  uint32_t end_row_ = 0;
  const uint8_t* rows_ = nullptr;
  const uint8_t* keys_ = nullptr;
  const uint8_t* heap_ = nullptr;
  int key_bytes_ = 0;
  uint64_t key_mask_ = 0;
  bool bounded_ = false;
  Key128 end_;
  bool done_ = true;
};

}  // namespace segue
