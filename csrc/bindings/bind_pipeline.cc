// Act 2: the nightly job.
#include "bindings/bindings.h"

namespace segue::bindings {

void BindPipeline(pybind11::module_&) {}

}  // namespace segue::bindings
