/* SPDX-License-Identifier: Apache-2.0 */
/* msb image: what is in the cache. cli.md 1.3, 5.6. */
#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/command.h"
#include "cli/image_inspect.h"
#include "cli/image_record.h"
#include "cli/output.h"
#include "lib/clock.h"
#include "lib/num.h"

#define REFERENCES_MAX 1024

struct image_args {
	bool quiet, json, force, yes;
};

static int set_quiet(void *target, const char *value, struct err *err)
{
	((struct image_args *)target)->quiet = true;
	return 0;
}

static int set_force(void *target, const char *value, struct err *err)
{
	((struct image_args *)target)->force = true;
	return 0;
}

static int set_yes(void *target, const char *value, struct err *err)
{
	((struct image_args *)target)->yes = true;
	return 0;
}

static int set_format(void *target, const char *value, struct err *err)
{
	if (strcmp(value, "json") != 0)
		return err_msg(err, EINVAL, "'%s' is not json", value);
	((struct image_args *)target)->json = true;
	return 0;
}

/* --- list */

static const struct option_row list_rows[] = {
	{ 0, "format", "json", "print JSON", set_format },
	{ 'q', "quiet", NULL, "references only", set_quiet },
	{ 0 },
};

static void describe_list(void)
{
	printf("\nOptions:\n");
	options_help(list_rows, stdout);
}

static int print_json(const struct catalogue_image *images, size_t n)
{
	json_t *doc = json_array();

	for (size_t i = 0; doc && i < n; i++)
		(void)json_array_append_new(doc, image_summary_json(&images[i]));
	return output_json(doc);
}

static int print_list(const struct catalogue_image *images, size_t n)
{
	static const char *const headers[] = { "REFERENCE", "DIGEST", "SIZE", "CREATED" };
	cleanup_table struct table t = { headers, ARRAY_LEN(headers), 0, NULL };
	char text[OUTPUT_TEXT_MAX];
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < n; i++) {
		rc = table_add(&t, images[i].reference);
		output_short_digest(images[i].manifest_digest, text);
		rc = rc ? rc : table_add(&t, text);
		output_size(images[i].total_size, text);
		rc = rc ? rc : table_add(&t, text);
		output_time(images[i].created_at, text);
		rc = rc ? rc : table_add(&t, text);
	}
	if (rc < 0)
		return cli_error("cannot list images: out of memory");
	table_print(&t);
	if (!n)
		output_notice("No images found.");
	return EXIT_OK;
}

static int run_list(int argc, char **argv)
{
	struct image_args a = { 0 };
	cleanup_store struct store store = { 0 };
	struct catalogue_image *images = NULL;
	struct err err = ERR_INIT;
	size_t count = 0;
	int n, rc, code;

	code = command_parse("image list", list_rows, &a, argc, argv, NULL, 0, &n);
	if (code != EXIT_OK)
		return code;
	rc = store_open(CATALOGUE_READ, &store, &err);
	rc = rc ? rc : catalogue_image_list(store.catalogue, &images, &count, &err);
	if (rc < 0)
		return output_failed(&err);
	if (a.json)
		code = print_json(images, count);
	else if (!a.quiet)
		code = print_list(images, count);
	for (size_t i = 0; a.quiet && !a.json && i < count; i++)
		printf("%s\n", images[i].reference);
	catalogue_images_free(images, count);
	return code;
}

static const char *const list_aliases[] = { "ls", NULL };
static const struct command list = {
	.name = "list",
	.path = "image list",
	.aliases = list_aliases,
	.usage = "[OPTIONS]",
	.help = "list images in the cache",
	.run = run_list,
	.describe = describe_list,
};

const struct command command_images = {
	.name = "images",
	.path = "image list",
	.usage = "[OPTIONS]",
	.help = "list images in the cache",
	.run = run_list,
	.describe = describe_list,
	.hidden = true,
};

/* --- remove */

