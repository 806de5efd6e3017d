/* SPDX-License-Identifier: Apache-2.0 */
/* msb: finds the command in the table and runs it. */
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "lib/clock.h"
#include "lib/num.h"

static const struct command *const commands[] = {
	&command_run,
};

static uint64_t start_ns;

uint64_t cli_start_ns(void)
{
	return start_ns;
}

int cli_error(const char *fmt, ...)
{
	va_list ap;

	(void)fputs("error: ", stderr);
	va_start(ap, fmt);
	(void)vfprintf(stderr, fmt, ap);
	va_end(ap);
	(void)fputc('\n', stderr);
	return EXIT_FAILED;
}

int cli_usage_error(const char *command, const struct err *err)
{
	(void)fprintf(stderr, "error: %s\nFor more, see 'msb %s%s--help'.\n", err->msg, command,
		*command ? " " : "");
	return EXIT_USAGE;
}

static void print_help(void)
{
	printf("Run untrusted code in small virtual machines.\n\nUsage: msb COMMAND [OPTIONS] "
	       "...\n\n"
	       "Commands:\n");
	for (unsigned i = 0; i < ARRAY_LEN(commands); i++)
		printf("  %-12s%s\n", commands[i]->name, commands[i]->help);
	printf("\nOptions:\n  -h, --help     this text; after a command, its own\n"
	       "  -V, --version  the version of msb\n");
}

static void print_command_help(const struct command *c)
{
	printf("%s\n\nUsage: msb %s %s\n", c->help, c->name, c->usage);
	c->describe();
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

static int unknown_command(const char *word)
{
	const char *names[ARRAY_LEN(commands) + 1] = { NULL }, *like;
	struct err err = ERR_INIT;

	for (unsigned i = 0; i < ARRAY_LEN(commands); i++)
		names[i] = commands[i]->name;
	like = cli_suggest(word, names);
	if (word[0] == '-')
		(void)err_msg(&err, EINVAL, "unexpected argument '%s'", word);
	else
		(void)err_msg(&err, EINVAL, "unrecognized command '%s'%s%s%s", word,
			like ? "; did you mean '" : "", like ? like : "", like ? "'?" : "");
	return cli_usage_error("", &err);
}

/* A full disk or a closed pipe behind stdout is a failure only if something was printed. */
static int flush_stdout(int code)
{
	if (fflush(stdout) != 0 && code == EXIT_OK && errno != EPIPE)
		return cli_error("write to standard output: %s", strerror(errno));
	return code;
}

int main(int argc, char **argv)
{
	const char *word = argc > 1 ? argv[1] : "--help";

	start_ns = clock_mono_ns();
	if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
		print_help();
		return flush_stdout(EXIT_OK);
	}
	if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0) {
		printf("msb %s\n", MSB_VERSION);
		return flush_stdout(EXIT_OK);
	}
	for (unsigned i = 0; i < ARRAY_LEN(commands); i++) {
		if (strcmp(word, commands[i]->name) != 0)
			continue;
		if (wants_help(argc - 1, argv + 1)) {
			print_command_help(commands[i]);
			return flush_stdout(EXIT_OK);
		}
		return commands[i]->run(argc - 1, argv + 1);
	}
	return unknown_command(word);
}
