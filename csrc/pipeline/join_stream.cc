#include "pipeline/join_stream.h"

namespace segue {

Result<std::unique_ptr<JoinStream>> JoinStream::Make(std::shared_ptr<const BroadcastTable> table, StreamReader stream,
                                                     const std::string& on,
                                                     const std::optional<std::vector<std::string>>& columns,
                                                     JoinType how) {
  std::unique_ptr<JoinStream> join(new JoinStream(std::move(stream)));
  const Schema& source = join->stream_.schema();
  const int index = source.IndexOf(on);
  if (index < 0) return Status::Schema(on, "the data have no column '" + on + "' to join on");
  join->on_ = static_cast<size_t>(index);
  SEGUE_RETURN_IF_ERROR(table->CheckKey(source.fields[join->on_]));
  if (columns) {
    for (const std::string& name : *columns) {
      const int attribute = table->IndexOf(name);
      if (attribute < 0) return Status::Schema(name, "the broadcast table has no column '" + name + "'");
      join->attributes_.push_back(static_cast<size_t>(attribute));
    }
  } else {
    for (size_t i = 0; i < table->attributes().size(); ++i) join->attributes_.push_back(i);
  }
  join->schema_ = source;
  for (const size_t attribute : join->attributes_) {
    Field field = table->attributes()[attribute];
    if (join->schema_.IndexOf(field.name) >= 0) {
      return Status::Schema(field.name, "the join brings a column '" + field.name +
                                            "' that is there already; leave it out of columns or rename it");
    }
    if (how == JoinType::kLeft) field.nullable = true;
    join->schema_.fields.push_back(std::move(field));
  }
  for (const Field& field : source.fields) {
    const bool coded = field.type.id == TypeId::kDictionary;
    join->dictionaries_.push_back(coded ? std::make_unique<StringDictionary>() : nullptr);
    const StringDictionary* dictionary = join->dictionaries_.back().get();
    join->exports_.push_back(coded ? std::make_unique<DictionaryExport>(dictionary) : nullptr);
    join->mappers_.emplace_back(join->dictionaries_.back().get());
  }
  join->prober_.emplace(table.get());
  join->table_ = std::move(table);
  join->how_ = how;
  return join;
}

Result<bool> JoinStream::Next(ArrowArray* out) {
  while (true) {
    SEGUE_ASSIGN_OR_RETURN(std::unique_ptr<BatchReader> batch, stream_.Next());
    if (batch == nullptr) return false;
    const std::vector<ArrayView>& views = batch->columns();
    prober_->Begin(views[on_]);
    for (size_t c = 0; c < views.size(); ++c) {
      if (dictionaries_[c] != nullptr) mappers_[c].Begin(views[c]);
    }
    batch_ = std::move(batch);
    const int64_t rows = batch_->rows();
    std::vector<uint32_t> matches(static_cast<size_t>(rows));
    prober_->Lookup(views[on_], 0, rows, matches.data());
    std::vector<int32_t> chosen;
    Selection selection{0, nullptr, rows};
    if (how_ == JoinType::kInner) {
      if (rows > INT32_MAX) return Status::Unsupported("a batch of over 2^31 rows cannot be joined; use smaller ones");
      for (int64_t i = 0; i < rows; ++i) {
        const uint32_t match = matches[static_cast<size_t>(i)];
        if (match == kNoMatch) continue;
        matches[chosen.size()] = match;
        chosen.push_back(static_cast<int32_t>(i));
      }
      selection.n = static_cast<int64_t>(chosen.size());
      dropped_ += rows - selection.n;
      if (selection.n < rows) selection.chosen = chosen.data();
    }
    if (selection.n == 0) continue;
    std::vector<ExportColumn> columns;
    for (size_t c = 0; c < views.size(); ++c) {
      ColumnBuilder builder(schema_.fields[c], nullptr);
      SEGUE_RETURN_IF_ERROR(builder.AppendView(views[c], selection, &mappers_[c]));
      SEGUE_ASSIGN_OR_RETURN(ExportColumn column, builder.Finish(exports_[c].get()));
      columns.push_back(std::move(column));
    }
    for (const size_t attribute : attributes_) {
      ColumnBuilder builder(table_->attributes()[attribute], nullptr);
      SEGUE_RETURN_IF_ERROR(table_->Gather(attribute, matches.data(), selection.n, &builder));
      SEGUE_ASSIGN_OR_RETURN(ExportColumn column, builder.Finish(table_->dictionary_export(attribute)));
      columns.push_back(std::move(column));
    }
    ExportBatch(schema_, selection.n, std::move(columns), out);
    return true;
  }
}

}  // namespace segue
