/* benches.h: what `lacuna bench` can measure. Each takes its own arguments, argv[0] being its name,
 * and returns the exit code of the program. */
#ifndef LACUNA_BENCH_BENCHES_H
#define LACUNA_BENCH_BENCHES_H

int bench_peak(int argc, char **argv);
int bench_attn(int argc, char **argv);
int bench_decode(int argc, char **argv);
int bench_gemm(int argc, char **argv);
int bench_step(int argc, char **argv);
int bench_generate(int argc, char **argv);
int bench_block(int argc, char **argv);

#endif
