/* device.h: what tests may change of the emulated device, and what it counts. Plain C. */
#ifndef LACI_TESTS_EMULATOR_DEVICE_H
#define LACI_TESTS_EMULATOR_DEVICE_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

extern int laci_emulator_devices;          /* how many there are; 1 at first */
extern int laci_emulator_major;            /* its compute capability; 9 at first */
extern int laci_emulator_allocations_left; /* that succeed; -1 = all */
extern unsigned laci_emulator_waits;       /* for all queued work, so far */
extern unsigned laci_emulator_boxes;       /* copied by the bulk tensor engine so far */

/* What fails from now on. */
enum {
    LACI_REFUSE_STREAM = 1,
    LACI_REFUSE_BEGIN,
    LACI_REFUSE_END,
    LACI_REFUSE_EXEC,
    LACI_REFUSE_LAUNCH
};
extern int laci_emulator_refuses; /* 0 = nothing */

typedef struct {
    int n_alive;        /* streams, graphs and executable graphs */
    unsigned n_begun;   /* captures */
    unsigned n_made;    /* executable graphs, */
    unsigned n_updated; /* updates that they took, */
    unsigned n_refused; /* and that they did not, */
    unsigned n_launched;
} laci_emulator_counts;
extern laci_emulator_counts laci_emulator_graphs;

/* Streams with work that nobody has waited for. */
int laci_emulator_busy(void);
/* Queues run(job) on a stream as a kernel is queued; n bytes of the job are copied. */
void laci_emulator_queue(void *stream, void (*run)(const void *job), const void *job, size_t n);

#ifdef __cplusplus
}
#endif

#endif
