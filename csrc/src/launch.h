// Kernels as the host sees them: which there are, what they need, how they are launched. Two bodies, as in hw.h.
#ifndef ARASFSR_LAUNCH_H
#define ARASFSR_LAUNCH_H

#include <algorithm>

#include "arasfsr/core.h"
#include "product.h"

#ifndef ARASFSR_EMULATE
#include <cuda_runtime.h>
#endif

namespace arasfsr {

constexpr arasfsr_status OK{ARASFSR_OK, "", 0};

inline bool failed(const arasfsr_status& status) { return status.code != ARASFSR_OK; }

template <class Arguments>
struct Kernel {
    void (*function)(Arguments);  // NULL: there is none
    int shared_bytes;
    int queries;  // of a part
};

template <template <class> class KERNEL, class S, class Arguments>
Kernel<Arguments> kernel_of(void (*function)(Arguments)) {
    return {function, KERNEL<S>::SHARED_BYTES, S::QUERIES};
}

struct Device {
    int processors;
    int shared_limit;  // bytes that a block can have
    int capability;    // such as 80
};

#ifdef ARASFSR_EMULATE

inline arasfsr_status current_device(Device* device) {
    *device = {emulation::processors(), emulation::shared_limit(), 80};
    return OK;
}

template <class Arguments>
arasfsr_status has_code(const Kernel<Arguments>&, const Device&) {
    return OK;
}

// Blocks that the device runs at the same time.
template <class Arguments>
arasfsr_status resident_blocks(const Kernel<Arguments>&, const char*, const Device& device, int64_t* blocks) {
    *blocks = device.processors;
    return OK;
}

template <class Arguments>
arasfsr_status launch(const Kernel<Arguments>& kernel, const char*, int64_t blocks, void*, const Arguments& arguments) {
    emulation::run(blocks, THREADS, kernel.shared_bytes, [&] { kernel.function(arguments); });
    return OK;
}

#else

inline arasfsr_status cuda_status(const char* what, cudaError_t error) {
    if (error == cudaSuccess) return OK;
    cudaGetLastError();  // so that the next call does not find it again
    return {ARASFSR_CUDA_ERROR, what, error};
}

inline arasfsr_status current_device(Device* device) {
    int number = 0, major = 0, minor = 0;
    cudaError_t error = cudaGetDevice(&number);
    const auto read = [&](int* value, cudaDeviceAttr attribute) {
        if (error == cudaSuccess) error = cudaDeviceGetAttribute(value, attribute, number);
    };
    read(&device->processors, cudaDevAttrMultiProcessorCount);
    read(&device->shared_limit, cudaDevAttrMaxSharedMemoryPerBlockOptin);
    read(&major, cudaDevAttrComputeCapabilityMajor);
    read(&minor, cudaDevAttrComputeCapabilityMinor);
    device->capability = 10 * major + minor;
    return cuda_status("cudaGetDevice", error);
}

template <class Arguments>
const void* entry(const Kernel<Arguments>& kernel) {
    return reinterpret_cast<const void*>(kernel.function);
}

template <class Arguments>
arasfsr_status has_code(const Kernel<Arguments>& kernel, const Device& device) {
    cudaFuncAttributes attributes;
    const cudaError_t error = cudaFuncGetAttributes(&attributes, entry(kernel));
    if (error != cudaErrorNoKernelImageForDevice) return cuda_status("cudaFuncGetAttributes", error);
    cudaGetLastError();
    return {ARASFSR_UNSUPPORTED, "compute capability", device.capability};
}

template <class Arguments>
cudaError_t allow_shared(const Kernel<Arguments>& kernel) {
    return cudaFuncSetAttribute(entry(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize, kernel.shared_bytes);
}

template <class Arguments>
arasfsr_status resident_blocks(
    const Kernel<Arguments>& kernel, const char* name, const Device& device, int64_t* blocks) {
    int each = 0;
    cudaError_t error = allow_shared(kernel);
    if (error == cudaSuccess) {
        error = cudaOccupancyMaxActiveBlocksPerMultiprocessor(&each, entry(kernel), THREADS, kernel.shared_bytes);
    }
    *blocks = static_cast<int64_t>(device.processors) * std::max(each, 1);
    return cuda_status(name, error);
}

template <class Arguments>
arasfsr_status launch(
    const Kernel<Arguments>& kernel, const char* name, int64_t blocks, void* stream, const Arguments& arguments) {
    if (blocks > 0x7FFFFFFF) return {ARASFSR_UNSUPPORTED, "blocks", blocks};
    cudaError_t error = allow_shared(kernel);
    if (error == cudaSuccess) {
        void* parameters[] = {const_cast<Arguments*>(&arguments)};
        error = cudaLaunchKernel(entry(kernel), dim3(static_cast<unsigned>(blocks)), dim3(THREADS), parameters,
                                 static_cast<size_t>(kernel.shared_bytes), static_cast<cudaStream_t>(stream));
    }
    return cuda_status(name, error);
}

#endif

}  // namespace arasfsr
#endif