static const struct option_row remove_rows[] = {
	{ 'f', "force", NULL, "also if a sandbox uses it; running ones go on", set_force },
	{ 'q', "quiet", NULL, "say nothing but errors", set_quiet },
	{ 0 },
};

static void describe_remove(void)
{
	printf("\nLayers that other images need stay.\n\nOptions:\n");
	options_help(remove_rows, stdout);
}

static int remove_one(struct store *store, const char *reference, const struct image_args *a)
{
	cleanup_free char *stored = NULL, *canonical = NULL;
	uint64_t start = clock_mono_ns();
	struct err err = ERR_INIT;
	int rc = image_find_stored(store, reference, &stored, &canonical, &err);

	rc = rc ? rc : store_image_remove(store, stored, canonical, a->force, NULL, &err);
	if (rc < 0)
		return output_failed(&err);
	if (!a->quiet)
		output_done("Removed", reference, NULL, clock_mono_ns() - start);
	return EXIT_OK;
}

static int run_remove(int argc, char **argv)
{
	struct image_args a = { 0 };
	cleanup_store struct store store = { 0 };
	const char *references[REFERENCES_MAX];
	struct err err = ERR_INIT;
	int n, code;

	code = command_parse(
		"image remove", remove_rows, &a, argc, argv, references, REFERENCES_MAX, &n);
	if (code != EXIT_OK)
		return code;
	if (!n)
		return command_missing("image remove", "REFERENCE");
	if (store_open_to_free(&store, &err) < 0)
		return output_failed(&err);
	for (int i = 0; i < n; i++) {
		if (remove_one(&store, references[i], &a) != EXIT_OK)
			code = EXIT_FAILED;
	}
	return code;
}

static const char *const remove_aliases[] = { "rm", NULL };
static const struct command remove_ = {
	.name = "remove",
	.path = "image remove",
	.aliases = remove_aliases,
	.usage = "[OPTIONS] REFERENCE...",
	.help = "delete images from the cache",
	.run = run_remove,
	.describe = describe_remove,
};

const struct command command_rmi = {
	.name = "rmi",
	.path = "image remove",
	.usage = "[OPTIONS] REFERENCE...",
	.help = "delete images from the cache",
	.run = run_remove,
	.describe = describe_remove,
	.hidden = true,
};

/* --- prune */

static const struct option_row prune_rows[] = {
	{ 'y', "yes", NULL, "do not ask", set_yes },
	{ 0, "format", "json", "print JSON", set_format },
	{ 'q', "quiet", NULL, "say nothing but errors", set_quiet },
	{ 0 },
};

static void describe_prune(void)
{
	printf("\nDeletes every image that no sandbox uses, interrupted downloads, and what "
	       "killed\n"
	       "processes left behind. Pulls that run meanwhile are not disturbed.\n\nOptions:\n");
	options_help(prune_rows, stdout);
}

static int confirm_prune(void)
{
	int rc = output_confirm("Delete all images that no sandbox uses?");

	if (rc == -ENOTTY)
		return cli_error("non-interactive terminal; use --yes to prune cached images");
	return rc ? EXIT_OK : EXIT_FAILED;
}

static int print_pruned_json(const struct store_pruned *p)
{
	return output_json(json_pack("{s:I, s:i, s:i, s:i, s:i, s:i}", "bytes_reclaimed",
		(json_int_t)p->bytes, "fsmeta_removed", (int)p->fsmeta, "image_refs_removed",
		(int)p->references, "layers_removed", (int)p->layers, "manifests_removed",
		(int)p->manifests, "vmdk_removed", (int)p->vmdk));
}

static void print_pruned(const struct store_pruned *p, uint64_t elapsed)
{
	char size[OUTPUT_TEXT_MAX], line[160];

	if (!p->references && !p->manifests && !p->layers && !p->fsmeta && !p->vmdk && !p->strays) {
		output_notice("Nothing to prune.");
		return;
	}
	output_size(p->bytes, size);
	(void)snprintf(
		line, sizeof(line), "%u images, %u layers, %s", p->references, p->layers, size);
	output_done("Pruned", line, NULL, elapsed);
}

