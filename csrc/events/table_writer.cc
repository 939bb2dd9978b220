#include "events/table_writer.h"

#include <algorithm>

namespace segue {
namespace {

// Rows copied at a time when an output takes only some of a batch.
constexpr size_t kCopyRows = 8192;

}  // namespace

TableWriter::TableWriter(Env* env, const StoreSchema* schema, const Interners* interners, SstOptions options,
                         uint64_t table_keys, std::vector<std::shared_ptr<const TableModels>> models,
                         NewTable new_table)
    : env_(env),
      schema_(schema),
      interners_(interners),
      options_(options),
      table_keys_(table_keys),
      models_(std::move(models)),
      new_table_(std::move(new_table)),
      outputs_(models_.size()) {}

TableWriter::~TableWriter() {
  outputs_.clear();  // closes the files
  for (const std::string& path : paths_) {
    // Not removed, it is a leftover that the next open removes.
    const Status ignored = env_->Remove(path);
    static_cast<void>(ignored);
  }
}

Status TableWriter::FinishTable(Output* output, const std::vector<TokenEntry>& tokens) {
  SEGUE_ASSIGN_OR_RETURN(SstMeta meta, output->builder->Finish(tokens));
  output->builder.reset();
  finished_bytes_ += meta.file_size;
  finished_.push_back(std::move(meta));
  return {};
}

Status TableWriter::Add(size_t output, const ColumnBatch& rows) {
  if (rows.rows == 0) return {};
  Output& out = outputs_[output];
  if (out.builder && out.builder->distinct_keys() >= table_keys_) {
    std::string key;
    EncodeKey(*schema_, rows, 0, &key);
    if (key != out.last_key) SEGUE_RETURN_IF_ERROR(FinishTable(&out, {}));  // a key stays in one table
  }
  if (!out.builder) {
    auto [number, path] = new_table_();
    paths_.push_back(path);
    SEGUE_ASSIGN_OR_RETURN(out.builder,
                           SstBuilder::Create(env_, path, number, schema_, interners_, options_, models_[output]));
  }
  out.last_key.clear();
  EncodeKey(*schema_, rows, rows.rows - 1, &out.last_key);
  return out.builder->Add(rows);
}

Status TableWriter::Add(size_t output, const ColumnBatch& rows, const std::vector<uint32_t>& order) {
  for (size_t begin = 0; begin < order.size(); begin += kCopyRows) {
    ColumnBatch some;
    AppendRows(*schema_, rows, order.data() + begin, std::min(kCopyRows, order.size() - begin), {}, &some);
    SEGUE_RETURN_IF_ERROR(Add(output, some));
  }
  return {};
}

Status TableWriter::Close(size_t output) {
  return outputs_[output].builder ? FinishTable(&outputs_[output], {}) : Status();
}

Result<std::vector<SstMeta>> TableWriter::Finish(const std::vector<TokenEntry>& tokens) {
  Output* last = nullptr;
  for (Output& output : outputs_) {
    if (!output.builder) continue;
    if (last != nullptr) SEGUE_RETURN_IF_ERROR(FinishTable(last, {}));
    last = &output;
  }
  if (last != nullptr) SEGUE_RETURN_IF_ERROR(FinishTable(last, tokens));
  paths_.clear();
  return std::move(finished_);
}

uint64_t TableWriter::bytes_written() const {
  uint64_t total = finished_bytes_;
  for (const Output& output : outputs_) total += output.builder ? output.builder->bytes_written() : 0;
  return total;
}

}  // namespace segue
