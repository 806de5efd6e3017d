/* SPDX-License-Identifier: Apache-2.0 */
/* msb load, msb save: images as archives. cli.md 1.3. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/command.h"
#include "cli/image_program.h"
#include "cli/image_record.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "lib/clock.h"

#define TAGS_MAX       64
#define REFERENCES_MAX 1024
#define ARCHIVE_MODE   0644

struct archive_args {
	const char *path;
	const char *tags[TAGS_MAX];
	size_t n_tags;
	enum image_format format;
	bool quiet;
};

static int set_path(void *target, const char *value, struct err *err)
{
	((struct archive_args *)target)->path = value;
	return 0;
}

static int add_tag(void *target, const char *value, struct err *err)
{
	struct archive_args *a = target;

	if (a->n_tags == TAGS_MAX)
		return err_msg(err, EDOM, "more than %d of them", TAGS_MAX);
	a->tags[a->n_tags++] = value;
	return 0;
}

static int set_format(void *target, const char *value, struct err *err)
{
	if (strcmp(value, "docker") != 0 && strcmp(value, "oci") != 0)
		return err_msg(err, EINVAL, "'%s' is none of docker, oci", value);
	((struct archive_args *)target)->format =
		strcmp(value, "oci") == 0 ? IMAGE_OCI : IMAGE_DOCKER;
	return 0;
}

static int set_quiet(void *target, const char *value, struct err *err)
{
	((struct archive_args *)target)->quiet = true;
	return 0;
}

/* --- load */

static const struct option_row load_rows[] = {
	{ 'i', "input", "PATH", "an archive, or a folder with an OCI layout; else standard input",
		set_path },
	{ 't', "tag", "REF", "a name for the first image, beside its own; repeatable", add_tag },
	{ 'q', "quiet", NULL, "say nothing but errors", set_quiet },
	{ 0 },
};

static void describe_load(void)
{
	printf("\nReads what 'docker save' writes, and OCI layouts; also compressed with gzip or "
	       "zstd.\n\nOptions:\n");
	options_help(load_rows, stdout);
}

static int open_input(const char *path, int *ret, struct err *err)
{
	if (path) {
		*ret = open(path, O_RDONLY | O_CLOEXEC);
		return *ret < 0 ? err_set(err, errno, "open '%s'", path) : 0;
	}
	if (isatty(STDIN_FILENO))
		return err_msg(err, EINVAL,
			"no archive: name one with --input, or give it on standard input");
	*ret = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
	return *ret < 0 ? err_set(err, errno, "read standard input") : 0;
}

static int record_all(struct store *store, struct image **images, size_t n,
	const struct archive_args *a, uint64_t start, struct err *err)
{
	for (size_t i = 0; i < n; i++) {
		int rc = image_record(store, images[i], err);

		if (rc < 0) {
			image_drop(store, images + i, n - i);
			return rc;
		}
		if (!a->quiet)
			output_done("Loaded", images[i]->reference, NULL, clock_mono_ns() - start);
	}
	return 0;
}

static int load(const struct archive_args *a, struct err *err)
{
	cleanup_store struct store store = { 0 };
	uint64_t start = clock_mono_ns();
	struct image **images = NULL;
	struct progress progress;
	cleanup_fd int fd = -1;
	size_t n = 0;
	int rc;

	for (size_t i = 0; i < a->n_tags; i++) {
		cleanup_free char *canonical = NULL;

		rc = image_canonical(a->tags[i], &canonical, err);
		if (rc < 0)
			return rc;
	}
	rc = open_input(a->path, &fd, err);
	rc = rc ? rc : store_open(CATALOGUE_WRITE, &store, err);
	if (rc < 0)
		return rc;
	progress_init(&progress, "Loading", a->path ? a->path : "standard input", a->quiet);
	rc = image_load(
		store.cache, fd, a->tags, a->n_tags, progress_event, &progress, &images, &n, err);
	progress_end(&progress);
	if (rc < 0) {
		image_explain_full(&store, err);
		return a->path ? err_wrap(err, "load '%s'", a->path) : rc;
	}
	rc = record_all(&store, images, n, a, start, err);
	for (size_t i = 0; i < n; i++)
		image_free(images[i]);
	free(images);
	return rc;
}

static int run_load(int argc, char **argv)
{
	struct archive_args a = { 0 };
	struct err err = ERR_INIT;
	const char *word;
	int n, code = command_parse("load", load_rows, &a, argc, argv, &word, 1, &n);

	if (code != EXIT_OK)
		return code;
	if (n) {
		(void)err_msg(&err, EINVAL,
			"unexpected argument '%s'; an archive is named with --input", word);
		return cli_usage_error("load", &err);
	}
	return load(&a, &err) < 0 ? output_failed(&err) : EXIT_OK;
}

