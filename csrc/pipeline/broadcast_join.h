// BroadcastTable: a dimension held whole, found by its key.
//
//   dense table   integers, dates, timestamps, booleans in a compact range: row = table[key - min]
//   hash table    all other keys: open addressing, linear probing, at most half full
//
// Attributes are gathered only when rows go out (late materialisation). String
// attributes with at most 65,536 distinct values are gathered as codes and go
// out as dictionary<int32, string>; dictionaries stay dictionaries.
//
// Thread safety: const after Make; each Prober belongs to one thread.
// Invariants: keys are unique and not null (else Make fails, naming value and row).
// Nulls never match; floats match as Spark's do: NaN equals NaN, -0.0 equals 0.0.
// Integers of different widths and signs match by value, timestamps of
// different units by instant.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "pipeline/array_values.h"
#include "pipeline/buffer.h"
#include "pipeline/column_builder.h"
#include "pipeline/memory_budget.h"
#include "pipeline/string_dictionary.h"

namespace segue {

inline constexpr uint32_t kNoMatch = UINT32_MAX;

enum class JoinType : uint8_t { kInner, kLeft };
Result<JoinType> ParseJoinType(const std::string& how);  // "inner", "left"; else kInvalid

class BroadcastTable {
 public:
  // Reads `stream` to its end. `columns`: the attributes to keep; all but the
  // key when not given. `budget` may be null. kSchema: unknown column;
  // kInvalid: a duplicate or null key.
  static Result<std::shared_ptr<const BroadcastTable>> Make(StreamReader* stream, const std::string& key,
                                                            const std::optional<std::vector<std::string>>& columns,
                                                            MemoryBudget* budget);

  int64_t rows() const { return rows_; }
  const Field& key() const { return key_; }
  bool dense() const { return kind_ == Kind::kDense; }
  // By name; their fields as they go out.
  const std::vector<Field>& attributes() const { return fields_; }
  int IndexOf(const std::string& attribute) const;
  uint64_t memory_bytes() const { return memory_bytes_; }

  // kSchema when values of `fact` cannot be compared to the key.
  Status CheckKey(const Field& fact) const;
  // The row with this key (already checked by CheckKey), else kNoMatch.
  uint32_t Find(std::string_view bytes) const;

  // Appends attribute `index` of rows[0..n) to `out`; kNoMatch gives null.
  Status Gather(size_t index, const uint32_t* rows, int64_t n, ColumnBuilder* out) const;
  DictionaryExport* dictionary_export(size_t index) const { return attributes_[index].dictionary_export.get(); }
  // For each of our rows: the row of `other` whose key is our attribute `index`.
  Result<std::vector<uint32_t>> MatchAttribute(size_t index, const BroadcastTable& other) const;

  class Prober;

 private:
  enum class Kind : uint8_t { kDense, kHashBits, kHashBytes };
  struct Column {
    Field field;
    Buffer values;                  // fixed-width (bool: a byte; dictionary: int32 codes)
    std::vector<uint64_t> offsets;  // strings
    Buffer bytes;
    std::vector<uint8_t> valid;  // empty: no nulls
    std::unique_ptr<StringDictionary> dictionary;
    std::unique_ptr<DictionaryExport> dictionary_export;

    bool IsNull(size_t row) const { return !valid.empty() && valid[row] == 0; }
    std::string_view BytesOf(size_t row) const;
  };
  struct BitsSlot {
    uint64_t bits;
    uint32_t row;
  };
  struct BytesSlot {
    uint32_t tag;
    uint32_t row;
  };

  BroadcastTable() = default;
  Status Append(const ArrayView& view, Column* column, DictionaryMapper* mapper);
  void TryDictionary(Column* column);
  Status BuildIndex();
  Status BuildBytesIndex();
  uint32_t FindBits(uint64_t bits) const;
  std::string KeyText(size_t row) const;
  Status Duplicate(uint32_t first, size_t second) const;

  int64_t rows_ = 0;
  Field key_;
  Column key_column_;
  std::vector<Column> attributes_;
  std::vector<Field> fields_;
  Kind kind_ = Kind::kHashBytes;
  uint64_t min_ = 0;    // dense
  uint64_t range_ = 0;  // dense: greatest key - min_
  std::vector<uint32_t> dense_;
  std::vector<BitsSlot> bits_slots_;
  std::vector<BytesSlot> bytes_slots_;
  uint64_t memory_bytes_ = 0;
  Reservation reservation_;
};

// Looks fact columns up. Keeps the matches of a source dictionary while batches
// share it; the caller keeps the previous batch alive until the next Begin.
class BroadcastTable::Prober {
 public:
  explicit Prober(const BroadcastTable* table) : table_(table) {}

  void Begin(const ArrayView& view);
  // matches[i] for rows [begin, begin + n) of `view`, the one given to Begin.
  void Lookup(const ArrayView& view, int64_t begin, int64_t n, uint32_t* matches);

 private:
  template <typename BitsAt>
  void LookupBits(const ArrayView& view, int64_t begin, int64_t n, uint32_t* matches, BitsAt bits_at) const;

  const BroadcastTable* table_;
  std::shared_ptr<const ArrayView> source_;
  std::vector<uint32_t> entries_;  // kNoMatch - 1: not looked up yet
  bool direct_ = false;
};

}  // namespace segue
