/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/backing_args.h"

#include <errno.h>
#include <string.h>

int backing_arg_parse(const char *value, struct backing_arg *ret, struct err *err)
{
	bool folder = value[0] == '/' || value[0] == '.';

	if (!folder && strcmp(value, "on") != 0 && strcmp(value, "off") != 0)
		return err_msg(err, EDOM,
			"backing is on, off, or a folder that begins with '/' or '.', not '%s'",
			value);
	if (strchr(value, ','))
		return err_msg(
			err, EDOM, "the folder of backing files may not hold ',': '%s'", value);
	*ret = (struct backing_arg){ .on = strcmp(value, "off") != 0,
		.folder = folder ? value : NULL };
	return 0;
}

int backing_arg_check(const struct backing_arg *arg, enum block_format format, struct err *err)
{
	if (!arg->on || format == BLOCK_QCOW2)
		return 0;
	return err_msg(err, EDOM, "backing files are for qcow2 images, not for %s",
		block_format_name(format));
}