const struct command command_load = {
	.name = "load",
	.usage = "[OPTIONS]",
	.help = HELP_LOAD,
	.run = run_load,
	.describe = describe_load,
};

/* --- save */

static const struct option_row save_rows[] = {
	{ 0, "format", "FORMAT", "docker (default) or oci", set_format },
	{ 'o', "output", "PATH",
		"the archive; with --format oci also a folder, new (then with '/' behind) or "
		"empty; "
		"else standard output",
		set_path },
	{ 'q', "quiet", NULL, "say nothing but errors", set_quiet },
	{ 0 },
};

static void describe_save(void)
{
	printf("\nThe same images give the same archive.\n\nOptions:\n");
	options_help(save_rows, stdout);
}

/* Pipes and devices are written as they are; a file is replaced when the new one is complete. */
static bool replaces(const char *path)
{
	struct stat st;

	return stat(path, &st) < 0 ? errno == ENOENT : S_ISREG(st.st_mode);
}

/* 'a/' is meant as a folder, whether it is there or not. */
static bool names_folder(const char *path)
{
	size_t len = strlen(path);
	struct stat st;

	return (len && path[len - 1] == '/') || (stat(path, &st) == 0 && S_ISDIR(st.st_mode));
}

static int save_to(struct store *store, const struct archive_args *a, const char *const *references,
	size_t n, int fd, struct err *err)
{
	return image_save(store->cache, references, n, a->format, fd, err);
}

static int save_replacing(struct store *store, const struct archive_args *a,
	const char *const *references, size_t n, struct err *err)
{
	cleanup_free char *tmp = NULL;
	cleanup_fd int fd = -1;
	mode_t mask = umask(0);
	int rc;

	(void)umask(mask);
	if (asprintf(&tmp, "%s.XXXXXX", a->path) < 0)
		return err_set(err, ENOMEM, "save images");
	fd = mkostemp(tmp, O_CLOEXEC);
	if (fd < 0)
		return err_set(err, errno, "create '%s'", a->path);
	rc = save_to(store, a, references, n, fd, err);
	if (rc == 0 && (fchmod(fd, ARCHIVE_MODE & ~mask) < 0 || rename(tmp, a->path) < 0))
		rc = err_set(err, errno, "name '%s'", a->path);
	if (rc < 0)
		(void)unlink(tmp);
	return rc;
}

static int save(
	const struct archive_args *a, const char *const *references, size_t n, struct err *err)
{
	cleanup_store struct store store = { 0 };
	cleanup_fd int fd = -1;
	bool folder = a->path && names_folder(a->path);
	int rc;

	if (!a->path && isatty(STDOUT_FILENO))
		return err_msg(err, EINVAL, "an archive is no text for a terminal; use --output");
	if (folder && a->format != IMAGE_OCI)
		return err_msg(err, EISDIR,
			"'%s' is a folder, and the docker format is only a file: name one, or use "
			"--format oci",
			a->path);
	rc = store_open(CATALOGUE_READ, &store, err);
	if (rc == 0 && !store.cache)
		rc = err_msg(err, ENOENT, "image not found: %s", references[0]);
	if (rc < 0)
		return rc;
	if (folder)
		return image_save_folder(store.cache, references, n, a->path, err);
	if (a->path && replaces(a->path))
		return save_replacing(&store, a, references, n, err);
	if (!a->path)
		return save_to(&store, a, references, n, STDOUT_FILENO, err);
	fd = open(a->path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return err_set(err, errno, "open '%s'", a->path);
	return save_to(&store, a, references, n, fd, err);
}

static int run_save(int argc, char **argv)
{
	struct archive_args a = { .format = IMAGE_DOCKER };
	const char *references[REFERENCES_MAX];
	uint64_t start = clock_mono_ns();
	struct err err = ERR_INIT;
	int n, code;

	code = command_parse("save", save_rows, &a, argc, argv, references, REFERENCES_MAX, &n);
	if (code != EXIT_OK)
		return code;
	if (!n)
		return command_missing("save", "REFERENCE");
	if (save(&a, references, (size_t)n, &err) < 0)
		return output_failed(&err);
	if (!a.quiet && a.path)
		output_done("Saved", a.path, NULL, clock_mono_ns() - start);
	return EXIT_OK;
}

const struct command command_save = {
	.name = "save",
	.usage = "[OPTIONS] REFERENCE...",
	.help = HELP_SAVE,
	.run = run_save,
	.describe = describe_save,
};
