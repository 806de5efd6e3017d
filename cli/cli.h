/* SPDX-License-Identifier: Apache-2.0 */
/* What the commands of msb share. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/err.h"

/* Exit codes (docs/cli.md); a command in the guest has its own. */
#define EXIT_OK	      0
#define EXIT_FAILED   1 /* msb could not do it */
#define EXIT_USAGE    2 /* msb did not understand */
#define EXIT_SIGNALED 128

/*
 * struct command - one row of a table of commands, which ends with NULL
 * @path:    the words that lead to it, for usage and errors: "volume create"
 * @aliases: other names, NULL-terminated; NULL: none
 * @hidden:  works, but is not in the list
 * @elsewhere: another program has it: @run starts that, for --help too; it has no @usage and
 *           @describe here
 * @subs:    a group: the commands behind it; @run and @describe are NULL then
 */
struct command {
	const char *name;
	const char *usage;		   /* what follows the path on the usage line */
	const char *help;		   /* one line */
	int (*run)(int argc, char **argv); /* argv[0] is the name; returns the exit code */
	void (*describe)(void);		   /* the options and what else --help says */
	const char *path;		   /* NULL: the name */
	const char *const *aliases;
	const struct command *const *subs;
	bool hidden, elsewhere;
};

extern const struct command command_run;
extern const struct command command_pull, command_load, command_save;
extern const struct command command_fetch; /* of msb-image, for msb run */
extern const struct command command_images, command_rmi;
extern const struct command command_image, command_volume;

/*
 * cli_main() - run the command that the arguments name
 * @table: what there is, NULL-terminated
 * @about: one line for --help
 * Return: the exit code
 */
int cli_main(const struct command *const *table, const char *about, int argc, char **argv);

/* cli_start_ns() - when cli_main() began, on the clock of lib/clock.h. */
uint64_t cli_start_ns(void);

/* cli_error() - "error: MESSAGE" on stderr; returns EXIT_FAILED, for `return cli_error(...)`. */
int cli_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* cli_usage_error() - the same, and a second line that says where help is; returns EXIT_USAGE. */
int cli_usage_error(const char *command, const struct err *err);

/*
 * cli_suggest() - the name most like @word, for "did you mean"
 * @names: NULL-terminated
 * Return: one of @names, or NULL if none is close
 */
const char *cli_suggest(const char *word, const char *const *names);

#endif
