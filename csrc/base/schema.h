// Schema: the flat column types that Segue's kernels know, and their Arrow form.
//
// Thread safety: plain values; share const copies freely.
// `string`, `large_string` and `string_view` are one type (kString), likewise
// binary. A dictionary of strings is kDictionary, whatever its index type.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/arrow_abi.h"
#include "base/status.h"

namespace segue {

// Persistent: these values stand in files. Never renumber.
enum class TypeId : uint8_t {
  kBool = 1,
  kInt8 = 2,
  kInt16 = 3,
  kInt32 = 4,
  kInt64 = 5,
  kUInt8 = 6,
  kUInt16 = 7,
  kUInt32 = 8,
  kUInt64 = 9,
  kFloat32 = 10,
  kFloat64 = 11,
  kDecimal128 = 12,
  kDate32 = 13,
  kTimestamp = 14,
  kString = 15,
  kBinary = 16,
  kDictionary = 17,  // dictionary<int32, string>
};

enum class TimeUnit : uint8_t { kSecond = 0, kMilli = 1, kMicro = 2, kNano = 3 };

struct ColumnType {
  TypeId id = TypeId::kInt64;
  TimeUnit unit = TimeUnit::kMicro;  // kTimestamp
  std::string zone;                  // kTimestamp; empty: no zone
  int32_t precision = 0;             // kDecimal128
  int32_t scale = 0;                 // kDecimal128

  bool operator==(const ColumnType&) const = default;
};

// Bytes of one value in memory and in fixed-width encodings (a bool is one
// byte); 0 for strings and binary; 4 for a dictionary (its code).
int TypeWidth(TypeId id);
bool IsVariable(TypeId id);  // kString, kBinary
std::string TypeName(const ColumnType& type);

struct Field {
  std::string name;
  ColumnType type;
  bool nullable = true;
  bool all_null = false;  // of a batch: Arrow's type null, whatever `type` says

  bool operator==(const Field&) const = default;
};

struct Schema {
  std::vector<Field> fields;

  int IndexOf(std::string_view name) const;  // -1: absent
  bool operator==(const Schema&) const = default;
};

// Reads a struct-typed ArrowSchema. kSchema names the first column whose type
// Segue does not take (nested, float16, time, duration, ...). Arrow's type null,
// which libraries give a column of nulls alone, only with `take_null`.
Result<Schema> SchemaFromArrow(const ArrowSchema& arrow, bool take_null = false);

// Fills `out` (which the caller releases) with a struct schema of `fields`.
void SchemaToArrow(const Schema& schema, ArrowSchema* out);

// Units per second of a timestamp unit.
int64_t UnitsPerSecond(TimeUnit unit);

}  // namespace segue
