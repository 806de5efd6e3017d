/* SPDX-License-Identifier: Apache-2.0 */
/* msb-image fetch: the pull of an "msb run", whose end of the socket is image_program.c. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/image_program.h"
#include "cli/pull.h"
#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/num.h"

static int parse(char **argv, struct image_pull_options *o, struct err *err)
{
	uint64_t policy = 0, level = 0;
	int rc = num_parse_u64(argv[1], "the policy", IMAGE_IF_MISSING, IMAGE_NEVER, &policy, err);

	rc = rc ? rc : num_parse_u64(argv[2], "the log level", LOG_OFF, LOG_TRACE, &level, err);
	if (rc < 0)
		return rc;
	o->policy = (enum image_policy)policy;
	log_set_sink(NULL, NULL, (enum log_level)level);
	return 0;
}

/* The image is marked as in use by both of us until msb has opened it, or is gone. */
static int report(const struct err *err)
{
	char none;

	if (send(IMAGE_FETCH_FD, err, sizeof(*err), MSG_NOSIGNAL) != sizeof(*err))
		return EXIT_FAILED;
	if (err->code)
		return EXIT_FAILED;
	while (recv(IMAGE_FETCH_FD, &none, sizeof(none), 0) < 0 && errno == EINTR)
		;
	return EXIT_OK;
}

static int run(int argc, char **argv)
{
	struct image_pull_options options = { .policy = IMAGE_IF_MISSING };
	cleanup_store struct store store = { 0 };
	cleanup_image struct image *image = NULL;
	struct err err = ERR_INIT;
	cleanup_fd int flat_fd = -1;
	int rc;

	if (argc != 5)
		return cli_error("'msb-image fetch' is for 'msb run' only");
	rc = parse(argv, &options, &err);
	rc = rc ? rc : store_open(CATALOGUE_WRITE, &store, &err);
	rc = rc ? rc : pull_image(&store, argv[4], &options, false, &image, &err);
	if (rc == 0 && strcmp(argv[3], IMAGE_FETCH_FLAT) == 0)
		rc = image_make_flat(store.cache, image, false, NULL, &flat_fd, &err);
	if (rc == 0)
		err_clear(&err); /* of what went well in the end */
	return report(&err);
}

static void describe(void)
{
}

const struct command command_fetch = {
	.name = "fetch",
	.usage = "POLICY LEVEL FORM REFERENCE",
	.help = "for msb run",
	.run = run,
	.describe = describe,
	.hidden = true,
};
