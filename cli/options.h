/* SPDX-License-Identifier: Apache-2.0 */
/* Options from a table: the rows yield both the parsing and the help. */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <stddef.h>
#include <stdio.h>

#include "lib/err.h"

/*
 * struct option_row - a table of these ends with a row without name, which may lead to another
 *table
 * @letter: short form, 0 for none
 * @value:  name of the value in the help; NULL: a flag, and apply() gets NULL
 * @apply:  store the option in @target. Return: 0; -EINVAL for what is no legal value (usage
 *	    error); any other -errno for a value that cannot be had (failure). Messages are without
 *	    the option's name, which is put in front
 * @more, @offset: last row only: the table goes on there, for the part of the target that begins
 *	    at that offset; its @help is then a heading
 */
struct option_row {
	char letter;
	const char *name;
	const char *value;
	const char *help;
	int (*apply)(void *target, const char *value, struct err *err);
	const struct option_row *more;
	size_t offset;
};

/*
 * options_parse() - parse @argv[1..]; options may stand before and behind other arguments
 * @args, @n_args: room for the arguments that are no options, in order; at most @max. *@n_args is
 *	    @max + 1 when one is too many, which is where parsing ends
 * @ret_rest: index of the first word behind "--" or of that one too many, or argc
 * Return: 0; -EINVAL usage error; another -errno from apply()
 */
int options_parse(const struct option_row *rows, void *target, int argc, char **argv,
	const char **args, int max, int *n_args, int *ret_rest, struct err *err);

/* options_help() - one or two lines per row. */
void options_help(const struct option_row *rows, FILE *out);

#endif
