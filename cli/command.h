/* SPDX-License-Identifier: Apache-2.0 */
/* The first lines of every command that prints errors and exits. */
#ifndef CLI_COMMAND_H
#define CLI_COMMAND_H

#include "cli/options.h"

/*
 * command_parse() - options_parse() for commands that take nothing behind "--", errors printed
 * @path: of the command, for the error
 * Return: EXIT_OK, or the exit code
 */
int command_parse(const char *path, const struct option_row *rows, void *target, int argc,
	char **argv, const char **args, int max, int *ret_n);

/* command_missing() - the usage error for an argument that is not there. Return: EXIT_USAGE */
int command_missing(const char *path, const char *what);

#endif
