// The Python module over the native core: pointers are integers, calls release the GIL, failures raise exceptions.
//
// It is built as arasfsr._C and, over the emulated core, as _C_emulated for tests; ARASFSR_MODULE is the name.

#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "arasfsr/core.h"

#ifdef ARASFSR_WITH_CUDART
#include <cuda_runtime_api.h>
#endif

namespace py = pybind11;

namespace {

// A failed call; in Python a RuntimeError.
struct CoreError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

std::string message(const arasfsr_status& status) {
    const std::string what = status.what == nullptr ? "(unnamed)" : status.what;
    const std::string value = std::to_string(status.value);
    switch (status.code) {
        case ARASFSR_BAD_ARGUMENT:
            return "invalid argument to the native core: " + what + "=" + value;
        case ARASFSR_UNSUPPORTED:
            return "no native kernel supports " + what + "=" + value;
        case ARASFSR_CUDA_ERROR: {
            std::string error = "CUDA error " + value;
#ifdef ARASFSR_WITH_CUDART
            const auto known = static_cast<cudaError_t>(status.value);
            error += std::string(", ") + cudaGetErrorName(known) + " (" + cudaGetErrorString(known) + ")";
#endif
            return what + ": " + error;
        }
        default:
            return "status " + std::to_string(status.code) + " of the native core: " + what + "=" + value;
    }
}

void check(const arasfsr_status& status) {
    if (status.code != ARASFSR_OK) {
        throw CoreError(message(status));
    }
}

template <typename T>
T* pointer(std::uintptr_t address) {
    return reinterpret_cast<T*>(address);
}

// A pointer in a struct, as a Python property that is its address, 0 for NULL.
template <typename Class, typename Struct, typename T>
void address(Class& bound, const char* name, T* Struct::*member) {
    bound.def_property(
        name, [member](const Struct& self) { return reinterpret_cast<std::uintptr_t>(self.*member); },
        [member](Struct& self, std::uintptr_t value) { self.*member = pointer<T>(value); });
}

// A struct whose fields are zero by default; the constructor takes any of them by name.
template <typename Struct>
py::class_<Struct> fields(py::module_& module, const char* name, const char* doc) {
    py::class_<Struct> bound(module, name, doc);
    bound.def(py::init([name](const py::kwargs& values) {
        py::object self = py::cast(Struct{});
        for (const auto& item : values) {
            if (PyObject_SetAttr(self.ptr(), item.first.ptr(), item.second.ptr()) == 0) continue;
            if (!PyErr_ExceptionMatches(PyExc_AttributeError)) throw py::error_already_set();
            PyErr_Clear();
            throw py::type_error(std::string(name) + " has no field " + py::cast<std::string>(item.first));
        }
        return py::cast<Struct>(self);
    }));
    return bound;
}

void bind_problem(py::module_& module) {
    using Problem = arasfsr_problem;
    auto bound = fields<Problem>(module, "Problem", "arasfsr_problem of core.h.");
    bound.def_readwrite("abi", &Problem::abi)
        .def_readwrite("dtype", &Problem::dtype)
        .def_readwrite("layers", &Problem::layers)
        .def_readwrite("width", &Problem::width)
        .def_readwrite("padded", &Problem::padded)
        .def_readwrite("modulated", &Problem::modulated)
        .def_readwrite("lr_height", &Problem::lr_height)
        .def_readwrite("lr_width", &Problem::lr_width)
        .def_readwrite("images", &Problem::images)
        .def_readwrite("queries", &Problem::queries)
        .def_readwrite("per_image", &Problem::per_image)
        .def_readwrite("grid_height", &Problem::grid_height)
        .def_readwrite("grid_width", &Problem::grid_width)
        .def_readwrite("region_top", &Problem::region_top)
        .def_readwrite("region_left", &Problem::region_left)
        .def_readwrite("region_width", &Problem::region_width);
    address(bound, "lr_map", &Problem::lr_map);
    address(bound, "image", &Problem::image);
    address(bound, "coord", &Problem::coord);
    address(bound, "cell", &Problem::cell);
    address(bound, "rel_weight", &Problem::rel_weight);
    address(bound, "cell_weight", &Problem::cell_weight);
    address(bound, "content_weight", &Problem::content_weight);
    address(bound, "content_bias", &Problem::content_bias);
    address(bound, "encoding_weight", &Problem::encoding_weight);
    address(bound, "modulator_weight", &Problem::modulator_weight);
    address(bound, "modulator_bias", &Problem::modulator_bias);
    address(bound, "output_weight", &Problem::output_weight);
    address(bound, "output_bias", &Problem::output_bias);
    address(bound, "stream", &Problem::stream);
}

void bind_chunk(py::module_& module) {
    using Kept = arasfsr_kept;
    auto kept = fields<Kept>(module, "Kept", "arasfsr_kept of core.h.");
    kept.def_readwrite("first", &Kept::first)
        .def_readwrite("count", &Kept::count)
        .def_readwrite("tiles", &Kept::tiles);
    address(kept, "f", &Kept::f);
    address(kept, "s", &Kept::s);
    address(kept, "cosines", &Kept::cosines);
    address(kept, "lr_rows", &Kept::lr_rows);
    address(kept, "rel", &Kept::rel);
    address(kept, "share", &Kept::share);

    using Gradients = arasfsr_gradients;
    auto gradients = fields<Gradients>(module, "Gradients", "arasfsr_gradients of core.h.");
    address(gradients, "grad", &Gradients::grad);
    address(gradients, "z", &Gradients::z);
    address(gradients, "s", &Gradients::s);
    address(gradients, "share", &Gradients::share);
    address(gradients, "combined", &Gradients::combined);
}

// None, or the name and value of what no kernel supports. Raises for any other failure.
py::object supports(const arasfsr_problem& problem) {
    const arasfsr_status status = arasfsr_supports(&problem);
    if (status.code == ARASFSR_UNSUPPORTED) {
        return py::make_tuple(std::string(status.what == nullptr ? "" : status.what), status.value);
    }
    check(status);
    return py::none();
}

template <arasfsr_status (*SCRATCH)(const arasfsr_problem*, std::size_t*)>
std::size_t scratch(const arasfsr_problem& problem) {
    std::size_t bytes = 0;
    check(SCRATCH(&problem, &bytes));
    return bytes;
}

std::int64_t turn(const arasfsr_problem& problem) {
    std::int64_t tiles = 0;
    check(arasfsr_turn(&problem, &tiles));
    return tiles;
}

void render(const arasfsr_problem& problem, std::uintptr_t out, std::uintptr_t scratch, std::size_t bytes) {
    check(arasfsr_render(&problem, pointer<float>(out), pointer<void>(scratch), bytes));
}

void keep(const arasfsr_problem& problem, const arasfsr_kept& kept, std::uintptr_t scratch, std::size_t bytes) {
    check(arasfsr_keep(&problem, &kept, pointer<void>(scratch), bytes));
}

void backward(const arasfsr_problem& problem, const arasfsr_kept& kept, const arasfsr_gradients& gradients,
              std::uintptr_t scratch, std::size_t bytes) {
    check(arasfsr_backward(&problem, &kept, &gradients, pointer<void>(scratch), bytes));
}

void scatter(const arasfsr_problem& problem, const arasfsr_kept& kept, std::uintptr_t z, std::uintptr_t lr_map,
             std::uintptr_t rel) {
    check(arasfsr_scatter(&problem, &kept, pointer<const void>(z), pointer<float>(lr_map), pointer<float>(rel)));
}

std::int64_t weight_splits(const arasfsr_problem& problem) {
    std::int64_t splits = 0;
    check(arasfsr_weight_splits(&problem, &splits));
    return splits;
}

void weight_gradients(const arasfsr_problem& problem, const arasfsr_kept& kept, std::uintptr_t z,
                      std::uintptr_t weights, std::uintptr_t biases, std::int64_t splits) {
    check(arasfsr_weight_gradients(&problem, &kept, pointer<const void>(z), pointer<float>(weights),
                                   pointer<double>(biases), splits));
}

void coordinate(const arasfsr_problem& problem, const arasfsr_kept& kept, std::uintptr_t s, std::uintptr_t scratch,
                std::size_t bytes) {
    check(arasfsr_coordinate(&problem, &kept, pointer<const float>(s), pointer<void>(scratch), bytes));
}

}  // namespace

