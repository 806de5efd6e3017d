/* SPDX-License-Identifier: Apache-2.0 */
/* The metadata document of an image in the cache (images.md 2.2). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/image_internal.h"
#include "image/json.h"
#include "lib/cleanup.h"

static json_t *list(char *const *strings)
{
	json_t *a = json_array();

	for (; strings && *strings; strings++)
		(void)json_array_append_new(a, json_string(*strings));
	return a;
}

/* "KEY=VALUE" lists back to an object */
static json_t *labels(char *const *strings)
{
	json_t *o = json_object();

	for (; strings && *strings; strings++) {
		const char *eq = strchr(*strings, '=');

		if (eq)
			(void)json_object_setn_new(
				o, *strings, (size_t)(eq - *strings), json_string(eq + 1));
	}
	return o;
}

static json_t *text(const char *s)
{
	return s && s[0] ? json_string(s) : json_null();
}

static json_t *config(const struct image_config *c)
{
	json_t *o = json_object();

	(void)json_object_set_new(o, "env", list(c->env));
	(void)json_object_set_new(o, "cmd", list(c->cmd));
	(void)json_object_set_new(o, "entrypoint", list(c->entrypoint));
	(void)json_object_set_new(o, "working_dir", text(c->working_dir));
	(void)json_object_set_new(o, "user", text(c->user));
	(void)json_object_set_new(o, "exposed_ports", list(c->exposed_ports));
	(void)json_object_set_new(o, "volumes", list(c->volumes));
	(void)json_object_set_new(o, "labels", labels(c->labels));
	(void)json_object_set_new(o, "stop_signal", text(c->stop_signal));
	return o;
}

static json_t *layers(const struct image_parts *p)
{
	json_t *a = json_array();

	for (size_t i = 0; i < p->layer_count; i++) {
		json_t *o = json_object();

		(void)json_object_set_new(o, "digest", json_string(p->layers[i].digest));
		(void)json_object_set_new(o, "media_type", json_string(p->layers[i].media_type));
		(void)json_object_set_new(
			o, "size_bytes", json_integer((json_int_t)p->layers[i].size));
		(void)json_object_set_new(o, "diff_id", json_string(p->parsed->diff_ids[i]));
		(void)json_array_append_new(a, o);
	}
	return a;
}

static json_t *raw(const struct buf *b)
{
	return json_stringn((const char *)buf_head(b), b->len);
}

char *image_metadata_text(const struct image_parts *p)
{
	cleanup_json json_t *o = json_object();

	(void)json_object_set_new(o, "reference", json_string(p->reference));
	(void)json_object_set_new(o, "manifest_digest", json_string(p->manifest_digest));
	(void)json_object_set_new(o, "manifest_media_type", json_string(p->manifest_media_type));
	(void)json_object_set_new(o, "config_digest", json_string(p->config_digest));
	(void)json_object_set_new(o, "raw_manifest_json", raw(p->manifest));
	(void)json_object_set_new(o, "raw_config_json", raw(p->config));
	(void)json_object_set_new(o, "config", config(p->parsed));
	(void)json_object_set_new(o, "layers", layers(p));
	/* Setting a member to what could not be allocated leaves it out: what is read must be
	 * whole. */
	if (json_object_size(o) != 8)
		return NULL;
	return json_dumps(o, JSON_COMPACT);
}

static int wrong(struct err *err, const char *what)
{
	return err_msg(err, EBADMSG, "the cached metadata has no valid %s", what);
}

static int get(const json_t *o, const char *key, bool digest, char **ret, struct err *err)
{
	const char *s = json_text(o, key);

	if (!s[0] || (digest && !digest_valid(s)))
		return wrong(err, key);
	*ret = strdup(s);
	return *ret ? 0 : err_set(err, ENOMEM, "read the cached metadata");
}

static int get_layer(const json_t *o, struct image_layer *l, struct err *err)
{
	json_int_t size = json_integer_value(json_object_get(o, "size_bytes"));
	int rc = get(o, "digest", true, &l->blob_digest, err);

	rc = rc ? rc : get(o, "diff_id", true, &l->diff_id, err);
	rc = rc ? rc : get(o, "media_type", false, &l->media_type, err);
	l->blob_size = size > 0 ? (uint64_t)size : 0;
	return rc;
}

static int get_layers(const json_t *a, struct image *img, struct err *err)
{
	size_t n = json_array_size(a);
	int rc = 0;

	if (n == 0 || n > IMAGE_LAYERS_MAX)
		return wrong(err, "layers");
	img->layers = calloc(n, sizeof(*img->layers));
	if (!img->layers)
		return err_set(err, ENOMEM, "read the cached metadata");
	for (size_t i = 0; i < n; i++)
		img->layers[i].fd = -1;
	img->layer_count = n;
	for (size_t i = 0; i < n && rc == 0; i++)
		rc = get_layer(json_array_get(a, i), &img->layers[i], err);
	return rc;
}

int image_metadata_parse(const char *raw_text, size_t len, struct image *img, struct err *err)
{
	cleanup_json json_t *doc = json_document(raw_text, len, false, "the cached metadata", err);
	int rc;

	if (!doc)
		return -EBADMSG;
	rc = get(doc, "manifest_digest", true, &img->manifest_digest, err);
	rc = rc ? rc : get(doc, "config_digest", true, &img->config_digest, err);
	rc = rc ? rc : get(doc, "raw_manifest_json", false, &img->raw_manifest, err);
	rc = rc ? rc : get(doc, "raw_config_json", false, &img->raw_config, err);
	rc = rc ? rc : get_layers(json_object_get(doc, "layers"), img, err);
	if (rc < 0)
		return rc;
	img->manifest_media_type = strdup(json_text(doc, "manifest_media_type"));
	img->raw_manifest_len = strlen(img->raw_manifest);
	img->raw_config_len = strlen(img->raw_config);
	return config_parse(img->raw_config, img->raw_config_len, &img->config, err);
}
