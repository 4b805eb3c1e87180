// Python's view of the descents: by coordinates of a model, by coordinates and rows, and dual ascent.
#pragma once

#include <nanobind/nanobind.h>

void bind_descents(nanobind::module_& module);
