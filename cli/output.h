/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How commands other than run print: data on stdout, everything else on stderr. cli.md 2.7.
 */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "lib/err.h"

struct json_t;

/* output_colour() - may @stream have colours? A terminal, or CLICOLOR_FORCE; never with NO_COLOR */
bool output_colour(FILE *stream);

/* output_done() - "   ✓ Removed      TARGET (1.2s)" on stderr; the time if over half a second */
void output_done(const char *verb, const char *target, const char *note, uint64_t elapsed_ns);

/* output_text() - words of strangers, such as an image's: control characters as '?' */
void output_text(const char *text, FILE *stream);

/* output_failed() - "error: ..." on stderr. Return: EXIT_FAILED */
int output_failed(const struct err *err);

/* output_notice() - a line on stderr */
void output_notice(const char *line);

/*
 * struct table - rows of cells, printed when all are known
 * @cells: each allocated; n_rows * n_columns
 */
struct table {
	const char *const *headers;
	size_t n_columns, n_cells;
	char **cells;
};

/* table_add() - the next cell, copied. Return: 0; -ENOMEM */
int table_add(struct table *t, const char *text);
/* table_print() - to stdout; nothing without rows */
void table_print(const struct table *t);
void table_release(struct table *t);
#define cleanup_table __attribute__((cleanup(table_release)))

/* output_row() - "Key:            value" on stdout */
void output_row(const char *key, const char *value);

/* output_json() - on stdout, pretty, sorted; frees @doc. Return: exit code */
int output_json(struct json_t *doc);

#define OUTPUT_TEXT_MAX 64

/* output_size() - "512 MiB", "4 GiB", "12.5 KiB" */
void output_size(uint64_t bytes, char ret[static OUTPUT_TEXT_MAX]);

/* output_time() - of the catalogue, in local time to the second; "-" for what is none */
void output_time(const char *utc, char ret[static OUTPUT_TEXT_MAX]);

/* output_rfc3339() - the same for JSON, with all digits; "" for what is none */
void output_rfc3339(const char *utc, char ret[static OUTPUT_TEXT_MAX]);

/* output_short_digest() - "sha256:" and 12 digits */
void output_short_digest(const char *digest, char ret[static OUTPUT_TEXT_MAX]);

/*
 * output_confirm() - ask on the terminal
 * Return: 1 yes, 0 no; -ENOTTY: standard input is no terminal
 */
int output_confirm(const char *question);

#endif
