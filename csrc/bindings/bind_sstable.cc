// The bloom filter, and the SSTable for the test suite.
#include <optional>

#include "base/arrow_array.h"
#include "bindings/bindings.h"
#include "events/batch_arrow.h"

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

  py::capsule Export(const std::optional<std::vector<std::string>>& columns, const std::string& sequence_name) {
    std::vector<ColumnBatch> batches;
    batches.push_back(batch_);
    return StreamBatches(table_, std::move(batches), Projection(*table_, columns), sequence_name);
  }

  size_t rows() const { return batch_.rows; }
  std::shared_ptr<Table> table() const { return table_; }
  const ColumnBatch& batch() const { return batch_; }

 private:
  std::shared_ptr<Table> table_;
  ColumnBatch batch_;
};

void BindBatch(py::module_& testing) {
  py::class_<TestBatch>(testing, "Batch", "Rows of an event table in memory, from Arrow and back.")
      .def(py::init<const py::object&, const std::vector<std::string>&, const std::string&>(), py::arg("schema"),
           py::arg("key"), py::arg("time"), "`schema` is an arrow_schema capsule.")
      .def("append", &TestBatch::Append, py::arg("stream"), "Appends an arrow_array_stream capsule; all rows so far.")
      .def("export", &TestBatch::Export, py::arg("columns") = py::none(), py::arg("sequence_name") = "",
           "The rows as an arrow_array_stream capsule.")
      .def_property_readonly("rows", &TestBatch::rows);
}

}  // namespace

void BindSstable(py::module_& m) {
  py::module_ testing = m.def_submodule("testing", "Seams for the test suite; not part of the API.");
  BindBatch(testing);
}

}  // namespace segue::bindings
