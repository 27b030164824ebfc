/* backend.h: where tensors live and who runs operations: the whole interface, cut in four by
 * reader. Its operations are listed once, with their contracts, in backend_ops.def. The CPU fills
 * the interface in cpu/, another device in a folder of its own. Callers in model/, attention/ and
 * engine/ see nothing else of a device.
 *
 * Conventions. Buffers are row-major; rows are counted, not bytes; arguments called `row` or
 * `.._row` are first rows within a buffer. "act" is the backend's type for activations and keys
 * (f32, or bf16 with f32 accumulation). Arrays passed by pointer are host memory and copied before
 * the call returns. Operations run in order; laci_backend_read waits for them. No operation
 * allocates. Results do not depend on the number of threads: work is split over output elements,
 * never over a sum.
 *
 * A backend object is one stream of work with its own scratch: one thread at a time. A model opens
 * one to create its weights, each session opens one to run; weights made by one are read by all of
 * the same name and type once it has finished them, and the backend that made them is closed last.
 */
#ifndef LACI_BACKEND_BACKEND_H
#define LACI_BACKEND_BACKEND_H

#include "backend/backend_attend.h"
#include "backend/backend_memory.h"
#include "backend/backend_rows.h"
#include "backend/backend_select.h"

#endif