static int run_prune(int argc, char **argv)
{
	struct image_args a = { 0 };
	cleanup_store struct store store = { 0 };
	struct store_pruned pruned;
	uint64_t start;
	struct err err = ERR_INIT;
	int n, rc, code;

	code = command_parse("image prune", prune_rows, &a, argc, argv, NULL, 0, &n);
	if (code == EXIT_OK && !a.yes)
		code = confirm_prune();
	if (code != EXIT_OK)
		return code;
	start = clock_mono_ns();
	rc = store_open_to_free(&store, &err);
	rc = rc ? rc : store_image_prune(&store, &pruned, &err);
	if (rc < 0)
		return output_failed(&err);
	if (a.json)
		return print_pruned_json(&pruned);
	if (!a.quiet)
		print_pruned(&pruned, clock_mono_ns() - start);
	return EXIT_OK;
}

static const struct command prune = {
	.name = "prune",
	.path = "image prune",
	.usage = "[OPTIONS]",
	.help = "delete images that no sandbox uses",
	.run = run_prune,
	.describe = describe_prune,
};

/* --- tag */

static const struct option_row tag_rows[] = {
	{ 'q', "quiet", NULL, "say nothing but errors", set_quiet },
	{ 0 },
};

static void describe_tag(void)
{
	printf("\nThe image gets a further name; if that was another image's, it "
	       "moves.\n\nOptions:\n");
	options_help(tag_rows, stdout);
}

/* A name with a digest promises that very image: whoever runs it later relies on that. */
static int check_pin(struct store *store, const char *stored, const char *to, struct err *err)
{
	cleanup_catalogue_image struct catalogue_image *image = NULL;
	const char *pin = strchr(to, '@');
	int rc = pin ? catalogue_image_get(store->catalogue, stored, &image, err) : 0;

	if (rc < 0 || !pin || !strcmp(pin + 1, image->manifest_digest))
		return rc;
	return err_msg(err, EINVAL, "'%.200s' cannot be a name of this image, whose digest is %s",
		to, image->manifest_digest);
}

static int run_tag(int argc, char **argv)
{
	struct image_args a = { 0 };
	cleanup_store struct store store = { 0 };
	cleanup_free char *stored = NULL, *from = NULL, *to = NULL;
	const char *names[2];
	struct err err = ERR_INIT;
	int n, rc, code;

	code = command_parse("image tag", tag_rows, &a, argc, argv, names, 2, &n);
	if (code != EXIT_OK)
		return code;
	if (n < 2)
		return command_missing("image tag", n ? "NEW_REFERENCE" : "REFERENCE");
	rc = image_canonical(names[1], &to, &err);
	rc = rc ? rc : store_open(CATALOGUE_WRITE, &store, &err);
	rc = rc ? rc : image_find_stored(&store, names[0], &stored, &from, &err);
	rc = rc ? rc : check_pin(&store, stored, to, &err);
	rc = rc ? rc : store_image_tag(&store, stored, from, to, &err);
	if (rc < 0)
		return output_failed(&err);
	if (!a.quiet)
		output_done("Tagged", to, NULL, 0);
	return EXIT_OK;
}

static const struct command tag = {
	.name = "tag",
	.path = "image tag",
	.usage = "[OPTIONS] REFERENCE NEW_REFERENCE",
	.help = "give an image a further name",
	.run = run_tag,
	.describe = describe_tag,
};

static const struct command *const subs[] = { &command_pull, &list, &command_image_inspect,
	&command_load, &command_save, &remove_, &prune, &tag, NULL };

const struct command command_image = {
	.name = "image",
	.help = "manage images",
	.subs = subs,
};
