// Column batches, encodings and SSTables for the test suite.
#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <set>
#include <string>

#include "base/arrow_array.h"
#include "base/env.h"
#include "bindings/bindings.h"
#include "bindings/gil.h"
#include "events/batch_arrow.h"
#include "events/bit_pack.h"
#include "events/block_encoding.h"
#include "events/model_fitter.h"
#include "events/sstable_builder.h"
#include "events/sstable_reader.h"

namespace segue::bindings {

namespace py = pybind11;

namespace {

// A store schema with its interners, shared by whatever reads or writes rows of it.
struct Table {
  StoreSchema schema;
  Interners interners;
};

std::shared_ptr<Table> MakeTable(const py::object& schema_capsule, const std::vector<std::string>& key,
                                 const std::string& time) {
  auto table = std::make_shared<Table>();
  Schema schema = Unwrap(SchemaFromArrow(*SchemaFromCapsule(schema_capsule)));
  table->schema = Unwrap(StoreSchema::Make(std::move(schema), key, time));
  table->interners = MakeInterners(table->schema);
  return table;
}

std::vector<int> Projection(const Table& table, const std::optional<std::vector<std::string>>& columns) {
  std::vector<int> projection;
  if (!columns) {
    for (size_t c = 0; c < table.schema.columns.size(); ++c) projection.push_back(static_cast<int>(c));
    return projection;
  }
  for (const std::string& name : *columns) {
    const int c = table.schema.schema.IndexOf(name);
    if (c < 0) ThrowIfError(Status::Schema(name, "unknown column '" + name + "'"));
    projection.push_back(c);
  }
  return projection;
}

py::capsule StreamBatches(std::shared_ptr<Table> table, std::vector<ColumnBatch> batches, std::vector<int> projection,
                          const std::string& sequence_name) {
  struct State {
    std::shared_ptr<Table> table;
    std::vector<ColumnBatch> batches;
    ArrowExporter exporter;
    size_t next = 0;
  };
  auto state = std::make_shared<State>(State{
      table, std::move(batches), ArrowExporter(table->schema, table->interners, std::move(projection), sequence_name)});
  auto stream = std::make_unique<ArrowArrayStream>();
  ExportStream(
      state->exporter.schema(),
      [state](ArrowArray* out) -> Result<bool> {
        if (state->next == state->batches.size()) return false;
        SEGUE_RETURN_IF_ERROR(state->exporter.Export(std::move(state->batches[state->next++]), out));
        return true;
      },
      stream.get());
  return StreamToCapsule(stream.release());
}

std::optional<Encoding> EncodingNamed(const std::optional<std::string>& name) {
  if (!name) return std::nullopt;
  for (int e = 0; e <= static_cast<int>(Encoding::kAllNull); ++e) {
    if (*name == EncodingName(static_cast<Encoding>(e))) return static_cast<Encoding>(e);
  }
  ThrowIfError(Status::Invalid("no encoding is named '" + *name + "'"));
  return std::nullopt;
}

// A ColumnBatch that tests fill from Arrow and export again.
class TestBatch {
 public:
  TestBatch(const py::object& schema, const std::vector<std::string>& key, const std::string& time)
      : table_(MakeTable(schema, key, time)) {}

  size_t Append(const py::object& stream_capsule) {
    StreamReader reader = Unwrap(StreamReader::Make(StreamFromCapsule(stream_capsule)));
    while (auto batch = Unwrap(reader.Next())) {
      ThrowIfError(AppendArrow(table_->schema, table_->interners, reader.schema(), *batch, &batch_));
      while (batch_.seq.size() < batch_.rows) batch_.seq.push_back(batch_.seq.size() + 1);
    }
    return batch_.rows;
  }

  void SetSequences(const std::vector<uint64_t>& sequences) {
    if (sequences.size() != batch_.rows) ThrowIfError(Status::Invalid("one sequence number a row"));
    batch_.seq.assign(sequences.begin(), sequences.end());
  }

  // One column's rows as a chunk: (name of its encoding, bytes).
  py::tuple EncodeBlock(const std::string& column, size_t begin, size_t n, const std::optional<std::string>& encoding) {
    const size_t c = PlainColumn(column);
    const std::optional<Encoding> forced = EncodingNamed(encoding);
    if (begin + n > batch_.rows) ThrowIfError(Status::Invalid("the batch has fewer rows"));
    std::string bytes = "kept";  // what was there before must stay
    const Encoding chosen = Unwrap(
        encoder_.Encode(ColumnShape::Of(table_->schema.columns[c]), batch_.columns[c], begin, n, forced, &bytes));
    return py::make_tuple(EncodingName(chosen), py::bytes(bytes.substr(4)));
  }

