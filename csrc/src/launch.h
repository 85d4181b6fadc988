// Kernels on the host's side: what they need and how they are launched; for CUDA and for the emulation, as in hw.h.
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
    void (*function)(Arguments);  // NULL if there is no kernel
    int shared_bytes;
    int queries;  // of a part
    int threads = THREADS;
    int cluster = 1;       // blocks of a cluster
    int units = 1;         // of work that a cluster processes at the same time
    bool streams = false;  // whether it reads the weights in the order of stream.h
};

template <template <class> class KERNEL, class S, class Arguments>
Kernel<Arguments> kernel_of(void (*function)(Arguments)) {
    return {function, KERNEL<S>::SHARED_BYTES, S::QUERIES};
}

struct Device {
    int processors;
    int shared_limit;  // bytes of shared memory that a block can have
    int capability;    // such as 80
    int index;
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

// The number of blocks that the device runs at the same time.
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
    cudaGetLastError();  // clear it, so that the next call does not return it
    return {ARASFSR_CUDA_ERROR, what, error};
}

// A cache of properties of a device, or of a kernel on it, that the runtime is asked for.
template <class Value>
class Cache {
  public:
    // `query(Value*)` returns a status; failures are not cached.
    template <class Query>
    arasfsr_status get(int device, const void* kernel, Value* value, const Query& query) {
        const std::lock_guard<std::mutex> lock(mutex);
        const auto cached = values.find({device, kernel});
        if (cached != values.end()) {
            *value = cached->second;
            return OK;
        }
        const arasfsr_status status = query(value);
        if (!failed(status)) values[{device, kernel}] = *value;
        return status;
    }

  private:
    std::mutex mutex;
    std::map<std::pair<int, const void*>, Value> values;
};

inline arasfsr_status describe_device(int index, Device* device) {
    int major = 0, minor = 0;
    cudaError_t error = cudaSuccess;
    const auto read = [&](int* value, cudaDeviceAttr attribute) {
        if (error == cudaSuccess) error = cudaDeviceGetAttribute(value, attribute, index);
    };
    read(&device->processors, cudaDevAttrMultiProcessorCount);
    read(&device->shared_limit, cudaDevAttrMaxSharedMemoryPerBlockOptin);
    read(&major, cudaDevAttrComputeCapabilityMajor);
    read(&minor, cudaDevAttrComputeCapabilityMinor);
    device->capability = 10 * major + minor;
    device->index = index;
    return cuda_status("cudaGetDevice", error);
}

inline arasfsr_status current_device(Device* device) {
    static Cache<Device> cache;
    int index = 0;
    const cudaError_t error = cudaGetDevice(&index);
    if (error != cudaSuccess) return cuda_status("cudaGetDevice", error);
    return cache.get(index, nullptr, device, [&](Device* described) { return describe_device(index, described); });
}

template <class Arguments>
const void* entry(const Kernel<Arguments>& kernel) {
    return reinterpret_cast<const void*>(kernel.function);
}

template <class Arguments>
arasfsr_status has_code(const Kernel<Arguments>& kernel, const Device& device) {
    static Cache<bool> cache;
    bool has_code = false;
    const arasfsr_status status = cache.get(device.index, entry(kernel), &has_code, [&](bool* has_image) {
        cudaFuncAttributes attributes;
        const cudaError_t error = cudaFuncGetAttributes(&attributes, entry(kernel));
        *has_image = error != cudaErrorNoKernelImageForDevice;
        if (*has_image) return cuda_status("cudaFuncGetAttributes", error);
        cudaGetLastError();
        return OK;
    });
    if (failed(status) || has_code) return status;
    return {ARASFSR_UNSUPPORTED, "compute capability", device.capability};
}

template <class Arguments>
cudaError_t allow_shared(const Kernel<Arguments>& kernel) {
    return cudaFuncSetAttribute(entry(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize, kernel.shared_bytes);
}

// A kernel's launch configuration, with the attribute for clusters.
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
    static Cache<int64_t> cache;
    return cache.get(device.index, entry(kernel), blocks, [&](int64_t* resident) {
        int each = 0;
        cudaError_t error = allow_shared(kernel);
        if (error == cudaSuccess && kernel.cluster > 1) {
            const Configuration configuration(kernel, kernel.cluster, nullptr);
            error = cudaOccupancyMaxActiveClusters(&each, entry(kernel), &configuration.config);
            *resident = static_cast<int64_t>(std::max(each, 1)) * kernel.cluster;
            return cuda_status(name, error);
        }
        if (error == cudaSuccess) {
            error = cudaOccupancyMaxActiveBlocksPerMultiprocessor(
                &each, entry(kernel), kernel.threads, kernel.shared_bytes);
        }
        *resident = static_cast<int64_t>(device.processors) * std::max(each, 1);
        return cuda_status(name, error);
    });
}

template <class Arguments>
arasfsr_status launch(
    const Kernel<Arguments>& kernel, const char* name, int64_t blocks, void* stream, const Arguments& arguments) {
    if (blocks > 0x7FFFFFFF) return {ARASFSR_UNSUPPORTED, "blocks", blocks};
    cudaError_t error = allow_shared(kernel);
    if (error == cudaSuccess) {
        const Configuration configuration(kernel, blocks, stream);
        void* parameters[] = {const_cast<Arguments*>(&arguments)};
        error = cudaLaunchKernelExC(&configuration.config, entry(kernel), parameters);
    }
    return cuda_status(name, error);
}

#endif

}  // namespace arasfsr
#endif
