/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration blob of an image. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/json.h"
#include "image/manifest.h"

static void free_list(char **list)
{
	for (char **s = list; s && *s; s++)
		free(*s);
	free(list);
}

void config_release(struct image_config *c)
{
	free_list(c->env);
	free_list(c->cmd);
	free_list(c->entrypoint);
	free_list(c->exposed_ports);
	free_list(c->volumes);
	free_list(c->labels);
	free_list(c->diff_ids);
	free(c->working_dir);
	free(c->user);
	free(c->stop_signal);
	free(c->architecture);
	free(c->os);
	free(c->variant);
	free(c->created);
	memset(c, 0, sizeof(*c));
}

static int bad_type(struct err *err, const char *key, const char *should)
{
	return err_msg(
		err, EBADMSG, "the image's configuration is malformed: %s is no %s", key, should);
}

static int no_memory(struct err *err)
{
	return err_set(err, ENOMEM, "read the image's configuration");
}

/* A string; absent and null are "". */
static int get_text(const json_t *obj, const char *key, char **ret, struct err *err)
{
	const json_t *v = json_object_get(obj, key);

	if (v && !json_is_null(v) && !json_is_string(v))
		return bad_type(err, key, "string");
	*ret = strdup(json_text(obj, key));
	return *ret ? 0 : no_memory(err);
}

/* An array of strings; absent and null are empty. */
static int get_list(const json_t *obj, const char *key, char ***ret, struct err *err)
{
	const json_t *v = json_object_get(obj, key);
	size_t n = json_array_size(v);

	if (v && !json_is_null(v) && !json_is_array(v))
		return bad_type(err, key, "list");
	*ret = calloc(n + 1, sizeof(**ret));
	if (!*ret)
		return no_memory(err);
	for (size_t i = 0; i < n; i++) {
		const char *s = json_string_value(json_array_get(v, i));

		if (!s)
			return bad_type(err, key, "list of strings");
		(*ret)[i] = strdup(s);
		if (!(*ret)[i])
			return no_memory(err);
	}
	return 0;
}

/* Command lines may also be one string, as old builders wrote them. */
static int get_words(const json_t *obj, const char *key, char ***ret, struct err *err)
{
	const json_t *v = json_object_get(obj, key);

	if (!json_is_string(v))
		return get_list(obj, key, ret, err);
	*ret = calloc(2, sizeof(**ret));
	if (!*ret)
		return no_memory(err);
	(*ret)[0] = strdup(json_string_value(v));
	return (*ret)[0] ? 0 : no_memory(err);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The keys of an object, with "=VALUE" behind them if @values; sorted. */
static int get_keys(const json_t *obj, const char *key, bool values, char ***ret, struct err *err)
{
	json_t *v = json_object_get(obj, key), *member;
	size_t n = 0;
	const char *k;

	if (v && !json_is_null(v) && !json_is_object(v))
		return bad_type(err, key, "object");
	*ret = calloc(json_object_size(v) + 1, sizeof(**ret));
	if (!*ret)
		return no_memory(err);
	json_object_foreach(v, k, member)
	{
		if (values && !json_is_string(member))
			return bad_type(err, key, "object of strings");
		if (!values)
			(*ret)[n] = strdup(k);
		else if (asprintf(&(*ret)[n], "%s=%s", k, json_string_value(member)) < 0)
			(*ret)[n] = NULL;
		if (!(*ret)[n])
			return no_memory(err);
		n++;
	}
	qsort(*ret, n, sizeof(**ret), by_text);
	return 0;
}

static int get_diff_ids(const json_t *doc, struct image_config *c, struct err *err)
{
	const json_t *rootfs = json_object_get(doc, "rootfs");
	int rc = get_list(rootfs, "diff_ids", &c->diff_ids, err);

	if (rc < 0)
		return rc;
	if (config_layer_count(c) > IMAGE_LAYERS_MAX)
		return err_msg(err, E2BIG, "the image's configuration names more than %d layers",
			IMAGE_LAYERS_MAX);
	for (char **d = c->diff_ids; *d; d++) {
		if (!digest_valid(*d))
			return bad_type(err, "rootfs.diff_ids", "list of digests");
		if (strncmp(*d, "sha256:", 7) != 0)
			return err_msg(err, ENOTSUP, "diff_id %s is no sha256", *d);
	}
	return 0;
}

static int get_runtime(const json_t *run, struct image_config *c, struct err *err)
{
	int rc = get_list(run, "Env", &c->env, err);

	rc = rc ? rc : get_words(run, "Cmd", &c->cmd, err);
	rc = rc ? rc : get_words(run, "Entrypoint", &c->entrypoint, err);
	rc = rc ? rc : get_keys(run, "ExposedPorts", false, &c->exposed_ports, err);
	rc = rc ? rc : get_keys(run, "Volumes", false, &c->volumes, err);
	rc = rc ? rc : get_keys(run, "Labels", true, &c->labels, err);
	rc = rc ? rc : get_text(run, "WorkingDir", &c->working_dir, err);
	rc = rc ? rc : get_text(run, "User", &c->user, err);
	return rc ? rc : get_text(run, "StopSignal", &c->stop_signal, err);
}

int config_parse(const char *raw, size_t len, struct image_config *ret, struct err *err)
{
	cleanup_json json_t *doc = json_document(raw, len, false, "the image's configuration", err);
	cleanup_config struct image_config c = { .env = NULL };
	int rc;

	if (!doc)
		return -EBADMSG;
	rc = get_runtime(json_object_get(doc, "config"), &c, err);
	rc = rc ? rc : get_text(doc, "architecture", &c.architecture, err);
	rc = rc ? rc : get_text(doc, "os", &c.os, err);
	rc = rc ? rc : get_text(doc, "variant", &c.variant, err);
	rc = rc ? rc : get_text(doc, "created", &c.created, err);
	rc = rc ? rc : get_diff_ids(doc, &c, err);
	if (rc < 0)
		return rc;
	*ret = c;
	memset(&c, 0, sizeof(c));
	return 0;
}

size_t config_layer_count(const struct image_config *c)
{
	size_t n = 0;

	while (c->diff_ids && c->diff_ids[n])
		n++;
	return n;
}
