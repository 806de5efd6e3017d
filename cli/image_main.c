/* SPDX-License-Identifier: Apache-2.0 */
/* msb-image: the commands of msb that make images; what msb runs it for is in image_program.h. */
#include "cli/cli.h"

static const struct command *const commands[] = {
	&command_pull,
	&command_load,
	&command_save,
	&command_fetch,
	NULL,
};

int main(int argc, char **argv)
{
	return cli_main(commands, "The part of msb that speaks to registries and reads archives.",
		argc, argv);
}
