/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/output.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/num.h"

#define COLUMN_GAP   4
#define KEY_WIDTH    16
#define SLOW_NS	     (500 * NS_PER_MS)
#define SHORT_DIGEST 12

bool output_colour(FILE *stream)
{
	const char *never = getenv("NO_COLOR"), *force = getenv("CLICOLOR_FORCE");

	if (never && *never)
		return false;
	return (force && strcmp(force, "1") == 0) || isatty(fileno(stream));
}

void output_done(const char *verb, const char *target, const char *note, uint64_t elapsed_ns)
{
	bool colour = output_colour(stderr);

	(void)fprintf(
		stderr, "   %s✓%s %-12s ", colour ? "\033[32m" : "", colour ? "\033[0m" : "", verb);
	output_text(target, stderr);
	if (note)
		(void)fprintf(stderr, " (%s)", note);
	else if (elapsed_ns > SLOW_NS)
		(void)fprintf(stderr, " (%.1fs)", (double)elapsed_ns / (double)NS_PER_S);
	(void)fputc('\n', stderr);
}

void output_text(const char *text, FILE *stream)
{
	cleanup_free char *copy = strdup(text);

	if (!copy)
		return;
	log_clean(copy);
	(void)fputs(copy, stream);
}

int output_failed(const struct err *err)
{
	return cli_error("%s", err->msg);
}

void output_notice(const char *line)
{
	(void)fprintf(stderr, "%s\n", line);
}

/* --- tables */

int table_add(struct table *t, const char *text)
{
	char **more = realloc(t->cells, (t->n_cells + 1) * sizeof(*more));

	if (!more)
		return -ENOMEM;
	t->cells = more;
	more[t->n_cells] = strdup(text ? text : "-");
	if (!more[t->n_cells])
		return -ENOMEM;
	log_clean(more[t->n_cells]);
	t->n_cells++;
	return 0;
}

void table_release(struct table *t)
{
	for (size_t i = 0; i < t->n_cells; i++)
		free(t->cells[i]);
	free(t->cells);
	t->cells = NULL;
	t->n_cells = 0;
}

static size_t width_of(const struct table *t, size_t column)
{
	size_t width = strlen(t->headers[column]);

	for (size_t i = column; i < t->n_cells; i += t->n_columns)
		width = MAX_OF(width, strlen(t->cells[i]));
	return width;
}

static void print_cell(const struct table *t, size_t column, const char *text)
{
	if (column + 1 == t->n_columns)
		printf("%s\n", text);
	else
		printf("%-*s", (int)(width_of(t, column) + COLUMN_GAP), text);
}

void table_print(const struct table *t)
{
	bool colour = output_colour(stdout);

	if (!t->n_cells)
		return;
	(void)fputs(colour ? "\033[36;1m" : "", stdout);
	for (size_t c = 0; c < t->n_columns; c++)
		print_cell(t, c, t->headers[c]);
	(void)fputs(colour ? "\033[0m" : "", stdout);
	for (size_t i = 0; i < t->n_cells; i++)
		print_cell(t, i % t->n_columns, t->cells[i]);
}

void output_row(const char *key, const char *value)
{
	char label[64];

	(void)snprintf(label, sizeof(label), "%s:", key);
	printf("%-*s", KEY_WIDTH, label);
	output_text(value ? value : "-", stdout);
	(void)putchar('\n');
}

/* What terminals act on and JSON leaves as it is: DEL and the controls beyond ASCII, in UTF-8. */
static void print_json(const char *text)
{
	for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
		if (*p == 0x7f)
			printf("\\u007f");
		else if (*p == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0)
			printf("\\u00%02x", *++p);
		else
			(void)putchar(*p);
	}
	(void)putchar('\n');
}

int output_json(json_t *doc)
{
	char *text =
		doc ? json_dumps(doc, JSON_INDENT(2) | JSON_SORT_KEYS | JSON_ENCODE_ANY) : NULL;
	int code = EXIT_OK;

	if (text)
		print_json(text);
	else
		code = cli_error("cannot write JSON: out of memory");
	free(text);
	json_decref(doc);
	return code;
}

/* --- values */

void output_size(uint64_t bytes, char ret[static OUTPUT_TEXT_MAX])
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	uint64_t unit = 1;
	unsigned u = 0;

	while (u + 1 < ARRAY_LEN(units) && bytes / unit >= 1024) {
		unit *= 1024;
		u++;
	}
	if (bytes % unit == 0)
		(void)snprintf(ret, OUTPUT_TEXT_MAX, "%llu %s", (unsigned long long)(bytes / unit),
			units[u]);
	else
		(void)snprintf(
			ret, OUTPUT_TEXT_MAX, "%.1f %s", (double)bytes / (double)unit, units[u]);
}

void output_time(const char *utc, char ret[static OUTPUT_TEXT_MAX])
{
	struct tm tm = { 0 };
	const char *end = utc ? strptime(utc, "%Y-%m-%d", &tm) : NULL;
	time_t t;

	if (end && (*end == ' ' || *end == 'T'))
		end = strptime(end + 1, "%H:%M:%S", &tm);
	(void)snprintf(ret, OUTPUT_TEXT_MAX, "-");
	if (!end)
		return;
	t = timegm(&tm);
	if (localtime_r(&t, &tm))
		(void)strftime(ret, OUTPUT_TEXT_MAX, "%Y-%m-%d %H:%M:%S", &tm);
}

void output_rfc3339(const char *utc, char ret[static OUTPUT_TEXT_MAX])
{
	size_t len = utc ? strlen(utc) : 0;
	char *blank;

	*ret = '\0';
	if (!len || len + 8 > OUTPUT_TEXT_MAX)
		return;
	(void)snprintf(ret, OUTPUT_TEXT_MAX, "%s%s", utc, strchr(utc, 'T') ? "" : "+00:00");
	blank = strchr(ret, ' ');
	if (blank)
		*blank = 'T';
}

void output_short_digest(const char *digest, char ret[static OUTPUT_TEXT_MAX])
{
	size_t prefix = strcspn(digest, ":");

	(void)snprintf(ret, OUTPUT_TEXT_MAX, "%.*s", (int)(prefix + 1 + SHORT_DIGEST), digest);
}

int output_confirm(const char *question)
{
	char answer[16];

	if (!isatty(STDIN_FILENO))
		return -ENOTTY;
	(void)fprintf(stderr, "%s [y/N] ", question);
	if (!fgets(answer, sizeof(answer), stdin))
		return 0;
	return answer[0] == 'y' || answer[0] == 'Y';
}
