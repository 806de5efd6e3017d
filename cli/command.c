/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/command.h"

#include <errno.h>

#include "cli/cli.h"
#include "cli/output.h"

int command_parse(const char *path, const struct option_row *rows, void *target, int argc,
	char **argv, const char **args, int max, int *ret_n)
{
	struct err err = ERR_INIT;
	int rest, rc = options_parse(rows, target, argc, argv, args, max, ret_n, &rest, &err);

	if (rc == 0 && rest < argc)
		rc = err_msg(&err, EINVAL, "unexpected argument '%s'", argv[rest]);
	if (rc == -EINVAL)
		return cli_usage_error(path, &err);
	return rc < 0 ? output_failed(&err) : EXIT_OK;
}

int command_missing(const char *path, const char *what)
{
	struct err err = ERR_INIT;

	(void)err_msg(&err, EINVAL, "missing argument: %s", what);
	return cli_usage_error(path, &err);
}
