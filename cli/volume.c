/* SPDX-License-Identifier: Apache-2.0 */
/* msb volume: named volumes. cli.md 1.3, 5.7. */
#include <errno.h>
#include <jansson.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/cli.h"
#include "cli/command.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/volume_disk.h"
#include "lib/clock.h"
#include "lib/num.h"
#include "store/store.h"

#define NAMES_MAX 1024

struct volume_args {
	const char *name;
	enum volume_kind kind;
	uint64_t size;
	bool quiet, json;
};

static int set_name(void *target, const char *value, struct err *err)
{
	((struct volume_args *)target)->name = value;
	return 0;
}

static int set_kind(void *target, const char *value, struct err *err)
{
	struct volume_args *a = target;

	if (strcmp(value, "dir") != 0 && strcmp(value, "disk") != 0)
		return err_msg(err, EINVAL, "'%s' is none of dir, disk", value);
	a->kind = strcmp(value, "disk") == 0 ? VOLUME_DISK : VOLUME_DIR;
	return 0;
}

/* A size that is none is no wrong usage (cli.md 2.4), so not EINVAL. */
static int set_size(void *target, const char *value, struct err *err)
{
	struct volume_args *a = target;
	int rc = num_parse_size(value, "size", MIB(1), &a->size, err);

	if (rc == 0 && a->size == 0)
		rc = err_msg(err, ERANGE, "a disk must have a size");
	return rc == -EINVAL ? -EDOM : rc;
}

static int set_quiet(void *target, const char *value, struct err *err)
{
	((struct volume_args *)target)->quiet = true;
	return 0;
}

static int set_format(void *target, const char *value, struct err *err)
{
	if (strcmp(value, "json") != 0)
		return err_msg(err, EINVAL, "'%s' is not json", value);
	((struct volume_args *)target)->json = true;
	return 0;
}

/* --- create */

static const struct option_row create_rows[] = {
	{ 'n', "name", "NAME", "the name, instead of as an argument", set_name },
	{ 0, "kind", "KIND", "dir (default): a folder; disk: a disk with an ext4 file system",
		set_kind },
	{ 0, "size", "SIZE", "of a disk, for example 512M or 10G", set_size },
	{ 'q', "quiet", NULL, "do not print the name", set_quiet },
	{ 0 },
};

static void describe_create(void)
{
	printf("\nThe volume outlives sandboxes; mount it with 'msb run -v NAME:/PATH'.\n"
	       "Names have letters, digits, dots, hyphens and underscores.\n\nOptions:\n");
	options_help(create_rows, stdout);
}

static int check_create(struct volume_args *a, const char *positional, struct err *err)
{
	if (positional && a->name && strcmp(positional, a->name) != 0)
		return err_msg(err, EINVAL, "two names: '%s' and '%s'", positional, a->name);
	if (!a->name)
		a->name = positional;
	if (!a->name)
		return err_msg(err, EINVAL, "volume create requires a name");
	if (a->kind == VOLUME_DISK && !a->size)
		return err_msg(err, EINVAL, "--size is required with --kind disk");
	if (a->kind == VOLUME_DIR && a->size)
		return err_msg(err, EINVAL, "--size is only supported with --kind disk");
	return volume_check_name(a->name, err);
}

static int run_create(int argc, char **argv)
{
	struct volume_args a = { 0 };
	cleanup_store struct store store = { 0 };
	const char *name = NULL;
	struct volume_spec spec;
	struct err err = ERR_INIT;
	int n, rc, code;

	code = command_parse("volume create", create_rows, &a, argc, argv, &name, 1, &n);
	if (code != EXIT_OK)
		return code;
	rc = check_create(&a, n ? name : NULL, &err);
	spec = (struct volume_spec){
		.name = a.name, .kind = a.kind, .capacity = a.size, .format = volume_disk_make
	};
	rc = rc ? rc : store_open(CATALOGUE_WRITE, &store, &err);
	rc = rc ? rc : volume_create(&store, &spec, &err);
	if (rc < 0)
		return output_failed(&err);
	if (!a.quiet)
		printf("%s\n", a.name);
	return EXIT_OK;
}

static const struct command create = {
	.name = "create",
	.path = "volume create",
	.usage = "[OPTIONS] [NAME]",
	.help = "create a named volume",
	.run = run_create,
	.describe = describe_create,
};

