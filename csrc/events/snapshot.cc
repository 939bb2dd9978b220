#include "events/snapshot.h"

namespace segue {

StoreCore::StoreCore(std::shared_ptr<Env> env_in, std::string dir_in, StoreSchema schema_in)
    : env(std::move(env_in)),
      dir(std::move(dir_in)),
      schema(std::move(schema_in)),
      format(&schema),
      interners(MakeInterners(schema)) {}

}  // namespace segue
