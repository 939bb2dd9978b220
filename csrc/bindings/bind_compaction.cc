// _engine.testing: windows and the choice of merges, for property tests.
#include <pybind11/stl.h>

#include "base/env.h"
#include "base/env_mem.h"
#include "bindings/bindings.h"
#include "events/compaction_picker.h"
#include "events/time_windows.h"

namespace segue::bindings {

namespace py = pybind11;

namespace {

constexpr const char* kTable =
    "A table is (number, bytes, rows, min_time, max_time, min_seq, max_seq, visible_from, first_key, last_key).";

using TableTuple =
    std::tuple<uint64_t, uint64_t, uint64_t, int64_t, int64_t, uint64_t, uint64_t, int64_t, py::bytes, py::bytes>;

std::vector<ManifestTable> TablesFrom(const std::vector<TableTuple>& tuples) {
  std::vector<ManifestTable> tables;
  for (const auto& [number, bytes, rows, min_time, max_time, min_seq, max_seq, from, first, last] : tuples) {
    ManifestTable table;
    table.file_number = number;
    table.file_size = bytes;
    table.rows = rows;
    table.min_time = min_time;
    table.max_time = max_time;
    table.min_seq = min_seq;
    table.max_seq = max_seq;
    table.visible_from = from;
    table.first_key = std::string(first);
    table.last_key = std::string(last);
    tables.push_back(std::move(table));
  }
  return tables;
}

TableTuple TupleFrom(const ManifestTable& table) {
  return {table.file_number, table.file_size, table.rows,         table.min_time,  table.max_time,
          table.min_seq,     table.max_seq,   table.visible_from, table.first_key, table.last_key};
}

py::list ListFrom(const std::vector<CompactionPick>& picks) {
  py::list out;
  for (const CompactionPick& pick : picks) out.append(py::make_tuple(pick.inputs, pick.bytes, pick.crowded));
  return out;
}

}  // namespace

void BindCompaction(py::module_& m) {
  m.def(
      "window_node",
      [](int64_t first_window, int64_t last_window) {
        const WindowNode node = WindowNode::Of(first_window, last_window);
        return py::make_tuple(node.level, node.index);
      },
      py::arg("first_window"), py::arg("last_window"));
  m.def(
      "window_split",
      [](const std::vector<int64_t>& times, int64_t width, uint64_t least_rows, size_t most_files) {
        ColumnData column;
        for (const int64_t time : times) {
          const auto* bytes = reinterpret_cast<const uint8_t*>(&time);
          column.values.insert(column.values.end(), bytes, bytes + sizeof(time));
        }
        WindowHistogram histogram(width);
        histogram.Add(column, 0, times.size(), kNothingExpired);
        const WindowSplit split(histogram, least_rows, most_files);
        std::vector<uint32_t> outputs(times.size());
        split.Route(column, 0, times.size(), outputs.data());
        return py::make_tuple(split.files(), outputs);
      },
      py::arg("times"), py::arg("width"), py::arg("least_rows"), py::arg("most_files"),
      "The number of files, and the file of each row.");
  m.def(
      "due_compactions",
      [](const std::vector<TableTuple>& tables, int64_t window, uint64_t handoff_seq) {
        return ListFrom(DueCompactions(TablesFrom(tables), window, handoff_seq, CompactionRules()));
      },
      py::arg("tables"), py::arg("window"), py::arg("handoff_seq"), kTable);
  m.def(
      "all_compactions",
      [](const std::vector<TableTuple>& tables, int64_t window, uint64_t upto_seq) {
        return ListFrom(AllCompactions(TablesFrom(tables), window, upto_seq, CompactionRules()));
      },
      py::arg("tables"), py::arg("window"), py::arg("upto_seq"), kTable);
  m.def(
      "most_tables_of_a_window",
      [](const std::vector<TableTuple>& tables, int64_t window) {
        return MostTablesOfAWindow(TablesFrom(tables), window);
      },
      py::arg("tables"), py::arg("window"), kTable);
  m.def(
      "manifest_tables",
      [](const std::string& path, const std::shared_ptr<Env>& env) {
        const Manifest manifest = Unwrap(Manifest::Load(env == nullptr ? Env::Posix() : env.get(), path));
        std::vector<TableTuple> tables;
        for (const ManifestTable& table : manifest.tables) tables.push_back(TupleFrom(table));
        return tables;
      },
      py::arg("path"), py::arg("env") = nullptr, kTable);
}

}  // namespace segue::bindings
