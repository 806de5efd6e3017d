/* SPDX-License-Identifier: Apache-2.0 */
/* msb: the table of its commands. */
#include "cli/cli.h"

static const struct command *const commands[] = {
	&command_run,
	&command_pull,
	&command_load,
	&command_save,
	&command_image,
	&command_volume,
	&command_images,
	&command_rmi,
	NULL,
};

int main(int argc, char **argv)
{
	return cli_main(commands, "Run untrusted code in small virtual machines.", argc, argv);
}
