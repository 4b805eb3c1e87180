// Python's view of the fused heads.
#pragma once

#include <nanobind/nanobind.h>

void bind_heads(nanobind::module_& module);
