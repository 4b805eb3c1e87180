// Where NumPy takes the memory of its arrays from while a fit is under way: large ones from large_memory.hpp.
//
// NumPy (NEP 49) asks the handler that the current context names when it makes an array, and gives the array back to
// the same one, whichever is current by then.
#include <nanobind/nanobind.h>

#define NPY_NO_DEPRECATED_API NPY_1_22_API_VERSION
#define NPY_TARGET_VERSION NPY_1_22_API_VERSION
#include <numpy/arrayobject.h>

#include <cstdlib>
#include <cstring>
#include <limits>

#include "bindings/array_memory.hpp"
#include "runtime/large_memory.hpp"

namespace nb = nanobind;

namespace {

// In front of what an array gets. NumPy's own account of an array's size is not that of what was asked for: an array
// of no elements may have asked for some.
struct Header {
  std::size_t bytes;  // that the array asked for
  bool large;
};
constexpr std::size_t kSmallFront = 16, kLargeFront = 64;
static_assert(sizeof(Header) <= kSmallFront);

Header& header_of(void* numbers) { return *reinterpret_cast<Header*>(static_cast<char*>(numbers) - kSmallFront); }

void* take(std::size_t bytes, bool zero) {
  if (bytes > std::numeric_limits<std::size_t>::max() / 2) return nullptr;
  const bool large = bytes >= crosshead::kLargeBlock;
  const std::size_t front = large ? kLargeFront : kSmallFront, whole = bytes + front;
  void* block = large ? crosshead::take_large(whole, zero) : (zero ? std::calloc(whole, 1) : std::malloc(whole));
  if (block == nullptr) return nullptr;
  void* numbers = static_cast<char*>(block) + front;
  header_of(numbers) = {bytes, large};
  return numbers;
}

void array_free(void*, void* numbers, std::size_t) {
  if (numbers == nullptr) return;
  const Header header = header_of(numbers);
  char* front = static_cast<char*>(numbers);
  if (header.large) crosshead::give_large(front - kLargeFront, header.bytes + kLargeFront);
  else std::free(front - kSmallFront);
}

void* array_malloc(void*, std::size_t bytes) { return take(bytes, false); }

void* array_calloc(void*, std::size_t count, std::size_t size) {
  if (size != 0 && count > std::numeric_limits<std::size_t>::max() / size) return nullptr;
  return take(count * size, true);
}

void* array_realloc(void*, void* numbers, std::size_t bytes) {
  void* longer = take(bytes, false);
  if (longer == nullptr || numbers == nullptr) return longer;
  const std::size_t before = header_of(numbers).bytes;
  std::memcpy(longer, numbers, before < bytes ? before : bytes);
  array_free(nullptr, numbers, before);
  return longer;
}

PyDataMem_Handler handler = {"crosshead", 1, {nullptr, array_malloc, array_calloc, array_realloc, array_free}};

// The handler that was current, to be given to `end_fit_memory`.
nb::object begin_fit_memory() {
  const nb::object capsule = nb::steal(PyCapsule_New(&handler, "mem_handler", nullptr));
  if (!capsule.is_valid()) nb::raise_python_error();
  PyObject* before = PyDataMem_SetHandler(capsule.ptr());
  if (before == nullptr) nb::raise_python_error();
  crosshead::begin_keeping();
  return nb::steal(before);
}

void end_fit_memory(const nb::object& before) {
  PyObject* ours = PyDataMem_SetHandler(before.ptr());
  if (ours == nullptr) nb::raise_python_error();
  Py_DECREF(ours);
  crosshead::end_keeping();
}

int import_numpy() {
  import_array1(-1);
  return 0;
}

}  // namespace

void bind_array_memory(nb::module_& module) {
  if (import_numpy() < 0) nb::raise_python_error();
  module.def("begin_fit_memory", &begin_fit_memory);
  module.def("end_fit_memory", &end_fit_memory, nb::arg("before"));
}
