/* device.h: what tests may change of the emulated device. Plain C. */
#ifndef LACI_TESTS_EMULATOR_DEVICE_H
#define LACI_TESTS_EMULATOR_DEVICE_H

#ifdef __cplusplus
extern "C" {
#endif

extern int laci_emulator_devices;          /* how many there are; 1 at first */
extern int laci_emulator_major;            /* its compute capability; 9 at first */
extern int laci_emulator_allocations_left; /* that succeed; -1 = all */
extern unsigned laci_emulator_waits;       /* for all queued work, so far */
extern unsigned laci_emulator_boxes;       /* copied by the bulk tensor engine so far */

#ifdef __cplusplus
}
#endif

#endif