PYBIND11_MODULE(ARASFSR_MODULE, module) {
    module.doc() = "The native core of arasfsr, as core.h declares it.";
    module.attr("TILE") = ARASFSR_TILE;
    module.attr("ENCODING") = ARASFSR_ENCODING;
    module.attr("BFLOAT16") = static_cast<int>(ARASFSR_BFLOAT16);
    module.attr("FLOAT16") = static_cast<int>(ARASFSR_FLOAT16);
    module.attr("TF32") = static_cast<int>(ARASFSR_TF32);
    py::register_exception<CoreError>(module, "CoreError", PyExc_RuntimeError);
    bind_problem(module);
    bind_chunk(module);
    const auto without_gil = py::call_guard<py::gil_scoped_release>();
    module.def("abi", &arasfsr_abi);
    module.def("architectures", &arasfsr_architectures);
    module.def("supports", &supports, py::arg("problem"));
    module.def("turn", &turn, py::arg("problem"));
    module.def("render_scratch", &scratch<arasfsr_render_scratch>, py::arg("problem"));
    module.def("keep_scratch", &scratch<arasfsr_keep_scratch>, py::arg("problem"));
    module.def("backward_scratch", &scratch<arasfsr_backward_scratch>, py::arg("problem"));
    module.def(
        "render", &render, py::arg("problem"), py::arg("out"), py::arg("scratch"), py::arg("bytes"), without_gil);
    module.def(
        "keep", &keep, py::arg("problem"), py::arg("kept"), py::arg("scratch"), py::arg("bytes"), without_gil);
    module.def("backward", &backward, py::arg("problem"), py::arg("kept"), py::arg("gradients"), py::arg("scratch"),
               py::arg("bytes"), without_gil);
    module.def("scatter", &scatter, py::arg("problem"), py::arg("kept"), py::arg("z"), py::arg("lr_map"),
               py::arg("rel"), without_gil);
    module.def("weight_splits", &weight_splits, py::arg("problem"));
    module.def("weight_gradients", &weight_gradients, py::arg("problem"), py::arg("kept"), py::arg("z"),
               py::arg("weights"), py::arg("biases"), py::arg("splits"), without_gil);
    module.def("coordinate_scratch", &scratch<arasfsr_coordinate_scratch>, py::arg("problem"));
    module.def("coordinate", &coordinate, py::arg("problem"), py::arg("kept"), py::arg("s"), py::arg("scratch"),
               py::arg("bytes"), without_gil);
}
