#include "events/table_models.h"

#include <algorithm>
#include <cstring>

#include "events/value_width.h"

namespace segue {
namespace {

constexpr char kNoModel = 0;

// What is in the way of this model for a chunk, or null.
const char* Misplaced(const StoreSchema& schema, size_t chunk, const TableModels& models) {
  const ValueModel& model = *models.Of(chunk);
  const bool is_column = chunk < schema.columns.size();
  if (is_column && !CanHaveModel(schema.columns[chunk])) return "a model of a column whose values are no integers";
  const bool key = is_column && IsKey(schema, chunk);
  if (key && model.foretold == Foretold::kByKey) return "a key that is foretold by itself";
  if (model.foretold == Foretold::kByClock) {
    // Sequence numbers and keys are what the clock is read by.
    if (key || chunk != static_cast<size_t>(schema.time)) return "a clock for what is not the time";
    if (models.clock.empty()) return "a model by a clock that is not there";
  }
  return nullptr;
}

}  // namespace

bool CanHaveModel(const StoreColumn& column) {
  switch (column.field.type.id) {
    case TypeId::kInt8:
    case TypeId::kInt16:
    case TypeId::kInt32:
    case TypeId::kInt64:
    case TypeId::kUInt8:
    case TypeId::kUInt16:
    case TypeId::kUInt32:
    case TypeId::kUInt64:
    case TypeId::kDate32:
    case TypeId::kTimestamp:
      return true;
    default:
      return column.coded;
  }
}

bool IsKey(const StoreSchema& schema, size_t column) {
  return std::find(schema.key.begin(), schema.key.end(), static_cast<int>(column)) != schema.key.end();
}

void SameKeys(const StoreSchema& schema, const ColumnBatch& batch, size_t begin, size_t n, RawVector<uint8_t>* same) {
  same->resize(n);
  if (n == 0) return;
  uint8_t* out = same->data();
  bool first = true;
  for (const int key : schema.key) {
    const StoreColumn& spec = schema.columns[static_cast<size_t>(key)];
    const ColumnData& column = batch.columns[static_cast<size_t>(key)];
    const auto put = [out, first](size_t i, bool equal) {
      out[i] = first ? static_cast<uint8_t>(equal) : static_cast<uint8_t>(out[i] & static_cast<uint8_t>(equal));
    };
    if (spec.width == 0) {
      for (size_t i = 1; i < n; ++i) put(i, column.Bytes(begin + i) == column.Bytes(begin + i - 1));
    } else {
      WithWidth(spec.width, [&]<typename T>() {
        const uint8_t* values = column.values.data() + begin * sizeof(T);
        T before = LoadAs<T>(values);
        for (size_t i = 1; i < n; ++i) {
          const T value = LoadAs<T>(values + i * sizeof(T));
          put(i, value == before);
          before = value;
        }
      });
    }
    first = false;
  }
  out[0] = 0;
}

bool TableModels::empty() const {
  return std::all_of(models.begin(), models.end(), [](const auto& model) { return model == nullptr; });
}

bool TableModels::AnyNeedsKeys() const {
  return std::any_of(models.begin(), models.end(),
                     [](const auto& model) { return model && model->foretold == Foretold::kByKey; });
}

void TableModels::Serialize(std::string* out) const {
  clock.Serialize(out);
  for (const auto& model : models) {
    if (model) {
      model->Serialize(out);
    } else {
      out->push_back(kNoModel);
    }
  }
}

Result<std::unique_ptr<TableModels>> TableModels::Parse(const StoreSchema& schema, std::string_view bytes) {
  const Status bad = Status::Invalid("the models are damaged");
  auto models = std::make_unique<TableModels>();
  Cursor in(bytes);
  if (!models->clock.Parse(&in)) return bad;
  for (size_t chunk = 0; chunk <= schema.columns.size(); ++chunk) {
    const std::string_view rest = in.rest();
    if (rest.empty()) return bad;
    if (rest.front() == kNoModel) {
      in = Cursor(rest.substr(1));
      models->models.push_back(nullptr);
      continue;
    }
    auto model = std::make_unique<ValueModel>();
    if (!model->Parse(&in)) return bad;
    models->models.push_back(std::move(model));
    if (const char* what = Misplaced(schema, chunk, *models)) {
      return Status::Invalid(std::string("the models are damaged: ") + what);
    }
  }
  if (in.remaining() != 0) return bad;
  return models;
}

}  // namespace segue
