// Act 1: the event store.
#include "bindings/bindings.h"

namespace segue::bindings {

void BindEvents(pybind11::module_&) {}

}  // namespace segue::bindings
