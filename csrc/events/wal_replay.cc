#include "events/wal_replay.h"

#include <memory>
#include <utility>

#include "events/wal_payload.h"

namespace segue {

Status ReplayRecord(const StoreCore& core, const WalRecord& record, const std::string& path, Memtable* memtable,
                    std::optional<TokenEntry>* token) {
  token->reset();
  const auto malformed = [&] {
    return Status::Corruption(
        path, static_cast<int64_t>(record.offset),
        "'" + path + "': the record at offset " + std::to_string(record.offset) + " does not fit the schema");
  };
  if (record.type == WalRecordType::kRows) {
    if (record.count != 1 || !core.format.Check(record.payload).ok()) return malformed();
    const auto* row = reinterpret_cast<const uint8_t*>(record.payload.data());
    std::string key;
    core.format.EncodeRowKey(row, &key);
    memtable->AddRow(key, core.format.TimeAt(row), record.first_seq, record.payload);
    return {};
  }
  BatchHeader header;
  ColumnBatch batch;
  if (!DecodeBatch(core.schema, core.interners, record.payload, record.count, &header, &batch) || batch.rows == 0) {
    return malformed();
  }
  auto rows = std::make_shared<MemtableBatch>(core.schema, std::move(batch));
  rows->SetFirstSequence(record.first_seq);
  memtable->AddBatch(std::move(rows));
  if (!header.token.empty()) {
    const auto [high, low] = HashToken(header.token);
    *token = TokenEntry{high, low, header.content_hash, record.first_seq, record.first_seq + record.count - 1};
  }
  return {};
}

}  // namespace segue
