#include "events/manifest.h"

#include <charconv>
#include <set>
#include <utility>

#include "base/coding.h"
#include "base/crc32c.h"
#include "events/store_schema.h"

namespace segue {
namespace {

constexpr std::string_view kMagic = "SEGUEMAN";
constexpr uint32_t kVersion = 2;
constexpr size_t kStoreIdSize = 16;
constexpr size_t kHeader = 8 + 4 + 4 + 8;  // magic, version, CRC of the body, length of the body

bool GetTable(Cursor* in, uint32_t version, ManifestTable* table) {
  std::string_view first;
  std::string_view last;
  if (!in->GetFixed(&table->file_number) || !in->GetFixed(&table->file_size) || !in->GetFixed(&table->rows) ||
      !in->GetFixed(&table->min_time) || !in->GetFixed(&table->max_time) || !in->GetFixed(&table->min_seq) ||
      !in->GetFixed(&table->max_seq) || (version > 1 && !in->GetFixed(&table->visible_from)) ||
      !in->GetLengthPrefixed(&first) || !in->GetLengthPrefixed(&last)) {
    return false;
  }
  table->first_key = first;
  table->last_key = last;
  return true;
}

bool GetToken(Cursor* in, TokenEntry* token) {
  return in->GetFixed(&token->token_hi) && in->GetFixed(&token->token_lo) && in->GetFixed(&token->content_hash) &&
         in->GetFixed(&token->first) && in->GetFixed(&token->last);
}

// Body and version of a file whose frame is whole.
Status ReadFrame(const std::string& path, std::string_view bytes, uint32_t* version, std::string_view* body) {
  Cursor in(bytes);
  std::string_view magic;
  uint32_t crc = 0;
  uint64_t size = 0;
  if (!in.GetBytes(kMagic.size(), &magic) || magic != kMagic || !in.GetFixed(version)) {
    return Status::Corruption(path, 0, "'" + path + "' is not a Segue manifest (wrong magic)");
  }
  if (*version < 1 || *version > kVersion) {
    return Status::Unsupported("'" + path + "' has manifest version " + std::to_string(*version) +
                               "; this Segue reads versions 1 to " + std::to_string(kVersion) + ": upgrade Segue");
  }
  if (!in.GetFixed(&crc) || !in.GetFixed(&size) || size != in.remaining() || !in.GetBytes(size, body)) {
    return Status::Corruption(path, static_cast<int64_t>(bytes.size()), "'" + path + "' is cut short");
  }
  if (Crc32c(body->data(), body->size()) != crc) {
    return Status::Corruption(path, kHeader, "'" + path + "' fails its checksum");
  }
  return Status();
}

}  // namespace

int64_t DayWindow(const StoreSchema& schema) {
  constexpr int64_t kDaySeconds = 86400;
  switch (schema.columns[static_cast<size_t>(schema.time)].field.type.unit) {
    case TimeUnit::kSecond:
      return kDaySeconds;
    case TimeUnit::kMilli:
      return kDaySeconds * 1000;
    case TimeUnit::kMicro:
      return kDaySeconds * 1000000;
    case TimeUnit::kNano:
      break;
  }
  return kDaySeconds * 1000000000;
}

void Manifest::DropTokens(const std::vector<TokenEntry>& taken) {
  if (tokens.empty()) return;
  std::set<std::pair<uint64_t, uint64_t>> names;
  for (const TokenEntry& token : taken) names.emplace(token.token_hi, token.token_lo);
  std::erase_if(tokens, [&](const TokenEntry& token) { return names.contains({token.token_hi, token.token_lo}); });
}

std::string Manifest::Serialize() const {
  std::string body;
  PutLengthPrefixed(&body, store_id);
  PutLengthPrefixed(&body, schema);
  PutFixed(&body, window);
  PutFixed(&body, next_file);
  PutFixed(&body, flushed_seq);
  PutFixed(&body, wal_floor);
  PutFixed(&body, handoff_seq);
  PutFixed(&body, expired_before);
  PutVarint64(&body, tables.size());
  for (const ManifestTable& table : tables) {
    PutFixed(&body, table.file_number);
    PutFixed(&body, table.file_size);
    PutFixed(&body, table.rows);
    PutFixed(&body, table.min_time);
    PutFixed(&body, table.max_time);
    PutFixed(&body, table.min_seq);
    PutFixed(&body, table.max_seq);
    PutFixed(&body, table.visible_from);
    PutLengthPrefixed(&body, table.first_key);
    PutLengthPrefixed(&body, table.last_key);
  }
  PutVarint64(&body, tokens.size());
  for (const TokenEntry& token : tokens) {
    PutFixed(&body, token.token_hi);
    PutFixed(&body, token.token_lo);
    PutFixed(&body, token.content_hash);
    PutFixed(&body, token.first);
    PutFixed(&body, token.last);
  }
  std::string out(kMagic);
  PutFixed(&out, kVersion);
  PutFixed(&out, Crc32c(body.data(), body.size()));
  PutFixed(&out, static_cast<uint64_t>(body.size()));
  return out + body;
}

Result<Manifest> Manifest::Load(Env* env, const std::string& path) {
  SEGUE_ASSIGN_OR_RETURN(const std::string bytes, env->ReadFile(path));
  return Parse(path, bytes);
}

Result<Manifest> Manifest::Parse(const std::string& path, const std::string& bytes) {
  uint32_t version = 0;
  std::string_view body;
  SEGUE_RETURN_IF_ERROR(ReadFrame(path, bytes, &version, &body));
  Manifest manifest;
  Cursor fields(body);
  std::string_view id;
  std::string_view schema;
  uint64_t count = 0;
  const Status malformed = Status::Corruption(path, kHeader, "'" + path + "' is malformed");
  if (!fields.GetLengthPrefixed(&id) || id.size() != kStoreIdSize || !fields.GetLengthPrefixed(&schema)) {
    return malformed;
  }
  manifest.store_id = id;
  manifest.schema = schema;
  if (version > 1) {
    if (!fields.GetFixed(&manifest.window)) return malformed;
  } else {
    const Result<StoreSchema> parsed = StoreSchema::Parse(schema);
    if (!parsed.ok()) return malformed;
    manifest.window = DayWindow(*parsed);
  }
  if (manifest.window < 1 || !fields.GetFixed(&manifest.next_file) || !fields.GetFixed(&manifest.flushed_seq) ||
      !fields.GetFixed(&manifest.wal_floor) || !fields.GetFixed(&manifest.handoff_seq) ||
      (version > 1 && !fields.GetFixed(&manifest.expired_before)) || !fields.GetVarint64(&count) ||
      count > body.size()) {
    return malformed;
  }
  for (uint64_t i = 0; i < count; ++i) {
    ManifestTable table;
    if (!GetTable(&fields, version, &table)) return malformed;
    manifest.tables.push_back(std::move(table));
  }
  if (version == 1) return manifest;
  if (!fields.GetVarint64(&count) || count > body.size()) return malformed;
  for (uint64_t i = 0; i < count; ++i) {
    TokenEntry token;
    if (!GetToken(&fields, &token)) return malformed;
    manifest.tokens.push_back(token);
  }
  if (fields.remaining() != 0) return malformed;
  return manifest;
}

namespace {

std::string NumberedPath(const std::string& dir, const char* prefix, uint64_t number, const char* suffix) {
  std::string digits = std::to_string(number);
  if (digits.size() < 6) digits.insert(0, 6 - digits.size(), '0');
  return JoinPath(dir, prefix + digits + suffix);
}

}  // namespace

std::string WalFile(const std::string& dir, uint64_t generation) {
  return NumberedPath(dir, "wal-", generation, ".log");
}

bool ParseWalFile(const std::string& name, uint64_t* generation) {
  if (!name.starts_with("wal-") || !name.ends_with(".log")) return false;
  const char* end = name.data() + name.size() - 4;
  const auto [at, error] = std::from_chars(name.data() + 4, end, *generation);
  return error == std::errc() && at == end;
}

std::string TableFile(const std::string& dir, uint64_t number) { return NumberedPath(dir, "sst-", number, ".sst"); }

}  // namespace segue
