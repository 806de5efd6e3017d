/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image-tool: the image room on a command line, for its tests. Not installed.
 *
 *	image-tool CACHE pull [OPTION=VALUE...] REFERENCE
 *	image-tool CACHE open REFERENCE
 *	image-tool CACHE load FILE|- [TAG...]
 *	image-tool CACHE save docker|oci|folder PATH REFERENCE...
 *	image-tool CACHE collect
 *
 * Prints one JSON object per image, and with events=1 one line per event on standard error.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "image/image.h"
#include "image/settings.h"
#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/num.h"
#include "store/cache.h"

static void print_list(json_t *o, const char *key, char *const *list)
{
	json_t *a = json_array();

	for (; *list; list++)
		(void)json_array_append_new(a, json_string(*list));
	(void)json_object_set_new(o, key, a);
}

static json_t *layers(const struct image *img)
{
	json_t *a = json_array();

	for (size_t i = 0; i < img->layer_count; i++)
		(void)json_array_append_new(
			a, json_pack("{s:s,s:s,s:s,s:I,s:I}", "diff_id", img->layers[i].diff_id,
				   "blob", img->layers[i].blob_digest, "type",
				   img->layers[i].media_type, "size",
				   (json_int_t)img->layers[i].blob_size, "erofs",
				   (json_int_t)img->layers[i].erofs_size));
	return a;
}

static void print_image(const struct image *img)
{
	json_t *o = json_pack("{s:s,s:s,s:s,s:b,s:o,s:s,s:s,s:s,s:s,s:s}", "reference",
		img->reference, "digest", img->manifest_digest, "config_digest", img->config_digest,
		"cached", img->was_cached, "layers", layers(img), "architecture",
		img->config.architecture, "user", img->config.user, "working_dir",
		img->config.working_dir, "raw_manifest", img->raw_manifest, "raw_config",
		img->raw_config);
	char *text;

	print_list(o, "env", img->config.env);
	print_list(o, "cmd", img->config.cmd);
	print_list(o, "entrypoint", img->config.entrypoint);
	print_list(o, "labels", img->config.labels);
	text = json_dumps(o, JSON_COMPACT);
	(void)puts(text);
	free(text);
	json_decref(o);
}

static void on_event(void *ctx, const struct image_event *ev)
{
	static const char *const names[] = { "resolving", "resolved", "download", "downloaded",
		"started", "progress", "complete-layer", "merging", "writing", "retrying",
		"complete" };

	(void)fprintf(stderr, "event %s layer=%zu done=%llu total=%llu %s\n", names[ev->kind],
		ev->layer, (unsigned long long)ev->done, (unsigned long long)ev->total,
		ev->reason ? ev->reason : "");
}

static unsigned number(const char *s)
{
	return (unsigned)strtoul(s, NULL, 10);
}

static int load_settings(const char *path, struct image_settings **ret, struct err *err)
{
	cleanup_free char *secrets = NULL;

	if (asprintf(&secrets, "%s/secrets", getenv("HOME")) < 0)
		return err_set(err, ENOMEM, "read '%s'", path);
	return image_settings_load(path, secrets, ret, err);
}

static int set_option(
	struct image_pull_options *o, const char *arg, struct image_settings **set, struct err *err)
{
	const char *v = strchr(arg, '=') + 1;

#define IS(name) (!strncmp(arg, name "=", sizeof(name)))
	if (IS("policy"))
		o->policy = !strcmp(v, "always")  ? IMAGE_ALWAYS
			    : !strcmp(v, "never") ? IMAGE_NEVER
						  : IMAGE_IF_MISSING;
	else if (IS("force"))
		o->force = true;
	else if (IS("insecure"))
		o->insecure = true;
	else if (IS("ca"))
		o->ca_certs = v;
	else if (IS("user"))
		o->username = v;
	else if (IS("password"))
		o->password = v;
	else if (IS("arch"))
		o->architecture = v;
	else if (IS("idle"))
		o->idle_timeout_ms = number(v);
	else if (IS("connect"))
		o->connect_timeout_ms = number(v);
	else if (IS("retry"))
		o->retry_base_ms = number(v);
	else if (IS("attempts"))
		o->attempts = number(v);
	else if (IS("parallel"))
		o->parallel = number(v);
	else if (IS("events"))
		o->progress = on_event;
	else if (IS("config"))
		return load_settings(v, set, err);
	else
		return err_msg(err, EINVAL, "unknown option '%s'", arg);
#undef IS
	return 0;
}

