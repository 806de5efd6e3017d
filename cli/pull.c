/* SPDX-License-Identifier: Apache-2.0 */
/* msb pull: bring an image into the cache. cli.md 1.3, 5.6. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/command.h"
#include "cli/image_program.h"
#include "cli/image_record.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/pull.h"
#include "image/settings.h"
#include "lib/clock.h"

#define PASSWORD_MAX 4096

/* @flat: the form that --root-disk flat starts from, too */
struct pull_args {
	struct image_pull_options options;
	bool quiet, password_stdin, flat;
};

static int set_force(void *target, const char *value, struct err *err)
{
	((struct pull_args *)target)->options.force = true;
	return 0;
}

static int set_quiet(void *target, const char *value, struct err *err)
{
	((struct pull_args *)target)->quiet = true;
	return 0;
}

static int set_insecure(void *target, const char *value, struct err *err)
{
	((struct pull_args *)target)->options.insecure = true;
	return 0;
}

static int set_ca_certs(void *target, const char *value, struct err *err)
{
	((struct pull_args *)target)->options.ca_certs = value;
	return 0;
}

static int set_username(void *target, const char *value, struct err *err)
{
	((struct pull_args *)target)->options.username = value;
	return 0;
}

static int set_password_stdin(void *target, const char *value, struct err *err)
{
	((struct pull_args *)target)->password_stdin = true;
	return 0;
}

/* Layers and their merged metadata are what any form is made of: they are there with each. */
static int set_materialize(void *target, const char *value, struct err *err)
{
	bool flat = strcmp(value, "flat") == 0 || strcmp(value, "all") == 0;

	if (!flat && strcmp(value, "layered") != 0)
		return err_msg(
			err, EDOM, "unknown form '%s': there are layered, flat and all", value);
	((struct pull_args *)target)->flat = flat;
	return 0;
}

static const struct option_row rows[] = {
	{ 'f', "force", NULL, "download it even if it is in the cache", set_force },
	{ 'q', "quiet", NULL, "say nothing but errors", set_quiet },
	{ 0, "insecure", NULL, "talk plain HTTP to its registry", set_insecure },
	{ 0, "ca-certs", "FILE", "trust these certificates too (PEM)", set_ca_certs },
	{ 0, "materialize", "FORM",
		"layered (default), flat: also as --root-disk flat starts from, or all",
		set_materialize },
	{ 'u', "username", "USER", "sign in as this user; needs --password-stdin", set_username },
	{ 0, "password-stdin", NULL, "read the password from standard input", set_password_stdin },
	{ 0 },
};

static void describe(void)
{
	printf("\nREFERENCE is NAME[:TAG] or NAME@DIGEST, with the registry in front where it is "
	       "not the\ndefault one: localhost:5000/tools/image:1.2. Interrupted downloads go on "
	       "where they stopped.\n\nOptions:\n");
	options_help(rows, stdout);
}

/* The first line of standard input. */
static int read_password(char *ret, size_t size, struct err *err)
{
	size_t len;

	if (!fgets(ret, (int)size, stdin))
		return err_msg(err, EIO, "no password on standard input");
	len = strcspn(ret, "\r\n");
	if (!ret[len] && len + 1 == size)
		return err_msg(err, E2BIG, "the password is too long");
	ret[len] = '\0';
	return 0;
}

static int check(struct pull_args *a, char *password, size_t size, struct err *err)
{
	if (!a->options.username != !a->password_stdin)
		return err_msg(err, EINVAL, "--username and --password-stdin belong together");
	if (!a->password_stdin)
		return 0;
	a->options.password = password;
	return read_password(password, size, err);
}

int pull_image(struct store *store, const char *reference, struct image_pull_options *o, bool quiet,
	struct image **ret, struct err *err)
{
	struct image_settings *settings = NULL;
	struct progress progress;
	int rc = image_settings_from(
		store->home.config, store->home.dir[HOME_SECRETS], &settings, err);

	if (rc < 0)
		return rc;
	progress_init(&progress, "Pulling", reference, quiet);
	o->settings = settings;
	o->progress = progress_event;
	o->progress_ctx = &progress;
	rc = image_pull(store->cache, reference, o, ret, err);
	progress_end(&progress);
	if (rc < 0)
		image_explain_full(store, err);
	o->settings = NULL;
	image_settings_free(settings);
	/* What would be of use to the next pull is in the way of everybody now. */
	if (rc == -ENOSPC || rc == -EDQUOT)
		store_make_room(store);
	return rc;
}

/* The image is pulled and recorded; if this fails it stays, and the next try needs no network. */
static int materialize_flat(struct store *store, const struct image *image, bool force,
	bool *ret_cached, struct err *err)
{
	cleanup_fd int fd = -1;
	bool made;
	int rc = image_make_flat(store->cache, image, force, &made, &fd, err);

	if (rc < 0)
		image_explain_full(store, err);
	else if (made)
		*ret_cached = false;
	return rc;
}

static int pull(struct pull_args *a, const char *reference, bool *ret_cached, struct err *err)
{
	cleanup_store struct store store = { 0 };
	cleanup_image struct image *image = NULL;
	int rc = store_open(CATALOGUE_WRITE, &store, err);

	rc = rc ? rc : pull_image(&store, reference, &a->options, a->quiet, &image, err);
	if (rc < 0)
		return rc;
	rc = image_record(&store, image, err);
	if (rc < 0) {
		image_drop(&store, &image, 1);
		return rc;
	}
	*ret_cached = image->was_cached;
	return a->flat ? materialize_flat(&store, image, a->options.force, ret_cached, err) : 0;
}

static int run(int argc, char **argv)
{
	struct pull_args a = { 0 };
	char password[PASSWORD_MAX];
	const char *reference = NULL;
	uint64_t start = clock_mono_ns();
	bool cached = false;
	struct err err = ERR_INIT;
	int n, rc, code = command_parse("pull", rows, &a, argc, argv, &reference, 1, &n);

	if (code != EXIT_OK)
		return code;
	if (!n)
		return command_missing("pull", "REFERENCE");
	rc = check(&a, password, sizeof(password), &err);
	if (rc == -EINVAL)
		return cli_usage_error("pull", &err);
	rc = rc ? rc : pull(&a, reference, &cached, &err);
	explicit_bzero(password, sizeof(password));
	if (rc < 0)
		return output_failed(&err);
	if (!a.quiet)
		output_done("Pulled", reference, cached ? "already cached" : NULL,
			clock_mono_ns() - start);
	return EXIT_OK;
}

const struct command command_pull = {
	.name = "pull",
	.usage = "[OPTIONS] REFERENCE",
	.help = HELP_PULL,
	.run = run,
	.describe = describe,
};