  // A chunk of `rows` rows as a one-column arrow_array_stream capsule.
  py::capsule DecodeBlock(const std::string& column, const py::bytes& chunk, size_t rows) {
    const size_t c = PlainColumn(column);
    // An exact copy on the heap, so that a sanitizer sees a read past the end.
    const auto bytes = static_cast<std::string_view>(chunk);
    const std::vector<char> copy(bytes.begin(), bytes.end());
    ColumnBatch batch;
    batch.columns.resize(table_->schema.columns.size());
    batch.rows = rows;
    ThrowIfError(DecodeColumn(ColumnShape::Of(table_->schema.columns[c]), std::string_view(copy.data(), copy.size()),
                              rows, &batch.columns[c]));
    std::vector<ColumnBatch> batches;
    batches.push_back(std::move(batch));
    return StreamBatches(table_, std::move(batches), {static_cast<int>(c)}, "");
  }

  py::capsule Export(const std::optional<std::vector<std::string>>& columns, const std::string& sequence_name) {
    std::vector<ColumnBatch> batches;
    batches.push_back(batch_);
    return StreamBatches(table_, std::move(batches), Projection(*table_, columns), sequence_name);
  }

  size_t rows() const { return batch_.rows; }
  std::shared_ptr<Table> table() const { return table_; }
  const ColumnBatch& batch() const { return batch_; }

  // The column of plain values with this name.
  size_t PlainColumn(const std::string& name) const {
    const int c = table_->schema.schema.IndexOf(name);
    if (c < 0 || table_->schema.columns[static_cast<size_t>(c)].coded) {
      ThrowIfError(Status::Schema(name, "'" + name + "' is no column of plain values"));
    }
    return static_cast<size_t>(c);
  }

 private:
  std::shared_ptr<Table> table_;
  ColumnBatch batch_;
  ColumnEncoder encoder_;
};

// One column of a batch as blocks of an SSTable, encoded and decoded again by each call.
class ColumnBlocks {
 public:
  ColumnBlocks(const TestBatch& batch, const std::string& column, size_t block_rows,
               const std::optional<std::string>& encoding)
      : batch_(batch), column_(batch.PlainColumn(column)), block_rows_(block_rows) {
    if (block_rows == 0 || block_rows > kMaxBlockRows) ThrowIfError(Status::Invalid("impossible blocks"));
    if (encoding == EncodingName(Encoding::kModelled)) {
      FitModel();
    } else {
      forced_ = EncodingNamed(encoding);
    }
    Encode();
  }

  void Encode() {
    const ColumnBatch& all = batch_.batch();
    const ColumnShape shape = Shape();
    chosen_.clear();
    bytes_.clear();
    ends_.clear();
    Status status;
    {
      const GilRelease release;
      for (size_t begin = 0; begin < all.rows && status.ok(); begin += block_rows_) {
        const size_t n = std::min(block_rows_, all.rows - begin);
        const Result<Encoding> chosen =
            encoder_.Encode(shape, all.columns[column_], begin, n, forced_, &bytes_, {fitted_});
        status = chosen.status();
        if (status.ok()) chosen_.insert(EncodingName(*chosen));
        ends_.push_back(bytes_.size());
      }
    }
    ThrowIfError(status);
  }

  void Decode() {
    const ColumnShape shape = Shape();
    Status status;
    {
      const GilRelease release;
      size_t rows = batch_.batch().rows;
      size_t begin = 0;
      for (const size_t end : ends_) {
        const size_t n = std::min(block_rows_, rows);
        status = DecodeColumn(shape, std::string_view(bytes_).substr(begin, end - begin), n, &decoded_, context_);
        if (!status.ok()) break;
        rows -= n;
        begin = end;
      }
    }
    ThrowIfError(status);
  }

  // The values of a block, of a fixed width.
  py::bytes Decoded(size_t block) {
    const py::bytes chunk = Chunk(block);
    const size_t n = std::min(block_rows_, batch_.batch().rows - block * block_rows_);
    ThrowIfError(DecodeColumn(Shape(), static_cast<std::string_view>(chunk), n, &decoded_, context_));
    return py::bytes(reinterpret_cast<const char*>(decoded_.values.data()), decoded_.values.size());
  }

