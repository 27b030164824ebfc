/* cuda_graph.c: a forward pass as CUDA graphs (LAC_CUDA_GRAPH=1). Within a pass operations are not
 * started but captured, in segments: one ends where the host waits for the device or acts at once,
 * and after some operations, so that the device works on one while the next is captured. A segment
 * is launched by the executable graph of the pass before, brought up to date: kernels and their
 * order are the same, arguments and sizes of grids need not be. What host memory it reads, the
 * arguments in the ring, goes ahead of it in one copy, so a graph holds no copy from the host.
 *
 * A capture, an instantiation or a launch that fails is noted as any error of the device. */
#include <assert.h>

#include "backend/cuda/cuda_state.h"

/* Where the executable graph of this segment is, or is to be: the one of as many operations, or a
 * free place, or that not used for longest. */
static laci_cu_exec *place_of(laci_cu_graphs *g, size_t n_nodes)
{
    laci_cu_exec *oldest = &g->execs[0];
    for (size_t i = 0; i < LACI_CU_EXECS; i++) {
        laci_cu_exec *e = &g->execs[i];
        if (e->exec && e->segment == g->segment && e->n_nodes == n_nodes) return e;
        if (e->used < oldest->used) oldest = e;
    }
    return oldest;
}

/* The place of an executable graph of what was captured; NULL when the device fails. */
static laci_cu_exec *prepare(cuda_backend *cuda, void *graph, size_t n_nodes)
{
    laci_cu_graphs *g = &cuda->graphs;
    laci_cu_exec *place = place_of(g, n_nodes);
    void *exec = NULL;
    const bool may_fit = place->exec && place->segment == g->segment && place->n_nodes == n_nodes;
    if (may_fit && cuda->api.exec_update(place->exec, graph)) {
        g->n_updated++;
        return place;
    }
    if (place->exec) cuda->api.exec_free(place->exec);
    *place = (laci_cu_exec){ 0 };
    const int code = cuda->api.exec_new(&exec, graph);
    laci_cuda_note(cuda, code);
    if (code) return NULL;
    *place = (laci_cu_exec){ .exec = exec, .segment = g->segment, .n_nodes = n_nodes };
    g->n_made++;
    return place;
}

static void launch(cuda_backend *cuda, void *graph, size_t n_nodes)
{
    laci_cu_graphs *g = &cuda->graphs;
    laci_cu_exec *place = prepare(cuda, graph, n_nodes);
    if (!place) return;
    place->used = ++g->n_launched;
    laci_cuda_note(cuda, cuda->api.exec_launch(place->exec, cuda->stream));
    g->segment++;
}

void laci_cuda_flush(cuda_backend *cuda)
{
    laci_cu_graphs *g = &cuda->graphs;
    laci_cu_ring *ring = &cuda->ring;
    const size_t n_bytes = ring->at - ring->sent;
    void *graph = NULL;
    size_t n_nodes = 0;
    if (!g->is_open) return;
    g->is_open = false;
    laci_cuda_note(cuda, cuda->api.capture_end(cuda->stream, &graph, &n_nodes));
    if (n_bytes && !cuda->failed)
        laci_cuda_note(cuda, cuda->api.copy(cuda->stream, ring->device + ring->sent,
                                            ring->host + ring->sent, n_bytes));
    if (n_nodes && !cuda->failed) launch(cuda, graph, n_nodes);
    if (graph) cuda->api.graph_free(graph);
}

/* Begins a segment if this is the time for one; every operation asks. */
static void capture(cuda_backend *cuda)
{
    laci_cu_graphs *g = &cuda->graphs;
    if (g->is_open && g->n_operations++ == LACI_CU_SEGMENT_OPS) laci_cuda_flush(cuda);
    if (!g->in_pass || g->is_open || cuda->failed || g->segment == LACI_CU_SEGMENTS) return;
    const int code = cuda->api.capture_begin(cuda->stream);
    laci_cuda_note(cuda, code);
    g->is_open = !code;
    g->n_operations = 1;
    cuda->ring.sent = cuda->ring.at;
}

cuda_backend *laci_cuda_enter(laci_backend *be)
{
    cuda_backend *cuda = cuda_of(be);
    laci_cuda_note(cuda, cuda->api.use(cuda->device));
    capture(cuda);
    return cuda;
}

cuda_backend *laci_cuda_at_once(laci_backend *be)
{
    cuda_backend *cuda = cuda_of(be);
    laci_cuda_note(cuda, cuda->api.use(cuda->device));
    laci_cuda_flush(cuda);
    return cuda;
}

void laci_cuda_pass_begin(laci_backend *be)
{
    laci_cu_graphs *g = &cuda_of(be)->graphs;
    assert(!g->in_pass);
    g->in_pass = g->is_wanted;
    g->segment = 0;
}

void laci_cuda_pass_end(laci_backend *be)
{
    laci_cuda_at_once(be)->graphs.in_pass = false;
}

void laci_cuda_free_graphs(cuda_backend *cuda)
{
    for (size_t i = 0; i < LACI_CU_EXECS; i++)
        if (cuda->graphs.execs[i].exec) cuda->api.exec_free(cuda->graphs.execs[i].exec);
}
