/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a qcow2 image may read the files it builds on, and where: backing= and --backing. */
#ifndef CLI_BACKING_ARGS_H
#define CLI_BACKING_ARGS_H

#include <stdbool.h>

#include "block/block.h"
#include "lib/err.h"

/* struct backing_arg - @folder: where they may be; NULL: in that of the image */
struct backing_arg {
	bool on;
	const char *folder;
};

/* backing_arg_parse() - on, off, or a path. Return: 0 and *ret, which points into @value; -EDOM. */
int backing_arg_parse(const char *value, struct backing_arg *ret, struct err *err);

/* backing_arg_check() - only qcow2 images build on others. Return: 0; -EDOM. */
int backing_arg_check(const struct backing_arg *arg, enum block_format format, struct err *err);

#endif
