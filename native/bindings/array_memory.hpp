#pragma once

#include <nanobind/nanobind.h>

void bind_array_memory(nanobind::module_& module);