  py::bytes Chunk(size_t block) const {
    if (block >= ends_.size()) throw py::index_error("there are " + std::to_string(ends_.size()) + " blocks");
    const size_t begin = block == 0 ? 0 : ends_[block - 1];
    return py::bytes(bytes_.data() + begin, ends_[block] - begin);
  }

  const std::set<std::string>& encodings() const { return chosen_; }
  size_t blocks() const { return ends_.size(); }
  size_t bytes() const { return bytes_.size(); }

 private:
  void FitModel() {
    const ColumnBatch& all = batch_.batch();
    const StoreSchema& schema = batch_.table()->schema;
    ModelFitter fitter(&schema, all.rows, ModelFitter::kWorthOfMerge);
    fitter.AddStretch(all);
    fitter.EndSample();
    fitter.Count(all, 0, all.rows);
    models_ = fitter.Fit();
    fitted_ = models_ ? models_->Of(column_) : nullptr;
    if (fitted_ == nullptr || fitted_->foretold != Foretold::kByNothing) {
      ThrowIfError(Status::Invalid("a column that nothing foretells is wanted"));
    }
    // A model encodes as it was fitted, and decodes as it was read.
    std::string bytes;
    models_->Serialize(&bytes);
    parsed_ = Unwrap(TableModels::Parse(schema, bytes));
    context_ = {{parsed_->Of(column_)}, &coder_};
  }

  ColumnShape Shape() const { return ColumnShape::Of(batch_.table()->schema.columns[column_]); }

  const TestBatch& batch_;
  const size_t column_;
  const size_t block_rows_;
  std::optional<Encoding> forced_;
  std::shared_ptr<const TableModels> models_;
  const ValueModel* fitted_ = nullptr;
  std::unique_ptr<TableModels> parsed_;
  ModelCoder coder_;
  DecodeContext context_;
  ColumnEncoder encoder_;
  std::set<std::string> chosen_;
  std::string bytes_;
  std::vector<size_t> ends_;
  ColumnData decoded_;
};

void BindBatch(py::module_& testing) {
  py::class_<TestBatch>(testing, "Batch", "Rows of an event table in memory, from Arrow and back.")
      .def(py::init<const py::object&, const std::vector<std::string>&, const std::string&>(), py::arg("schema"),
           py::arg("key"), py::arg("time"), "`schema` is an arrow_schema capsule.")
      .def("append", &TestBatch::Append, py::arg("stream"), "Appends an arrow_array_stream capsule; all rows so far.")
      .def("export", &TestBatch::Export, py::arg("columns") = py::none(), py::arg("sequence_name") = "",
           "The rows as an arrow_array_stream capsule.")
      .def("set_sequences", &TestBatch::SetSequences, py::arg("sequences"))
      .def("encode_block", &TestBatch::EncodeBlock, py::arg("column"), py::arg("begin"), py::arg("n"),
           py::arg("encoding") = py::none(), "Rows of a column as (encoding, bytes).")
      .def("decode_block", &TestBatch::DecodeBlock, py::arg("column"), py::arg("chunk"), py::arg("rows"))
      .def_property_readonly("rows", &TestBatch::rows);
  py::class_<ColumnBlocks>(testing, "ColumnBlocks", "A column as encoded blocks, made anew by each call.")
      .def(py::init<const TestBatch&, const std::string&, size_t, const std::optional<std::string>&>(),
           py::arg("batch"), py::arg("column"), py::arg("block_rows"), py::arg("encoding") = py::none(),
           py::keep_alive<1, 2>())
      .def("encode", &ColumnBlocks::Encode)
      .def("decode", &ColumnBlocks::Decode)
      .def("chunk", &ColumnBlocks::Chunk, py::arg("block"))
      .def("decoded", &ColumnBlocks::Decoded, py::arg("block"))
      .def_property_readonly("encodings", &ColumnBlocks::encodings)
      .def_property_readonly("blocks", &ColumnBlocks::blocks)
      .def_property_readonly("nbytes", &ColumnBlocks::bytes);
}

py::dict MetaDict(const SstMeta& meta) {
  py::dict out;
  out["file_number"] = meta.file_number;
  out["file_size"] = meta.file_size;
  out["rows"] = meta.rows;
  out["min_time"] = meta.min_time;
  out["max_time"] = meta.max_time;
  out["min_seq"] = meta.min_seq;
  out["max_seq"] = meta.max_seq;
  out["first_key"] = py::bytes(meta.first_key);
  out["last_key"] = py::bytes(meta.last_key);
  return out;
}

// A reader with the schema and interners that it borrows. Without `like`, the file's own schema.
class TestReader {
 public:
  TestReader(const std::string& path, const TestBatch* like) {
    if (like == nullptr) {
      table_ = std::make_shared<Table>();
      table_->schema = Unwrap(SstReader::ReadSchema(Env::Posix(), path));
      table_->interners = MakeInterners(table_->schema);
    } else {
      table_ = like->table();
    }
    reader_ = Unwrap(SstReader::Open(Env::Posix(), path, &table_->schema, &table_->interners));
  }

