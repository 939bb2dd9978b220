#include "events/wal_payload.h"

#include <cstring>
#include <unordered_map>

#include "base/hash.h"

namespace segue {
namespace {

constexpr uint64_t kTokenSeedHigh = 0x746F6B656E2D6869ULL;
constexpr uint64_t kTokenSeedLow = 0x746F6B656E2D6C6FULL;

void EncodeCoded(const Interner& interner, const ColumnData& column, size_t rows, std::string* out) {
  constexpr uint32_t kUnseen = UINT32_MAX;
  std::vector<int32_t> distinct;
  RawVector<uint32_t> codes(rows);
  const auto number = [&](uint32_t* local, int32_t code) {
    if (*local == kUnseen) {
      *local = static_cast<uint32_t>(distinct.size());
      distinct.push_back(code);
    }
    return *local;
  };
  const auto known = static_cast<size_t>(interner.size());
  if (known <= 16 * rows + 256) {  // a table by code is cheap to clear; else a map
    std::vector<uint32_t> local(known, kUnseen);
    if (column.valid.empty()) {
      for (size_t row = 0; row < rows; ++row) {
        const auto code = column.Get<int32_t>(row);
        codes[row] = number(&local[static_cast<size_t>(code)], code);
      }
    } else {
      for (size_t row = 0; row < rows; ++row) {
        const auto code = column.Get<int32_t>(row);
        codes[row] = column.IsNull(row) ? 0 : number(&local[static_cast<size_t>(code)], code);
      }
    }
  } else {
    std::unordered_map<int32_t, uint32_t> local;
    for (size_t row = 0; row < rows; ++row) {
      const auto code = column.Get<int32_t>(row);
      codes[row] = column.IsNull(row) ? 0 : number(&local.try_emplace(code, kUnseen).first->second, code);
    }
  }
  PutFixed(out, static_cast<uint32_t>(distinct.size()));
  for (const std::string_view text : interner.AtMany(distinct)) PutLengthPrefixed(out, text);
  out->append(reinterpret_cast<const char*>(codes.data()), rows * sizeof(uint32_t));
}

bool DecodeCoded(Interner* interner, Cursor* in, size_t rows, ColumnData* column) {
  uint32_t distinct = 0;
  if (!in->GetFixed(&distinct) || distinct > in->remaining()) return false;
  std::vector<std::string_view> strings(distinct);
  for (std::string_view& text : strings) {
    if (!in->GetLengthPrefixed(&text)) return false;
  }
  std::string_view raw;
  if (!in->GetBytes(rows * sizeof(uint32_t), &raw)) return false;
  std::vector<int32_t> global;
  interner->InternMany(strings, &global);
  column->values.resize(rows * sizeof(int32_t));
  for (size_t row = 0; row < rows; ++row) {
    const auto code = LoadAs<uint32_t>(raw.data() + row * sizeof(uint32_t));
    const bool null = column->IsNull(row);
    if (!null && code >= distinct) return false;
    StoreAs<int32_t>(column->values.data() + row * sizeof(int32_t), null ? 0 : global[code]);
  }
  return true;
}

// Not assign(): with the vector's allocator it copies byte by byte.
void Fill(std::string_view bytes, RawVector<uint8_t>* out) {
  out->resize(bytes.size());
  if (!bytes.empty()) std::memcpy(out->data(), bytes.data(), bytes.size());
}

bool DecodeBytes(Cursor* in, size_t rows, ColumnData* column) {
  uint32_t total = 0;
  std::string_view lengths;
  std::string_view bytes;
  if (!in->GetFixed(&total) || !in->GetBytes(rows * sizeof(uint32_t), &lengths) || !in->GetBytes(total, &bytes)) {
    return false;
  }
  column->offsets.resize(rows + 1);
  uint64_t position = 0;
  for (size_t row = 0; row < rows; ++row) {
    column->offsets[row] = static_cast<uint32_t>(position);
    position += LoadAs<uint32_t>(lengths.data() + row * sizeof(uint32_t));
    if (position > total) return false;
  }
  if (position != total) return false;
  column->offsets[rows] = total;
  Fill(bytes, &column->values);
  return true;
}

void EncodeColumns(const StoreSchema& schema, const Interners& interners, const ColumnBatch& batch, std::string* out) {
  for (size_t c = 0; c < schema.columns.size(); ++c) {
    const StoreColumn& spec = schema.columns[c];
    const ColumnData& column = batch.columns[c];
    out->push_back(column.valid.empty() ? 0 : 1);
    out->append(reinterpret_cast<const char*>(column.valid.data()), column.valid.size());
    if (spec.coded) {
      EncodeCoded(*interners[c], column, batch.rows, out);
    } else if (spec.width != 0) {
      out->append(reinterpret_cast<const char*>(column.values.data()), batch.rows * static_cast<size_t>(spec.width));
    } else {
      PutFixed(out, static_cast<uint32_t>(column.values.size()));
      RawVector<uint32_t> lengths(batch.rows);
      for (size_t row = 0; row < batch.rows; ++row) lengths[row] = column.offsets[row + 1] - column.offsets[row];
      out->append(reinterpret_cast<const char*>(lengths.data()), lengths.size() * sizeof(uint32_t));
      out->append(reinterpret_cast<const char*>(column.values.data()), column.values.size());
    }
  }
}

}  // namespace

uint64_t EncodeBatch(const StoreSchema& schema, const Interners& interners, const ColumnBatch& batch,
                     std::string_view token, std::string* out) {
  out->reserve(out->size() + token.size() + batch.memory() + 4096);  // about: saves growing step by step
  PutLengthPrefixed(out, token);
  const size_t hash_at = out->size();
  PutFixed(out, uint64_t{0});
  EncodeColumns(schema, interners, batch, out);
  if (token.empty()) return 0;
  const uint64_t hash = HashBytes(std::string_view(*out).substr(hash_at + sizeof(uint64_t)), batch.rows);
  StoreAs<uint64_t>(out->data() + hash_at, hash);
  return hash;
}

bool DecodeBatch(const StoreSchema& schema, const Interners& interners, std::string_view payload, size_t rows,
                 BatchHeader* header, ColumnBatch* batch) {
  Cursor in(payload);
  if (!in.GetLengthPrefixed(&header->token) || !in.GetFixed(&header->content_hash)) return false;
  *batch = ColumnBatch();
  batch->rows = rows;
  batch->columns.resize(schema.columns.size());
  for (size_t c = 0; c < schema.columns.size(); ++c) {
    const StoreColumn& spec = schema.columns[c];
    ColumnData* column = &batch->columns[c];
    uint8_t has_nulls = 0;
    if (!in.GetFixed(&has_nulls)) return false;
    std::string_view bytes;
    if (has_nulls != 0) {
      if (!in.GetBytes(rows, &bytes)) return false;
      Fill(bytes, &column->valid);
    }
    if (spec.coded) {
      if (!DecodeCoded(interners[c].get(), &in, rows, column)) return false;
    } else if (spec.width != 0) {
      if (!in.GetBytes(rows * static_cast<size_t>(spec.width), &bytes)) return false;
      Fill(bytes, &column->values);
    } else if (!DecodeBytes(&in, rows, column)) {
      return false;
    }
  }
  return in.remaining() == 0;
}

std::pair<uint64_t, uint64_t> HashToken(std::string_view token) {
  return {HashBytes(token, kTokenSeedHigh), HashBytes(token, kTokenSeedLow)};
}

}  // namespace segue
