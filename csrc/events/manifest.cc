#include "events/manifest.h"

#include "base/coding.h"
#include "base/crc32c.h"

namespace segue {
namespace {

constexpr std::string_view kMagic = "SEGUEMAN";
constexpr uint32_t kVersion = 1;
constexpr size_t kHeader = 8 + 4 + 4 + 8;  // magic, version, CRC of the body, length of the body

bool GetTable(Cursor* in, SstMeta* table) {
  std::string_view first;
  std::string_view last;
  if (!in->GetFixed(&table->file_number) || !in->GetFixed(&table->file_size) || !in->GetFixed(&table->rows) ||
      !in->GetFixed(&table->min_time) || !in->GetFixed(&table->max_time) || !in->GetFixed(&table->min_seq) ||
      !in->GetFixed(&table->max_seq) || !in->GetLengthPrefixed(&first) || !in->GetLengthPrefixed(&last)) {
    return false;
  }
  table->first_key = first;
  table->last_key = last;
  return true;
}

}  // namespace

std::string Manifest::Serialize() const {
  std::string body;
  PutLengthPrefixed(&body, store_id);
  PutLengthPrefixed(&body, schema);
  PutFixed(&body, next_file);
  PutFixed(&body, flushed_seq);
  PutFixed(&body, wal_floor);
  PutFixed(&body, handoff_seq);
  PutVarint64(&body, tables.size());
  for (const SstMeta& table : tables) {
    PutFixed(&body, table.file_number);
    PutFixed(&body, table.file_size);
    PutFixed(&body, table.rows);
    PutFixed(&body, table.min_time);
    PutFixed(&body, table.max_time);
    PutFixed(&body, table.min_seq);
    PutFixed(&body, table.max_seq);
    PutLengthPrefixed(&body, table.first_key);
    PutLengthPrefixed(&body, table.last_key);
  }
  std::string out(kMagic);
  PutFixed(&out, kVersion);
  PutFixed(&out, Crc32c(body.data(), body.size()));
  PutFixed(&out, static_cast<uint64_t>(body.size()));
  return out + body;
}

Result<Manifest> Manifest::Load(Env* env, const std::string& path) {
  SEGUE_ASSIGN_OR_RETURN(const std::string bytes, env->ReadFile(path));
  Cursor in(bytes);
  std::string_view magic;
  uint32_t version = 0;
  uint32_t crc = 0;
  uint64_t size = 0;
  if (!in.GetBytes(kMagic.size(), &magic) || magic != kMagic || !in.GetFixed(&version)) {
    return Status::Corruption(path, 0, "'" + path + "' is not a Segue manifest (wrong magic)");
  }
  if (version != kVersion) {
    return Status::Unsupported("'" + path + "' has manifest version " + std::to_string(version) +
                               "; this Segue reads version 1: upgrade Segue");
  }
  std::string_view body;
  if (!in.GetFixed(&crc) || !in.GetFixed(&size) || size != in.remaining() || !in.GetBytes(size, &body)) {
    return Status::Corruption(path, static_cast<int64_t>(bytes.size()), "'" + path + "' is cut short");
  }
  if (Crc32c(body.data(), body.size()) != crc) {
    return Status::Corruption(path, kHeader, "'" + path + "' fails its checksum");
  }
  Manifest manifest;
  Cursor fields(body);
  std::string_view id;
  std::string_view schema;
  uint64_t count = 0;
  const Status malformed = Status::Corruption(path, kHeader, "'" + path + "' is malformed");
  if (!fields.GetLengthPrefixed(&id) || !fields.GetLengthPrefixed(&schema) || !fields.GetFixed(&manifest.next_file) ||
      !fields.GetFixed(&manifest.flushed_seq) || !fields.GetFixed(&manifest.wal_floor) ||
      !fields.GetFixed(&manifest.handoff_seq) || !fields.GetVarint64(&count) || count > body.size()) {
    return malformed;
  }
  manifest.store_id = id;
  manifest.schema = schema;
  for (uint64_t i = 0; i < count; ++i) {
    SstMeta table;
    if (!GetTable(&fields, &table)) return malformed;
    manifest.tables.push_back(std::move(table));
  }
  return manifest;
}

}  // namespace segue
