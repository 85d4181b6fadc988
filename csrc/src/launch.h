// Kernels as the host sees them: which there are, what they need, how they are launched. Two bodies, as in hw.h.
#ifndef ARASFSR_LAUNCH_H
#define ARASFSR_LAUNCH_H

#include <algorithm>

#include "arasfsr/core.h"
#include "product.h"

#ifndef ARASFSR_EMULATE
#include <cuda_runtime.h>

#include <map>
#include <mutex>
#include <utility>
#endif

namespace arasfsr {

constexpr arasfsr_status OK{ARASFSR_OK, "", 0};

inline bool failed(const arasfsr_status& status) { return status.code != ARASFSR_OK; }

template <class Arguments>
struct Kernel {
    void (*function)(Arguments);  // NULL: there is none
    int shared_bytes;
    int queries;  // of a part
    int threads = THREADS;
    int cluster = 1;       // blocks of a cluster
    int units = 1;         // of work that a cluster takes at a time
    bool streams = false;  // it takes the weights as stream.h orders them
};

template <template <class> class KERNEL, class S, class Arguments>
Kernel<Arguments> kernel_of(void (*function)(Arguments)) {
    return {function, KERNEL<S>::SHARED_BYTES, S::QUERIES};
}

struct Device {
    int processors;
    int shared_limit;  // bytes that a block can have
    int capability;    // such as 80
    int number;
};

#ifdef ARASFSR_EMULATE

inline arasfsr_status current_device(Device* device) {
    *device = {emulation::processors(), emulation::shared_limit(), emulation::capability(), 0};
    return OK;
}

template <class Arguments>
arasfsr_status has_code(const Kernel<Arguments>&, const Device&) {
    return OK;
}

// Blocks that the device runs at the same time.
template <class Arguments>
arasfsr_status resident_blocks(const Kernel<Arguments>& kernel, const char*, const Device& device, int64_t* blocks) {
    *blocks = std::max(device.processors / kernel.cluster, 1) * kernel.cluster;
    return OK;
}

template <class Arguments>
arasfsr_status launch(const Kernel<Arguments>& kernel, const char*, int64_t blocks, void*, const Arguments& arguments) {
    emulation::run(blocks, kernel.threads, kernel.shared_bytes, [&] { kernel.function(arguments); }, kernel.cluster);
    return OK;
}

#else

inline arasfsr_status cuda_status(const char* what, cudaError_t error) {
    if (error == cudaSuccess) return OK;
    cudaGetLastError();  // so that the next call does not find it again
    return {ARASFSR_CUDA_ERROR, what, error};
}

// What the runtime was asked of a device, or of a kernel on it, and does not have to be asked again.
template <class Value>
class Known {
  public:
    // `find(Value*)` gives a status; what failed is not kept.
    template <class Find>
    arasfsr_status get(int device, const void* kernel, Value* value, const Find& find) {
        const std::lock_guard<std::mutex> lock(mutex);
        const auto known = values.find({device, kernel});
        if (known != values.end()) {
            *value = known->second;
            return OK;
        }
        const arasfsr_status status = find(value);
        if (!failed(status)) values[{device, kernel}] = *value;
        return status;
    }

