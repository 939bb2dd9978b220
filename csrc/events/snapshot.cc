#include "events/snapshot.h"

namespace segue {

StoreCore::StoreCore(std::shared_ptr<Env> env_in, std::string dir_in, StoreSchema schema_in)
    : env(std::move(env_in)),
      dir(std::move(dir_in)),
      schema(std::move(schema_in)),
      format(&schema),
      interners(MakeInterners(schema)) {}

Result<std::unique_ptr<SstReader>> StoreCore::OpenTable(const ManifestTable& table) const {
  const std::string path = TableFile(dir, table.file_number);
  SEGUE_ASSIGN_OR_RETURN(std::unique_ptr<SstReader> reader,
                         SstReader::Open(env.get(), path, &schema, &interners, resources));
  if (reader->meta().file_number != table.file_number) {
    return Status::Corruption(path, 0,
                              "'" + path + "' holds table " + std::to_string(reader->meta().file_number) +
                                  ": it was renamed, or restored under a wrong name");
  }
  reader->HideBefore(table.visible_from);
  return reader;
}

}  // namespace segue
