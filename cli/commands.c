/* SPDX-License-Identifier: Apache-2.0 */
/* Finds the command in the table and runs it. */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/num.h"

/* More than any table has. */
#define NAMES_MAX 64
/* Longer than any message, whose own limit is ERR_MSG_MAX, with what is put around it. */
#define LINE_MAX_BYTES 2048

static uint64_t start_ns;

uint64_t cli_start_ns(void)
{
	return start_ns;
}

int cli_error(const char *fmt, ...)
{
	char line[LINE_MAX_BYTES];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	/* It may repeat what a stranger said, or the name of a file with a newline in it. */
	log_clean(line);
	(void)fprintf(stderr, "error: %s\n", line);
	return EXIT_FAILED;
}

int cli_usage_error(const char *command, const struct err *err)
{
	(void)cli_error("%s", err->msg);
	(void)fprintf(stderr, "For more, see 'msb %s%s--help'.\n", command, *command ? " " : "");
	return EXIT_USAGE;
}

static void print_table(const struct command *const *table, FILE *out)
{
	(void)fputs("Commands:\n", out);
	for (; *table; table++) {
		if ((*table)->hidden)
			continue;
		(void)fprintf(out, "  %-12s%s", (*table)->name, (*table)->help);
		if ((*table)->aliases)
			(void)fprintf(out, " [also: %s]", (*table)->aliases[0]);
		(void)fputc('\n', out);
	}
}

static void print_help(const struct command *const *table, const char *about)
{
	printf("%s\n\nUsage: msb COMMAND [OPTIONS] ...\n\n", about);
	print_table(table, stdout);
	printf("\nOptions:\n  -h, --help     this text; after a command, its own\n"
	       "  -V, --version  the version of msb\n");
}

static const char *path_of(const struct command *c)
{
	return c->path ? c->path : c->name;
}

static void print_command_help(const struct command *c, FILE *out)
{
	(void)fprintf(out, "%s\n\nUsage: msb %s %s\n", c->help, path_of(c),
		c->subs ? "COMMAND" : c->usage);
	if (!c->subs) {
		c->describe();
		return;
	}
	(void)fputc('\n', out);
	print_table(c->subs, out);
	(void)fprintf(out, "\nFor more, see 'msb %s COMMAND --help'.\n", path_of(c));
}

/* --help counts among the options of msb, so not behind "--". */
static bool wants_help(int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
			return true;
	}
	return false;
}

static int unknown_command(const struct command *const *table, const char *path, const char *word)
{
	const char *names[NAMES_MAX + 1] = { NULL }, *like;
	struct err err = ERR_INIT;
	unsigned n = 0;

	for (unsigned i = 0; table[i] && n + 1 < NAMES_MAX; i++) {
		names[n++] = table[i]->name;
		if (table[i]->aliases)
			names[n++] = table[i]->aliases[0];
	}
	like = cli_suggest(word, names);
	if (word[0] == '-')
		(void)err_msg(&err, EINVAL, "unexpected argument '%s'", word);
	else
		(void)err_msg(&err, EINVAL, "unrecognized command '%s'%s%s%s", word,
			like ? "; did you mean '" : "", like ? like : "", like ? "'?" : "");
	return cli_usage_error(path, &err);
}

/* A full disk or a closed pipe behind stdout is a failure only if something was printed. */
static int flush_stdout(int code)
{
	if (fflush(stdout) != 0 && code == EXIT_OK && errno != EPIPE)
		return cli_error("write to standard output: %s", strerror(errno));
	return code;
}

static bool is_help(const char *word)
{
	return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

static const struct command *find(const struct command *const *table, const char *word)
{
	for (; *table; table++) {
		const char *const *alias = (*table)->aliases;

		if (strcmp((*table)->name, word) == 0)
			return *table;
		for (; alias && *alias; alias++) {
			if (strcmp(*alias, word) == 0)
				return *table;
		}
	}
	return NULL;
}

static int run_command(const struct command *c, int argc, char **argv)
{
	if (c->subs && argc < 2) {
		print_command_help(c, stderr);
		return EXIT_USAGE;
	}
	if (c->subs && !is_help(argv[1])) {
		const struct command *sub = find(c->subs, argv[1]);

		return sub ? run_command(sub, argc - 1, argv + 1)
			   : unknown_command(c->subs, path_of(c), argv[1]);
	}
	if (!c->elsewhere && wants_help(argc, argv)) {
		print_command_help(c, stdout);
		return flush_stdout(EXIT_OK);
	}
	return flush_stdout(c->run(argc, argv));
}

int cli_main(const struct command *const *table, const char *about, int argc, char **argv)
{
	const char *word = argc > 1 ? argv[1] : "--help";
	const struct command *c;

	start_ns = clock_mono_ns();
	/* A file that grows beyond ulimit -f is an error with words, not an end without any. */
	(void)signal(SIGXFSZ, SIG_IGN);
	if (is_help(word)) {
		print_help(table, about);
		return flush_stdout(EXIT_OK);
	}
	if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0) {
		printf("msb %s\n", MSB_VERSION);
		return flush_stdout(EXIT_OK);
	}
	c = find(table, word);
	return c ? run_command(c, argc - 1, argv + 1) : unknown_command(table, "", word);
}
