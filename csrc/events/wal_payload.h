// What a WAL record carries: one packed row, or one batch as columns.
//
//   row record    the packed row (row_format.h)
//   batch record  token (length-prefixed; empty: none), u64 content hash, then
//                 for each column: u8 has_nulls, [rows validity bytes], and
//                   fixed   rows * width bytes
//                   bytes   u32 total, u32 lengths[rows], the bytes
//                   coded   u32 distinct, length-prefixed strings in order of
//                           first use, then u32 local codes[rows]
//
// A record stands alone: it carries the dictionary strings that it uses, so
// replay needs no other file. Local codes follow first use, so that equal
// content has equal bytes; the content hash of a tokened batch relies on it.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "base/status.h"
#include "events/column_batch.h"

namespace segue {

struct BatchHeader {
  std::string_view token;
  uint64_t content_hash = 0;
};

// The batch record of `batch`; returns its content hash, 0 without a token.
uint64_t EncodeBatch(const StoreSchema& schema, const Interners& interners, const ColumnBatch& batch,
                     std::string_view token, std::string* out);

// Decodes a batch record of `rows` rows. False when the bytes do not fit the schema.
bool DecodeBatch(const StoreSchema& schema, const Interners& interners, std::string_view payload, size_t rows,
                 BatchHeader* header, ColumnBatch* batch);

// What the store keeps of a token: 128 bits of the caller's string.
std::pair<uint64_t, uint64_t> HashToken(std::string_view token);

}  // namespace segue