/* --- list */

static const struct option_row list_rows[] = {
	{ 0, "format", "json", "print JSON", set_format },
	{ 'q', "quiet", NULL, "names only", set_quiet },
	{ 0 },
};

static void describe_list(void)
{
	printf("\nOptions:\n");
	options_help(list_rows, stdout);
}

static json_t *number_or_null(uint64_t n)
{
	return n ? json_integer((json_int_t)n) : json_null();
}

/* What a disk takes on the host; folders are not walked. */
static uint64_t used_bytes(const struct store *store, const struct volume_info *v)
{
	cleanup_free char *path = NULL;
	struct stat st;

	if (v->kind != VOLUME_DISK || volume_path(store, v, &path, NULL) < 0 || stat(path, &st) < 0)
		return 0;
	return (uint64_t)st.st_blocks * 512;
}

static json_t *volume_json(const struct store *store, const struct volume_info *v)
{
	char created[OUTPUT_TEXT_MAX];

	output_rfc3339(v->created_at, created);
	return json_pack("{s:s, s:s, s:o, s:I, s:o, s:s?, s:s?, s:s?}", "name", v->name, "kind",
		v->kind == VOLUME_DISK ? "disk" : "dir", "quota_mib", number_or_null(v->quota_mib),
		"used_bytes", (json_int_t)used_bytes(store, v), "capacity_bytes",
		number_or_null(v->capacity), "disk_format", v->disk_format, "disk_fstype",
		v->disk_fstype, "created_at", created[0] ? created : NULL);
}

static int print_json(const struct store *store, const struct volume_info *list, size_t n)
{
	json_t *doc = json_array();

	for (size_t i = 0; doc && i < n; i++)
		(void)json_array_append_new(doc, volume_json(store, &list[i]));
	return output_json(doc);
}

static int print_list(const struct volume_info *list, size_t n)
{
	static const char *const headers[] = { "NAME", "KIND", "SIZE", "CREATED" };
	cleanup_table struct table t = { headers, ARRAY_LEN(headers), 0, NULL };
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < n; i++) {
		char size[OUTPUT_TEXT_MAX] = "-", created[OUTPUT_TEXT_MAX];

		if (list[i].kind == VOLUME_DISK)
			output_size(list[i].capacity, size);
		output_time(list[i].created_at, created);
		rc = table_add(&t, list[i].name);
		rc = rc ? rc : table_add(&t, list[i].kind == VOLUME_DISK ? "disk" : "dir");
		rc = rc ? rc : table_add(&t, size);
		rc = rc ? rc : table_add(&t, created);
	}
	if (rc < 0)
		return cli_error("cannot list volumes: out of memory");
	table_print(&t);
	if (!n)
		output_notice("No volumes found.");
	return EXIT_OK;
}

static int run_list(int argc, char **argv)
{
	struct volume_args a = { 0 };
	cleanup_store struct store store = { 0 };
	struct volume_info *list = NULL;
	struct err err = ERR_INIT;
	size_t count = 0;
	int n, rc, code;

	code = command_parse("volume list", list_rows, &a, argc, argv, NULL, 0, &n);
	if (code != EXIT_OK)
		return code;
	rc = store_open(CATALOGUE_READ, &store, &err);
	rc = rc ? rc : catalogue_volume_list(store.catalogue, &list, &count, &err);
	if (rc < 0)
		return output_failed(&err);
	if (a.json)
		code = print_json(&store, list, count);
	else if (!a.quiet)
		code = print_list(list, count);
	for (size_t i = 0; a.quiet && !a.json && i < count; i++)
		printf("%s\n", list[i].name);
	volume_infos_free(list, count);
	return code;
}

static const char *const list_aliases[] = { "ls", NULL };
static const struct command list = {
	.name = "list",
	.path = "volume list",
	.aliases = list_aliases,
	.usage = "[OPTIONS]",
	.help = "list named volumes",
	.run = run_list,
	.describe = describe_list,
};

/* --- inspect */

static const struct option_row no_rows[] = { { 0 } };

static void describe_nothing(void)
{
}

