/* cu_runtime.cu: the CUDA runtime behind the functions of the table: devices, memory, events,
 * streams, graphs. The runtime is linked statically and finds the driver when it is first called,
 * so a program starts on machines without one. */
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

static int stream_new(void **stream)
{
    return cudaStreamCreateWithFlags(reinterpret_cast<cudaStream_t *>(stream),
                                     cudaStreamNonBlocking);
}

static void stream_free(void *stream)
{
    (void)cudaStreamDestroy(stream_of(stream));
}

/* ------------------------------------------------------------------ graphs */

/* Relaxed: the stricter modes refuse this thread what has nothing to do with the stream, such as
 * loading a kernel's code at its first launch or the memory that a library takes. */
static int capture_begin(void *stream)
{
    return cudaStreamBeginCapture(stream_of(stream), cudaStreamCaptureModeRelaxed);
}

static int capture_end(void *stream, void **graph, size_t *n_nodes)
{
    cudaGraph_t made = NULL;
    cudaError_t code = cudaStreamEndCapture(stream_of(stream), &made);
    *n_nodes = 0;
    if (!code) code = cudaGraphGetNodes(made, NULL, n_nodes);
    if (code && made) {
        (void)cudaGraphDestroy(made);
        made = NULL;
    }
    *graph = made;
    return code;
}

static void graph_free(void *graph)
{
    (void)cudaGraphDestroy(static_cast<cudaGraph_t>(graph));
}

static int exec_new(void **exec, void *graph)
{
    return cudaGraphInstantiateWithFlags(reinterpret_cast<cudaGraphExec_t *>(exec),
                                         static_cast<cudaGraph_t>(graph), 0);
}

static bool exec_update(void *exec, void *graph)
{
#if CUDART_VERSION >= 12000
    cudaGraphExecUpdateResultInfo said;
    const cudaError_t code = cudaGraphExecUpdate(static_cast<cudaGraphExec_t>(exec),
                                                 static_cast<cudaGraph_t>(graph), &said);
#else
    cudaGraphNode_t node;
    cudaGraphExecUpdateResult said;
    const cudaError_t code = cudaGraphExecUpdate(static_cast<cudaGraphExec_t>(exec),
                                                 static_cast<cudaGraph_t>(graph), &node, &said);
#endif
    if (code) (void)cudaGetLastError(); /* a refusal is no error of later launches */
    return !code;
}

static int exec_launch(void *exec, void *stream)
{
    return cudaGraphLaunch(static_cast<cudaGraphExec_t>(exec), stream_of(stream));
}

static void exec_free(void *exec)
{
    (void)cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(exec));
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
    api->stream_new = stream_new;
    api->stream_free = stream_free;
    api->capture_begin = capture_begin;
    api->capture_end = capture_end;
    api->graph_free = graph_free;
    api->exec_new = exec_new;
    api->exec_update = exec_update;
    api->exec_launch = exec_launch;
    api->exec_free = exec_free;
}
