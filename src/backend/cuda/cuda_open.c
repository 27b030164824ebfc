/* cuda_open.c: "cuda", "cuda:1" and so on to a device of this build. Alone in its file: the tests
 * compile it once more for the emulator (LACI_CU_EMULATED), link that first, and so run whole
 * programs on it by the same name. */
#include <stdlib.h>

#include "backend/cuda/cuda_state.h"
#include "base/error.h"

#if defined(LACI_HAVE_CUDA) || defined(LACI_CU_EMULATED)
enum { HAVE_CUDA = 1 };

static laci_cu_api api_of_build(void)
{
    laci_cu_api api = { 0 };
    LACI_CU_NAME(fill_runtime)(&api);
    LACI_CU_NAME(fill_rows)(&api);
    LACI_CU_NAME(fill_choose)(&api);
    LACI_CU_NAME(fill_attend)(&api);
    LACI_CU_NAME(fill_attend_sm90)(&api);
    LACI_CU_NAME(fill_select)(&api);
    LACI_CU_NAME(fill_paged)(&api);
    return api;
}
#else
enum { HAVE_CUDA = 0 };

static laci_cu_api api_of_build(void)
{
    return (laci_cu_api){ 0 };
}
#endif

bool laci_backend_cuda_built(void)
{
    return HAVE_CUDA;
}

bool laci_backend_cuda_present(void)
{
    int n = 0;
    if (!HAVE_CUDA) return false;
    const laci_cu_api api = api_of_build();
    const bool found = !api.count(&n) && n > 0;
    (void)api.last_error();
    return found;
}

lac_status laci_backend_cuda_open(laci_backend **out, const char *name, lac_dtype dtype,
                                  const lac_allocator *mem, lac_error *err)
{
    long device = 0;
    if (!HAVE_CUDA)
        return laci_fail(err, LAC_EINVAL, 0,
                         "backend \"%s\": this build has no CUDA (nvcc was not there)", name);
    if (strcmp(name, "cuda") != 0) {
        char *end;
        device = strtol(name + strlen("cuda:"), &end, 10);
        if (name[strlen("cuda:")] < '0' || name[strlen("cuda:")] > '9' || *end || device > 1023)
            return laci_fail(err, LAC_EINVAL, 0, "backend \"%s\": a device is cuda:0 to cuda:1023",
                             name);
    }
    const laci_cu_api api = api_of_build();
    return laci_cuda_open_on(out, &api, (int)device, dtype, mem, err);
}
