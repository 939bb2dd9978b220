// ValueModel: what a file knows of a column, to write its values in few bits.
//
// A value is foretold, by nothing, by the row before it or by the arrival
// clock; what it differs by is written with a BinCode. Bins and codes come from
// a sample of the file's rows (model_fitter.h), so that values which the sample
// did not have may have no code: their chunk takes another encoding.
//
// Thread safety: a model is plain data; a ModelCoder, scratch memory for reading
// and writing with models, belongs to one thread.
// Inputs: any bytes decode to values or to false; nothing is read out of bounds.
// Cost: 2 to 4 ns a value to decode, 10 to 20 to encode (benchmarks/kernels/test_block_encoding.py).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/coding.h"
#include "events/bin_code.h"
#include "events/column_batch.h"
#include "events/value_table.h"

namespace segue {

// What a value is foretold by. Persistent: these values stand in files. Never renumber.
enum class Foretold : uint8_t {
  kByNothing = 1,
  kByStep = 2,   // the row before it
  kByKey = 3,    // the row before it, where that has the same key; else by nothing, with another code
  kByClock = 4,  // the arrival clock at the row's sequence number
};

struct ValueModel {
  // They take no bits in the file where they are equally far apart: nothing else bounds what a reader keeps.
  static constexpr size_t kMostFrequent = size_t{1} << 16;

  Foretold foretold = Foretold::kByNothing;
  // kByNothing only: values that are frequent count as 0, 1, ...; any other value as its distance from
  // `least` and their number more.
  std::vector<uint64_t> frequent;
  uint64_t least = 0;
  ValueTable ranks;  // places in `frequent`, to encode
  BinCode code;
  BinCode same_key;                     // kByKey: of rows whose key is that of the row before
  std::vector<BinCode::Entry> entries;  // to decode: kEntries of `code`, then of `same_key`

  void Serialize(std::string* out) const;
  // False when it is damaged.
  bool Parse(Cursor* in);
};

// What the rows of a block are foretold by, where a model asks for it.
struct BlockContext {
  const ValueModel* model = nullptr;  // null: the chunk has none
  const uint8_t* same = nullptr;      // one byte a row: 1 when its key is that of the row before; the first is 0
  const uint64_t* clock = nullptr;    // the clock at each row's sequence number
};

class ModelCoder {
 public:
  // Appends the body of a chunk; false, with *out as it was, when a value has no code.
  bool Encode(const BlockContext& context, const uint64_t* values, size_t n, std::string* out);
  // Values [begin, end) of a body of `rows` values, cut to T, an unsigned type of up to 8 bytes.
  template <typename T>
  bool Decode(const BlockContext& context, std::string_view body, size_t rows, size_t begin, size_t end, T* out);

 private:
  void WriteStream(size_t first, size_t n);
  template <bool kByKey>
  bool TakeCoded(const BlockContext& context, std::string_view streams, size_t rows, size_t n, uint64_t* out);

  RawVector<uint64_t> coded_;             // what is left of the values once they are foretold
  RawVector<const BinCode::Bin*> found_;  // of each
  std::string streams_;
  RawVector<uint8_t> padded_;  // a body, with room behind it
};

}  // namespace segue