  py::capsule Read(const std::optional<std::vector<std::string>>& columns, const std::string& sequence_name,
                   const std::optional<std::vector<size_t>>& blocks) const {
    std::vector<int> projection = Projection(*table_, columns);
    std::vector<bool> wanted(table_->schema.columns.size());
    for (const int c : projection) wanted[static_cast<size_t>(c)] = true;
    std::vector<ColumnBatch> batches;
    const size_t n = blocks ? blocks->size() : reader_->blocks().size();
    Status status;
    {
      const GilRelease unlocked;
      EncodedBlock scratch;
      for (size_t i = 0; i < n && status.ok(); ++i) {
        batches.emplace_back();
        status = reader_->ReadBlock(blocks ? (*blocks)[i] : i, wanted, &scratch, &batches.back());
      }
    }
    ThrowIfError(status);
    return StreamBatches(table_, std::move(batches), std::move(projection), sequence_name);
  }

  py::dict Info() const {
    py::dict out = MetaDict(reader_->meta());
    out["bloom_bytes"] = reader_->bloom().bytes();
    out["bloom_keys"] = reader_->bloom().added();
    out["false_positive_rate"] = reader_->bloom().FalsePositiveRate();
    py::list tokens;
    for (const TokenEntry& t : reader_->tokens()) {
      tokens.append(py::make_tuple(t.token_hi, t.token_lo, t.content_hash, t.first, t.last));
    }
    out["tokens"] = tokens;
    py::list blocks;
    for (size_t i = 0; i < reader_->blocks().size(); ++i) {
      const BlockInfo& block = reader_->blocks()[i];
      py::dict entry;
      entry["offset"] = block.offset;
      entry["size"] = block.size;
      entry["rows"] = block.rows;
      entry["min_time"] = block.min_time;
      entry["max_time"] = block.max_time;
      entry["min_seq"] = block.min_seq;
      entry["max_seq"] = block.max_seq;
      entry["first_key"] = py::bytes(block.first_key);
      entry["last_key"] = py::bytes(block.last_key);
      py::list chunks;
      for (const SstReader::ChunkInfo& chunk : Unwrap(reader_->DescribeBlock(i))) {
        chunks.append(py::make_tuple(chunk.encoding, chunk.size));
      }
      entry["chunks"] = chunks;
      blocks.append(entry);
    }
    out["blocks"] = blocks;
    return out;
  }

  void Verify() const {
    Status status;
    {
      const GilRelease unlocked;
      status = reader_->Verify();
    }
    ThrowIfError(status);
  }

  // Whether the bloom filter takes the key of a row of `batch` for present.
  bool MayContainKey(const TestBatch& batch, size_t row) const {
    if (row >= batch.batch().rows) ThrowIfError(Status::Invalid("the batch has fewer rows"));
    std::string key;
    EncodeKey(table_->schema, batch.batch(), row, &key);
    return reader_->MayContainKey(KeyHash(key));
  }

