#include "events/sstable_reader.h"

#include <algorithm>
#include <cstring>

#include "base/cpu.h"
#include "base/crc32c.h"
#include "base/process.h"
#include "base/utf8.h"
#include "events/block_encoding.h"
#include "events/skiplist.h"

namespace segue {

namespace {

// The end of a file that Open reads at once: holds the footer and usually the index.
constexpr uint64_t kEndRead = 64 << 10;

std::string Describe(const StoreSchema& schema) {
  std::string text;
  for (const StoreColumn& column : schema.columns) {
    if (!text.empty()) text += ", ";
    text += column.field.name + " " + TypeName(column.field.type) + (column.field.nullable ? "" : " not null");
  }
  text += "; key";
  for (const int c : schema.key) text += " " + schema.columns[static_cast<size_t>(c)].field.name;
  return text + "; time " + schema.columns[static_cast<size_t>(schema.time)].field.name;
}

Status DamagedAt(const std::string& path, uint64_t offset, const std::string& what) {
  return Status::Corruption(path, static_cast<int64_t>(offset),
                            "'" + path + "' is damaged at byte " + std::to_string(offset) + ": " + what);
}

Status DamagedFile(const RandomAccessFile& file, uint64_t offset, const std::string& what) {
  return DamagedAt(file.path(), offset, what);
}

constexpr uint64_t kLeastSize = sizeof(sst::kMagic) + sst::kTailSize;

// Reads and checks the footer, which begins at *offset.
Status ReadFooter(const RandomAccessFile& file, sst::Footer* footer, uint64_t* offset) {
  const uint64_t size = file.size();
  if (size < kLeastSize) {
    return DamagedFile(file, 0, "an SSTable has more than its " + std::to_string(size) + " bytes");
  }
  char magic[sizeof(sst::kMagic)];
  SEGUE_RETURN_IF_ERROR(file.Read(0, sizeof(magic), magic));
  if (std::memcmp(magic, sst::kMagic, sizeof(magic)) != 0) {
    return DamagedFile(file, 0, "it does not begin like an SSTable");
  }
  const uint64_t end_size = std::min(size, kEndRead);
  std::string end(end_size, '\0');
  SEGUE_RETURN_IF_ERROR(file.Read(size - end_size, end_size, end.data()));
  const uint64_t tail_offset = size - sst::kTailSize;
  const Result<sst::Tail> tail = sst::ParseTail(std::string_view(end).substr(end_size - sst::kTailSize));
  if (!tail.ok()) return DamagedFile(file, tail_offset, tail.status().message());
  if (tail->footer_size > size - kLeastSize) {
    return DamagedFile(file, tail_offset, "its footer is larger than the file");
  }
  *offset = tail_offset - tail->footer_size;
  std::string bytes(tail->footer_size, '\0');
  if (tail->footer_size + sst::kTailSize <= end_size) {
    bytes = end.substr(end_size - sst::kTailSize - tail->footer_size, tail->footer_size);
  } else {
    SEGUE_RETURN_IF_ERROR(file.Read(*offset, bytes.size(), bytes.data()));
  }
  if (sst::FooterCrc(bytes, *tail) != tail->crc) return DamagedFile(file, *offset, "the footer's checksum differs");
  if (tail->version < sst::kVersion || tail->version > sst::kModelsVersion) {
    return Status::Unsupported("'" + file.path() + "' has version " + std::to_string(tail->version) +
                               " of the SSTable format; this build reads versions " + std::to_string(sst::kVersion) +
                               " and " + std::to_string(sst::kModelsVersion) + ": upgrade segue");
  }
  Result<sst::Footer> parsed = sst::ParseFooter(bytes, tail->version);
  if (!parsed.ok()) return DamagedFile(file, *offset, parsed.status().message());
  *footer = parsed.Take();
  footer->meta.file_size = size;
  return Status();
}

}  // namespace

SstReader::SstReader(std::string path, SstResources resources, const StoreSchema* schema, const Interners* interners)
    : path_(std::move(path)),
      resources_(std::move(resources)),
      schema_(schema),
      interners_(interners),
      fork_(ForkGeneration()),
      code_maps_(schema->columns.size()) {
  int next = 0;
  for (const StoreColumn& column : schema->columns) dictionary_of_.push_back(column.coded ? next++ : -1);
  if (resources_.cache) cache_table_ = resources_.cache->NewTable();
}

SstReader::~SstReader() {
  // A forked child has the locks as they were: a thread that it does not have may hold one for ever.
  if (ForkGeneration() != fork_) return;
  resources_.files->Close(path_);
}

Result<std::unique_ptr<SstReader>> SstReader::Open(Env* env, const std::string& path, const StoreSchema* schema,
                                                   const Interners* interners, SstResources resources) {
  SEGUE_RETURN_IF_ERROR(ActiveIsa().status());
  if (!resources.files)
    resources.files = std::make_shared<OpenFiles>(std::shared_ptr<Env>(std::shared_ptr<Env>(), env), 1);
  SEGUE_ASSIGN_OR_RETURN(const OpenFiles::File file, resources.files->Get(path));
  std::unique_ptr<SstReader> reader(new SstReader(path, std::move(resources), schema, interners));
  SEGUE_RETURN_IF_ERROR(reader->ReadParts(*file, &reader->parts_));
  return reader;
}

Result<StoreSchema> SstReader::ReadSchema(Env* env, const std::string& path) {
  SEGUE_ASSIGN_OR_RETURN(const std::unique_ptr<RandomAccessFile> file, env->NewRandomAccessFile(path));
  sst::Footer footer;
  uint64_t offset = 0;
  SEGUE_RETURN_IF_ERROR(ReadFooter(*file, &footer, &offset));
  Result<StoreSchema> schema = StoreSchema::Parse(footer.schema);
  if (!schema.ok()) return DamagedFile(*file, offset, schema.status().message());
  return schema;
}

Status SstReader::Damaged(uint64_t offset, const std::string& what) const { return DamagedAt(path_, offset, what); }

Status SstReader::ReadParts(const RandomAccessFile& file, Parts* parts) const {
  uint64_t footer_offset = 0;
  SEGUE_RETURN_IF_ERROR(ReadFooter(file, &parts->footer, &footer_offset));
  if (parts->footer.schema != schema_->Serialize()) {
    const Result<StoreSchema> other = StoreSchema::Parse(parts->footer.schema);
    if (!other.ok()) return Damaged(footer_offset, other.status().message());
    return Damaged(footer_offset, "it was written for another table: it has " + Describe(*other) + "; the table has " +
                                      Describe(*schema_));
  }

  // The parts must follow each other without a gap, up to the footer.
  std::vector<sst::Section> sections;
  for (const sst::Dictionary& dictionary : parts->footer.dictionaries) sections.push_back(dictionary.section);
  if (parts->footer.version >= sst::kModelsVersion) sections.push_back(parts->footer.models);
  sections.push_back(parts->footer.bloom);
  sections.push_back(parts->footer.tokens);
  sections.push_back(parts->footer.index);
  uint64_t next = sections.front().offset;
  for (const sst::Section& section : sections) {
    if (section.offset != next || section.size <= sst::kCrcSize ||
        section.size > footer_offset - std::min(next, footer_offset)) {
      return Damaged(footer_offset, "its sections do not follow each other");
    }
    next += section.size;
  }
  if (next != footer_offset) return Damaged(footer_offset, "its sections do not end at the footer");
  const auto coded = static_cast<size_t>(
      std::count_if(schema_->columns.begin(), schema_->columns.end(), [](const StoreColumn& c) { return c.coded; }));
  if (parts->footer.dictionaries.size() != coded) return Damaged(footer_offset, "it has too few or many dictionaries");

  std::string body;
  SEGUE_RETURN_IF_ERROR(ReadSection(file, parts->footer.bloom, "bloom filter", &body));
  Result<BloomFilter> bloom = BloomFilter::Parse(body);
  if (!bloom.ok()) return Damaged(parts->footer.bloom.offset, bloom.status().message());
  parts->bloom = bloom.Take();

  SEGUE_RETURN_IF_ERROR(ReadSection(file, parts->footer.tokens, "tokens", &body));
  Result<std::vector<TokenEntry>> tokens = sst::ParseTokens(body);
  if (!tokens.ok()) return Damaged(parts->footer.tokens.offset, tokens.status().message());
  parts->tokens = tokens.Take();
  return ReadIndex(file, sections.front().offset, parts);
}

Status SstReader::ReadIndex(const RandomAccessFile& file, uint64_t blocks_end, Parts* parts) const {
  const uint64_t at = parts->footer.index.offset;
  std::string body;
  SEGUE_RETURN_IF_ERROR(ReadSection(file, parts->footer.index, "index", &body));
  const SstMeta& meta = parts->footer.meta;
  const size_t chunks = schema_->columns.size() + 1;
  if (parts->footer.blocks == 0 || parts->footer.blocks > body.size())
    return Damaged(at, "the index's number of blocks");
  parts->blocks.resize(parts->footer.blocks);
  parts->chunk_ends.reserve(parts->footer.blocks * chunks);
  parts->last_prefixes.reserve(parts->footer.blocks);
  Cursor in(body);
  uint64_t offset = sizeof(sst::kMagic);
  uint64_t rows = 0;
  for (BlockInfo& block : parts->blocks) {
    if (!sst::ParseIndexEntry(&in, chunks, &offset, &block, &parts->chunk_ends)) {
      return Damaged(at, "an entry of the index is cut off or out of range");
    }
    rows += block.rows;
    parts->last_prefixes.push_back(KeyPrefix(block.last_key));
  }
  if (in.remaining() != 0 || rows != meta.rows) return Damaged(at, "the index does not have the file's rows");
  if (offset != blocks_end) return Damaged(at, "the index does not cover the file's blocks");
  return Status();
}

Status SstReader::ReadSection(const RandomAccessFile& file, const sst::Section& section, const char* what,
                              std::string* out) const {
  out->resize(section.size);
  SEGUE_RETURN_IF_ERROR(file.Read(section.offset, section.size, out->data()));
  const size_t size = section.size - sst::kCrcSize;
  if (Crc32c(out->data(), size) != LoadAs<uint32_t>(out->data() + size)) {
    return Damaged(section.offset, std::string("the checksum of its ") + what + " differs");
  }
  out->resize(size);
  return Status();
}

Status SstReader::ReadStrings(size_t column, std::string* bytes, std::vector<std::string_view>* strings) const {
  const sst::Dictionary& dictionary = parts_.footer.dictionaries[static_cast<size_t>(dictionary_of_[column])];
  SEGUE_ASSIGN_OR_RETURN(const OpenFiles::File file, resources_.files->Get(path_));
  SEGUE_RETURN_IF_ERROR(ReadSection(*file, dictionary.section, "dictionary", bytes));
  const Status status = DecodeStrings(*bytes, dictionary.entries, strings);
  if (!status.ok()) return Damaged(dictionary.section.offset, status.message());
  for (const std::string_view string : *strings) {
    if (!IsUtf8(string)) return Damaged(dictionary.section.offset, "a dictionary's string is not UTF-8");
  }
  return Status();
}

Status SstReader::ReadCodes(size_t column, const std::vector<int32_t>** codes) const {
  CodeMap& map = code_maps_[column];
  if (!map.ready.load(std::memory_order_acquire)) {
    const std::lock_guard lock(map.mutex);
    if (!map.ready.load(std::memory_order_relaxed)) {
      std::string bytes;
      std::vector<std::string_view> strings;
      SEGUE_RETURN_IF_ERROR(ReadStrings(column, &bytes, &strings));
      (*interners_)[column]->InternMany(strings, &map.codes);
      map.ready.store(true, std::memory_order_release);
    }
  }
  *codes = &map.codes;
  return Status();
}

Result<std::unique_ptr<TableModels>> SstReader::ReadModels() const {
  const sst::Section& section = parts_.footer.models;
  SEGUE_ASSIGN_OR_RETURN(const OpenFiles::File file, resources_.files->Get(path_));
  std::string bytes;
  SEGUE_RETURN_IF_ERROR(ReadSection(*file, section, "models", &bytes));
  Result<std::unique_ptr<TableModels>> models = TableModels::Parse(*schema_, bytes);
  if (!models.ok()) return Damaged(section.offset, models.status().message());
  return models;
}

Status SstReader::Models(const TableModels** models) const {
  *models = models_ready_.load(std::memory_order_acquire);
  if (*models != nullptr || parts_.footer.version < sst::kModelsVersion) return Status();
  const std::lock_guard lock(models_mutex_);
  if (!models_) {
    SEGUE_ASSIGN_OR_RETURN(models_, ReadModels());
    models_ready_.store(models_.get(), std::memory_order_release);
  }
  *models = models_.get();
  return Status();
}

Status SstReader::VerifyZoneMap(size_t block, const ColumnBatch& rows) const {
  const BlockInfo& info = parts_.blocks[block];
  int64_t min_time = TimeAt(*schema_, rows, 0);
  int64_t max_time = min_time;
  uint64_t min_seq = rows.seq[0];
  uint64_t max_seq = min_seq;
  for (size_t row = 1; row < rows.rows; ++row) {
    min_time = std::min(min_time, TimeAt(*schema_, rows, row));
    max_time = std::max(max_time, TimeAt(*schema_, rows, row));
    min_seq = std::min(min_seq, rows.seq[row]);
    max_seq = std::max(max_seq, rows.seq[row]);
  }
  std::string first_key;
  std::string last_key;
  EncodeKey(*schema_, rows, 0, &first_key);
  EncodeKey(*schema_, rows, rows.rows - 1, &last_key);
  const SstMeta& meta = parts_.footer.meta;
  if (min_time != info.min_time || max_time != info.max_time || min_seq != info.min_seq || max_seq != info.max_seq ||
      first_key != info.first_key || last_key != info.last_key) {
    return Damaged(info.offset, "block " + std::to_string(block) + " does not have the rows that the index says");
  }
  if (min_time < meta.min_time || max_time > meta.max_time || min_seq < meta.min_seq || max_seq > meta.max_seq ||
      first_key < meta.first_key || last_key > meta.last_key) {
    return Damaged(info.offset, "block " + std::to_string(block) + " is outside the range that the footer says");
  }
  return Status();
}

// A read relies on the checksum; this finds what a wrong writer may have put behind it.
Status SstReader::VerifyText(size_t block, const ColumnBatch& rows) const {
  for (size_t c = 0; c < schema_->columns.size(); ++c) {
    const StoreColumn& column = schema_->columns[c];
    if (column.width != 0 || column.field.type.id == TypeId::kBinary) continue;
    for (size_t row = 0; row < rows.rows; ++row) {
      if (IsUtf8(rows.columns[c].Bytes(row))) continue;
      return Damaged(parts_.blocks[block].offset + ChunkBegin(block, c),
                     ChunkName(c) + " has a string that is not UTF-8 in block " + std::to_string(block));
    }
  }
  return Status();
}

Status SstReader::Verify() const {
  Parts again;
  {
    SEGUE_ASSIGN_OR_RETURN(const OpenFiles::File file, resources_.files->Get(path_));
    SEGUE_RETURN_IF_ERROR(ReadParts(*file, &again));
  }
  for (size_t c = 0; c < schema_->columns.size(); ++c) {
    if (dictionary_of_[c] < 0) continue;
    std::string bytes;
    std::vector<std::string_view> strings;
    SEGUE_RETURN_IF_ERROR(ReadStrings(c, &bytes, &strings));
  }
  if (again.footer.version >= sst::kModelsVersion) SEGUE_RETURN_IF_ERROR(ReadModels().status());
  ColumnBatch rows;
  EncodedBlock scratch;
  for (size_t block = 0; block < parts_.blocks.size(); ++block) {
    SEGUE_RETURN_IF_ERROR(ReadBlock(block, {}, &scratch, &rows));
    SEGUE_RETURN_IF_ERROR(VerifyZoneMap(block, rows));
    SEGUE_RETURN_IF_ERROR(VerifyText(block, rows));
  }
  return Status();
}

Result<std::vector<SstReader::ChunkInfo>> SstReader::DescribeBlock(size_t block) const {
  if (block >= parts_.blocks.size()) return Status::Invalid("no block " + std::to_string(block));
  SEGUE_ASSIGN_OR_RETURN(const OpenFiles::File file, resources_.files->Get(path_));
  std::vector<ChunkInfo> infos;
  for (size_t c = 0; c <= schema_->columns.size(); ++c) {
    uint8_t tag = 0;
    SEGUE_RETURN_IF_ERROR(file->Read(parts_.blocks[block].offset + ChunkBegin(block, c), 1, &tag));
    infos.push_back({EncodingName(static_cast<Encoding>(tag)), ChunkEnd(block, c) - ChunkBegin(block, c)});
  }
  return infos;
}

}  // namespace segue