static int do_pull(struct cache *cache, int n, char **args, struct err *err)
{
	struct image_pull_options o = { .policy = IMAGE_IF_MISSING };
	struct image_settings *settings = NULL;
	cleanup_image struct image *img = NULL;
	int rc = 0;

	while (n > 1 && rc == 0) {
		rc = set_option(&o, *args, &settings, err);
		n--;
		args++;
	}
	o.settings = settings;
	if (rc == 0)
		rc = image_pull(cache, args[0], &o, &img, err);
	if (rc == 0)
		print_image(img);
	image_settings_free(settings);
	return rc;
}

static int do_open(struct cache *cache, int n, char **args, struct err *err)
{
	cleanup_image struct image *img = NULL;
	int rc = strncmp(args[0], "sha256:", 7) ? image_open(cache, args[0], &img, err)
						: image_open_digest(cache, args[0], &img, err);

	if (rc == 0)
		print_image(img);
	return rc;
}

static int do_load(struct cache *cache, int n, char **args, struct err *err)
{
	cleanup_fd int fd = strcmp(args[0], "-") ? open(args[0], O_RDONLY | O_CLOEXEC) : dup(0);
	struct image **images = NULL;
	size_t count = 0;
	int rc;

	if (fd < 0)
		return err_set(err, errno, "open '%s'", args[0]);
	rc = image_load(cache, fd, (const char *const *)(args + 1), (size_t)n - 1, NULL, NULL,
		&images, &count, err);
	for (size_t i = 0; i < count; i++) {
		print_image(images[i]);
		image_free(images[i]);
	}
	free(images);
	return rc;
}

static int do_save(struct cache *cache, int n, char **args, struct err *err)
{
	cleanup_fd int fd = -1;

	if (n < 3)
		return err_msg(err, EINVAL, "save: FORMAT FILE REFERENCE...");
	if (!strcmp(args[0], "folder"))
		return image_save_folder(
			cache, (const char *const *)(args + 2), (size_t)n - 2, args[1], err);
	fd = open(args[1], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0)
		return err_set(err, errno, "open '%s'", args[1]);
	return image_save(cache, (const char *const *)(args + 2), (size_t)n - 2,
		strcmp(args[0], "oci") ? IMAGE_DOCKER : IMAGE_OCI, fd, err);
}

static int keep_none(void *ctx, enum cache_kind kind, const char *digest, struct err *err)
{
	return 0;
}

static int do_collect(struct cache *cache, int n, char **args, struct err *err)
{
	struct cache_collected done = { .metadata = 0 };

	return cache_collect(cache, keep_none, NULL, true, &done, err);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*fn)(struct cache *, int, char **, struct err *);
		int least;
	} commands[] = { { "pull", do_pull, 1 }, { "open", do_open, 1 }, { "load", do_load, 1 },
		{ "save", do_save, 3 }, { "collect", do_collect, 0 } };
	cleanup_cache struct cache *cache = NULL;
	struct err err = ERR_INIT;
	int rc = -EINVAL;

	(void)signal(SIGPIPE, SIG_IGN);
	log_set_sink(NULL, NULL, getenv("IMAGE_TOOL_DEBUG") ? LOG_DEBUG : LOG_WARN);
	(void)err_msg(&err, EINVAL, "usage: image-tool CACHE COMMAND ARGUMENT...");
	for (size_t i = 0; argc > 2 && i < ARRAY_LEN(commands); i++) {
		if (strcmp(argv[2], commands[i].name) != 0 || argc - 3 < commands[i].least)
			continue;
		err_clear(&err);
		rc = cache_open(argv[1], true, &cache, &err);
		if (rc == 0)
			rc = commands[i].fn(cache, argc - 3, argv + 3, &err);
	}
	if (rc < 0)
		(void)fprintf(stderr, "error: %s\n", err.msg);
	return rc < 0 ? 1 : 0;
}
