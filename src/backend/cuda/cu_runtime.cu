/* cu_runtime.cu: the CUDA runtime behind the functions of the table: devices, streams, memory,
 * events. The runtime is linked statically and finds the driver when it is first called, so a
 * program starts on machines without one. */
#include <cuda_runtime.h>

#include <stdio.h>

#include "backend/cuda/cuda_api.h"

static cudaStream_t stream_of(void *stream)
{
    return static_cast<cudaStream_t>(stream);
}

static int count(int *n)
{
    return cudaGetDeviceCount(n);
}

static int info(int device, laci_cu_info *out)
{
    cudaDeviceProp p;
    int code = cudaGetDeviceProperties(&p, device);
    if (!code) code = cudaSetDevice(device);
    if (code) return code;
    (void)snprintf(out->name, sizeof out->name, "%s", p.name);
    out->major = p.major, out->minor = p.minor;
    out->n_sm = p.multiProcessorCount;
    out->shared_bytes = p.sharedMemPerBlockOptin;
    out->emulated = false;
    return cudaMemGetInfo(&out->free_bytes, &out->total_bytes);
}

static int use(int device)
{
    return cudaSetDevice(device);
}

static const char *explain(int code)
{
    if (code == cudaErrorInsufficientDriver)
        return "there is no NVIDIA driver, or one too old for the CUDA of this build";
    return cudaGetErrorString(static_cast<cudaError_t>(code));
}

static int last_error(void)
{
    return cudaGetLastError();
}

static int sync(void *stream)
{
    return cudaStreamSynchronize(stream_of(stream));
}

static int alloc(void **p, size_t n)
{
    return cudaMalloc(p, n ? n : 1);
}

static void release(void *p)
{
    (void)cudaFree(p);
}

static int host_alloc(void **p, size_t n)
{
    return cudaHostAlloc(p, n ? n : 1, cudaHostAllocPortable);
}

static void host_release(void *p)
{
    (void)cudaFreeHost(p);
}

static int copy(void *stream, void *to, const void *from, size_t n)
{
    return cudaMemcpyAsync(to, from, n, cudaMemcpyDefault, stream_of(stream));
}

static int fill(void *stream, void *p, int byte, size_t n)
{
    return cudaMemsetAsync(p, byte, n, stream_of(stream));
}

static int event_new(void **event)
{
    return cudaEventCreate(reinterpret_cast<cudaEvent_t *>(event));
}

static void event_free(void *event)
{
    (void)cudaEventDestroy(static_cast<cudaEvent_t>(event));
}

static int event_record(void *event, void *stream)
{
    return cudaEventRecord(static_cast<cudaEvent_t>(event), stream_of(stream));
}

static int event_ms(float *ms, void *from, void *to)
{
    const cudaError_t code = cudaEventSynchronize(static_cast<cudaEvent_t>(to));
    if (code) return code;
    return cudaEventElapsedTime(ms, static_cast<cudaEvent_t>(from), static_cast<cudaEvent_t>(to));
}

void LACI_CU_NAME(fill_runtime)(laci_cu_api *api)
{
    api->count = count;
    api->info = info;
    api->use = use;
    api->explain = explain;
    api->last_error = last_error;
    api->sync = sync;
    api->alloc = alloc;
    api->release = release;
    api->host_alloc = host_alloc;
    api->host_release = host_release;
    api->copy = copy;
    api->fill = fill;
    api->event_new = event_new;
    api->event_free = event_free;
    api->event_record = event_record;
    api->event_ms = event_ms;
}