static void print_labels(const char *labels)
{
	json_t *doc = labels ? json_loads(labels, 0, NULL) : NULL;
	const json_t *pair;
	size_t i;

	if (!json_array_size(doc))
		output_row("Labels", "-");
	json_array_foreach(doc, i, pair)
	{
		const char *key = json_string_value(json_array_get(pair, 0));
		const char *value = json_string_value(json_array_get(pair, 1));
		char text[ERR_MSG_MAX];

		(void)snprintf(text, sizeof(text), "%s=%s", key ? key : "", value ? value : "");
		output_row(i ? "" : "Labels", text);
	}
	json_decref(doc);
}

static void print_volume(const struct volume_info *v, const char *path)
{
	char text[OUTPUT_TEXT_MAX] = "unlimited";

	output_row("Name", v->name);
	output_row("Kind", v->kind == VOLUME_DISK ? "disk" : "dir");
	if (v->kind == VOLUME_DISK) {
		output_row("Format", v->disk_format);
		output_row("Filesystem", v->disk_fstype);
		output_size(v->capacity, text);
		output_row("Capacity", text);
	} else {
		if (v->quota_mib)
			output_size(MIB(v->quota_mib), text);
		output_row("Quota", text);
	}
	output_row("Path", path);
	output_time(v->created_at, text);
	output_row("Created", text);
	print_labels(v->labels);
}

static int run_inspect(int argc, char **argv)
{
	struct volume_args a = { 0 };
	cleanup_store struct store store = { 0 };
	cleanup_volume_info struct volume_info *v = NULL;
	cleanup_free char *path = NULL;
	const char *name = NULL;
	struct err err = ERR_INIT;
	int n, rc, code;

	code = command_parse("volume inspect", no_rows, &a, argc, argv, &name, 1, &n);
	if (code != EXIT_OK)
		return code;
	if (!n)
		return command_missing("volume inspect", "NAME");
	rc = store_open(CATALOGUE_READ, &store, &err);
	rc = rc ? rc : catalogue_volume_get(store.catalogue, name, &v, &err);
	rc = rc ? rc : volume_path(&store, v, &path, &err);
	if (rc < 0)
		return output_failed(&err);
	print_volume(v, path);
	return EXIT_OK;
}

static const struct command inspect = {
	.name = "inspect",
	.path = "volume inspect",
	.usage = "NAME",
	.help = "show a named volume",
	.run = run_inspect,
	.describe = describe_nothing,
};

/* --- remove */

static const struct option_row remove_rows[] = {
	{ 'q', "quiet", NULL, "say nothing but errors", set_quiet },
	{ 0 },
};

static void describe_remove(void)
{
	printf("\nWith everything in them. Volumes that a sandbox uses stay.\n\nOptions:\n");
	options_help(remove_rows, stdout);
}

static int remove_one(struct store *store, const char *name, bool quiet)
{
	uint64_t start = clock_mono_ns();
	struct err err = ERR_INIT;

	if (volume_remove(store, name, &err) < 0)
		return output_failed(&err);
	if (!quiet)
		output_done("Removed", name, NULL, clock_mono_ns() - start);
	return EXIT_OK;
}

static int run_remove(int argc, char **argv)
{
	struct volume_args a = { 0 };
	cleanup_store struct store store = { 0 };
	const char *names[NAMES_MAX];
	struct err err = ERR_INIT;
	int n, code;

	code = command_parse("volume remove", remove_rows, &a, argc, argv, names, NAMES_MAX, &n);
	if (code != EXIT_OK)
		return code;
	if (!n)
		return command_missing("volume remove", "NAME");
	if (store_open_to_free(&store, &err) < 0)
		return output_failed(&err);
	for (int i = 0; i < n; i++) {
		if (remove_one(&store, names[i], a.quiet) != EXIT_OK)
			code = EXIT_FAILED;
	}
	return code;
}

static const char *const remove_aliases[] = { "rm", NULL };
static const struct command remove_ = {
	.name = "remove",
	.path = "volume remove",
	.aliases = remove_aliases,
	.usage = "[OPTIONS] NAME...",
	.help = "delete named volumes",
	.run = run_remove,
	.describe = describe_remove,
};

static const struct command *const subs[] = { &create, &list, &inspect, &remove_, NULL };
static const char *const aliases[] = { "vol", "volumes", "vols", NULL };

const struct command command_volume = {
	.name = "volume",
	.help = "manage named volumes",
	.aliases = aliases,
	.subs = subs,
};