  private:
    std::mutex mutex;
    std::map<std::pair<int, const void*>, Value> values;
};

inline arasfsr_status describe_device(int number, Device* device) {
    int major = 0, minor = 0;
    cudaError_t error = cudaSuccess;
    const auto read = [&](int* value, cudaDeviceAttr attribute) {
        if (error == cudaSuccess) error = cudaDeviceGetAttribute(value, attribute, number);
    };
    read(&device->processors, cudaDevAttrMultiProcessorCount);
    read(&device->shared_limit, cudaDevAttrMaxSharedMemoryPerBlockOptin);
    read(&major, cudaDevAttrComputeCapabilityMajor);
    read(&minor, cudaDevAttrComputeCapabilityMinor);
    device->capability = 10 * major + minor;
    device->number = number;
    return cuda_status("cudaGetDevice", error);
}

inline arasfsr_status current_device(Device* device) {
    static Known<Device> known;
    int number = 0;
    const cudaError_t error = cudaGetDevice(&number);
    if (error != cudaSuccess) return cuda_status("cudaGetDevice", error);
    return known.get(number, nullptr, device, [&](Device* found) { return describe_device(number, found); });
}

template <class Arguments>
const void* entry(const Kernel<Arguments>& kernel) {
    return reinterpret_cast<const void*>(kernel.function);
}

template <class Arguments>
arasfsr_status has_code(const Kernel<Arguments>& kernel, const Device& device) {
    static Known<bool> known;
    bool there = false;
    const arasfsr_status status = known.get(device.number, entry(kernel), &there, [&](bool* found) {
        cudaFuncAttributes attributes;
        const cudaError_t error = cudaFuncGetAttributes(&attributes, entry(kernel));
        *found = error != cudaErrorNoKernelImageForDevice;
        if (*found) return cuda_status("cudaFuncGetAttributes", error);
        cudaGetLastError();
        return OK;
    });
    return failed(status) || there ? status : arasfsr_status{ARASFSR_UNSUPPORTED, "compute capability",
                                                             device.capability};
}

template <class Arguments>
cudaError_t allow_shared(const Kernel<Arguments>& kernel) {
    return cudaFuncSetAttribute(entry(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize, kernel.shared_bytes);
}

// How a kernel is launched, and for clusters with which attribute.
struct Configuration {
    template <class Arguments>
    Configuration(const Kernel<Arguments>& kernel, int64_t blocks, void* stream) {
        attribute.id = cudaLaunchAttributeClusterDimension;
        attribute.val.clusterDim = {static_cast<unsigned>(kernel.cluster), 1, 1};
        config.gridDim = dim3(static_cast<unsigned>(blocks));
        config.blockDim = dim3(static_cast<unsigned>(kernel.threads));
        config.dynamicSmemBytes = static_cast<size_t>(kernel.shared_bytes);
        config.stream = static_cast<cudaStream_t>(stream);
        config.attrs = &attribute;
        config.numAttrs = kernel.cluster > 1 ? 1 : 0;
    }
    Configuration(const Configuration&) = delete;

    cudaLaunchAttribute attribute{};
    cudaLaunchConfig_t config{};
};

template <class Arguments>
arasfsr_status resident_blocks(
    const Kernel<Arguments>& kernel, const char* name, const Device& device, int64_t* blocks) {
    static Known<int64_t> known;
    return known.get(device.number, entry(kernel), blocks, [&](int64_t* found) {
        int each = 0;
        cudaError_t error = allow_shared(kernel);
        if (error == cudaSuccess && kernel.cluster > 1) {
            const Configuration given(kernel, kernel.cluster, nullptr);
            error = cudaOccupancyMaxActiveClusters(&each, entry(kernel), &given.config);
            *found = static_cast<int64_t>(std::max(each, 1)) * kernel.cluster;
            return cuda_status(name, error);
        }
        if (error == cudaSuccess) {
            error = cudaOccupancyMaxActiveBlocksPerMultiprocessor(
                &each, entry(kernel), kernel.threads, kernel.shared_bytes);
        }
        *found = static_cast<int64_t>(device.processors) * std::max(each, 1);
        return cuda_status(name, error);
    });
}

template <class Arguments>
arasfsr_status launch(
    const Kernel<Arguments>& kernel, const char* name, int64_t blocks, void* stream, const Arguments& arguments) {
    if (blocks > 0x7FFFFFFF) return {ARASFSR_UNSUPPORTED, "blocks", blocks};
    cudaError_t error = allow_shared(kernel);
    if (error == cudaSuccess) {
        const Configuration given(kernel, blocks, stream);
        void* parameters[] = {const_cast<Arguments*>(&arguments)};
        error = cudaLaunchKernelExC(&given.config, entry(kernel), parameters);
    }
    return cuda_status(name, error);
}

#endif

}  // namespace arasfsr
#endif
