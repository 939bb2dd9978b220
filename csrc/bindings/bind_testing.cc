// seams for the test suite.
#include "bindings/bindings.h"

namespace segue::bindings {

void BindTesting(pybind11::module_&) {}

}  // namespace segue::bindings
