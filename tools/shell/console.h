/* console.h: how the program speaks. One sentence per message on stderr, exit codes, text made
 * safe for a terminal, facts about the terminal. Used by every command; knows no flags. */
#ifndef LACUNA_TOOLS_CONSOLE_H
#define LACUNA_TOOLS_CONSOLE_H

#include "lacuna.h"
#include <stdio.h>

/* Exit codes, as documented in lacuna(1). Signals use 128 + number. */
enum { EXIT_OK = 0, EXIT_RUN = 1, EXIT_USAGE = 2, EXIT_MODEL = 3, EXIT_MEMORY = 4 };

/* Sets the words in front of every message, such as "lacuna run". Static string. */
void console_begin(const char *command);
const char *console_command(void);

/* Print "<command>: sentence" on stderr with control characters escaped. console_fail returns
 * `code`, so that callers can write `return console_fail(...)`. */
int console_fail(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));
void console_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));
void console_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Exit code of a library status; and the same after printing the library's sentence. */
int console_exit_code(lac_status status);
int console_fail_status(lac_status status, const lac_error *err);

/* Opens a model, printing the reason when that fails. Returns EXIT_OK or an exit code: whatever is
 * wrong with the path or the files is EXIT_MODEL. */
int console_open_model(lac_model **out, const char *path, const lac_model_options *opt);

/* Prints what the library warns of about a model, but for topics in `skipped` (bits 1 << topic) and
 * for sentences that `before`, an earlier opening of the same model, had too (NULL = none). */
void console_warn_model(const lac_model *model, const lac_model *before, unsigned skipped);

/* True for characters that a terminal might obey rather than show: C0, DEL, C1, line separators,
 * and marks that reorder text. */
bool console_is_control(uint32_t code);

/* Writes text with what console_is_control() names, and bytes that are not UTF-8, escaped as \x1b
 * or \u202e. Newline and tab pass when `keep_lines`. */
void console_put_safe(FILE *out, const char *text, size_t n, bool keep_lines);

/* Writes text for a reader: as it is into a pipe or file, made safe for a terminal. */
void console_put_text(FILE *out, const char *text, size_t n);

/* Flushes stdout. Returns EXIT_OK, or EXIT_RUN after saying that output was lost. */
int console_flush_stdout(void);

bool console_is_tty(FILE *stream);
/* Window size of the terminal behind `stream`; COLUMNS and LINES, then 80 x 24, when unknown. */
void console_window(FILE *stream, int *columns, int *rows);
/* True when the environment names a UTF-8 locale. */
bool console_is_utf8(void);

#endif