 private:
  std::shared_ptr<Table> table_;
  std::unique_ptr<SstReader> reader_;
};

// Writes a batch as an SSTable, handing it over `piece` rows at a time.
py::dict WriteSstable(const std::string& path, const TestBatch& batch,
                      const std::vector<std::array<uint64_t, 5>>& tokens, uint64_t file_number, size_t piece,
                      const SstOptions& options, bool models) {
  const std::shared_ptr<Table> table = batch.table();
  auto write = [&]() -> Result<SstMeta> {
    const ColumnBatch& all = batch.batch();
    std::shared_ptr<const TableModels> fitted;
    if (models && all.rows > 0) {
      ModelFitter fitter(&table->schema, all.rows, ModelFitter::kWorthOfMerge);
      fitter.AddStretch(all);
      fitter.EndSample();
      fitter.AddArrivals(all.columns[static_cast<size_t>(table->schema.time)], all.seq, 0, all.rows,
                         std::numeric_limits<int64_t>::min());
      fitter.Count(all, 0, all.rows);
      fitted = fitter.Fit();
    }
    SEGUE_ASSIGN_OR_RETURN(auto builder, SstBuilder::Create(Env::Posix(), path, file_number, &table->schema,
                                                            &table->interners, options, std::move(fitted)));
    for (size_t begin = 0; begin < all.rows; begin += piece) {
      if (piece >= all.rows) {
        SEGUE_RETURN_IF_ERROR(builder->Add(all));
        break;
      }
      ColumnBatch part;
      AppendRows(table->schema, all, begin, std::min(all.rows, begin + piece), {}, &part);
      SEGUE_RETURN_IF_ERROR(builder->Add(part));
    }
    std::vector<TokenEntry> entries;
    for (const auto& t : tokens) entries.push_back({t[0], t[1], t[2], t[3], t[4]});
    return builder->Finish(entries);
  };
  Result<SstMeta> meta = Status::Invalid("not written");
  {
    const GilRelease unlocked;
    meta = write();
  }
  return MetaDict(Unwrap(std::move(meta)));
}

void BindTables(py::module_& testing) {
  py::class_<TestReader>(testing, "SstReader", "An SSTable opened for reading.")
      .def(py::init<const std::string&, const TestBatch*>(), py::arg("path"), py::arg("like") = py::none(),
           "`like`: a Batch whose schema the file must have, and whose interners it shares.")
      .def("read", &TestReader::Read, py::arg("columns") = py::none(), py::arg("sequence_name") = "",
           py::arg("blocks") = py::none())
      .def("info", &TestReader::Info)
      .def("verify", &TestReader::Verify)
      .def("may_contain_key", &TestReader::MayContainKey, py::arg("batch"), py::arg("row"));
  testing.def(
      "write_sstable",
      [](const std::string& path, const TestBatch& batch, const std::vector<std::array<uint64_t, 5>>& tokens,
         uint64_t file_number, size_t piece, size_t block_rows, size_t block_bytes, double bits, bool models) {
        SstOptions options;
        options.block_rows = block_rows;
        options.block_bytes = block_bytes;
        options.bloom_bits_per_key = bits;
        return WriteSstable(path, batch, tokens, file_number, std::max<size_t>(piece, 1), options, models);
      },
      py::arg("path"), py::arg("batch"), py::arg("tokens") = py::list(), py::arg("file_number") = 1,
      py::arg("piece") = size_t{1} << 30, py::arg("block_rows") = SstOptions().block_rows,
      py::arg("block_bytes") = SstOptions().block_bytes, py::arg("bloom_bits_per_key") = 10.0, py::arg("models") = true,
      "Writes a sorted Batch and gives the file's meta data.");
  testing.def(
      "pack_bits",
      [](const std::vector<uint64_t>& values, uint64_t base, int width) {
        std::string out;
        PackBits(values.data(), values.size(), base, width, &out);
        return py::bytes(out);
      },
      py::arg("values"), py::arg("base"), py::arg("width"));
  testing.def(
      "unpack_bits",
      [](const py::bytes& packed, size_t n, int width, uint64_t base, bool scalar) {
        const auto view = static_cast<std::string_view>(packed);
        const std::vector<uint8_t> bytes(view.begin(), view.end());
        if (width < 0 || width > 64 || bytes.size() < PackedBytes(n, width)) {
          ThrowIfError(Status::Invalid("too few bytes"));
        }
        std::vector<uint64_t> out(n);
        if (scalar) {
          UnpackBitsScalar(bytes.data(), n, width, base, out.data());
        } else {
          UnpackBits<uint64_t>(bytes.data(), bytes.size(), n, width, base, out.data());
        }
        return out;
      },
      py::arg("packed"), py::arg("n"), py::arg("width"), py::arg("base"), py::arg("scalar"));
}

}  // namespace

void BindSstable(py::module_& m) {
  py::module_ testing = m.def_submodule("testing", "Seams for the test suite; not part of the API.");
  BindBatch(testing);
  BindTables(testing);
  BindBloom(m);
}

}  // namespace segue::bindings
