/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cached images as the files of an archive or a folder (images.md 1.11). The compressed layers are
 * gone, so each layer's tar is made again from its EROFS image, twice: a header says how long its
 * data are, so the first time only counts and hashes. The result depends on the images alone; what
 * is loaded from it and saved again is the same byte for byte.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/image_internal.h"
#include "image/json.h"
#include "image/reference.h"
#include "image/save_sink.h"
#include "lib/cleanup.h"

/* struct saved_layer - @diff_id: in the cache; @digest, @size: of the tar made from it */
struct saved_layer {
	const char *diff_id;
	int fd; /* the image's */
	char digest[DIGEST_TEXT_MAX];
	uint64_t size;
};

struct saved_image {
	struct image *image;
	char *config, *manifest;
	char config_digest[DIGEST_TEXT_MAX], manifest_digest[DIGEST_TEXT_MAX];
	const struct saved_layer **layers;
};

struct save {
	struct saved_image *images;
	size_t image_count;
	struct saved_layer *layers;
	size_t layer_count;
	const struct save_sink *sink;
};

static void save_release(struct save *s)
{
	for (size_t i = 0; i < s->image_count; i++) {
		image_free(s->images[i].image);
		free(s->images[i].config);
		free(s->images[i].manifest);
		free(s->images[i].layers);
	}
	free(s->images);
	free(s->layers);
}

#define cleanup_save __attribute__((cleanup(save_release)))

static const char *hex(const char *digest)
{
	return strchr(digest, ':') + 1;
}

/* --- what is written first: digests of everything */

struct counting {
	struct hasher *h;
	uint64_t len;
};

static int count(void *ctx, const void *data, size_t len, struct err *err)
{
	struct counting *c = ctx;

	hasher_update(c->h, data, len);
	c->len += len;
	return 0;
}

static int add_layer(struct save *s, const struct image_layer *l, const struct saved_layer **ret,
	struct err *err)
{
	cleanup_hasher struct hasher *h = NULL;
	struct saved_layer *n;
	struct counting c;
	int rc;

	for (size_t i = 0; i < s->layer_count; i++) {
		if (!strcmp(s->layers[i].diff_id, l->diff_id)) {
			*ret = &s->layers[i];
			return 0;
		}
	}
	h = hasher_new("sha256:");
	if (!h)
		return err_set(err, ENOMEM, "save a layer");
	c = (struct counting){ .h = h };
	n = &s->layers[s->layer_count++];
	n->diff_id = l->diff_id;
	n->fd = l->fd;
	rc = layer_to_tar(n->fd, count, &c, err);
	hasher_finish(h, n->digest);
	n->size = c.len;
	*ret = n;
	return rc < 0 ? err_wrap(err, "save layer %s", l->diff_id) : 0;
}

static bool same_layers(const struct saved_image *i)
{
	for (size_t n = 0; n < i->image->layer_count; n++) {
		if (strcmp(i->layers[n]->digest, i->image->layers[n].diff_id) != 0)
			return false;
	}
	return true;
}

/* The configuration, with the digests of the layers as they are now. */
static int make_config(struct saved_image *i, struct err *err)
{
	const struct image *img = i->image;
	cleanup_json json_t *doc = NULL;
	json_t *ids = json_array(), *rootfs;

	if (same_layers(i)) {
		json_decref(ids);
		i->config = strdup(img->raw_config);
		return i->config ? 0 : err_set(err, ENOMEM, "save an image");
	}
	doc = json_document(img->raw_config, img->raw_config_len, false, "the configuration", err);
	for (size_t n = 0; n < img->layer_count; n++)
		(void)json_array_append_new(ids, json_string(i->layers[n]->digest));
	rootfs = json_pack("{s:s,s:o}", "type", "layers", "diff_ids", ids);
	if (!doc || json_object_set_new(doc, "rootfs", rootfs) < 0)
		return err_set(err, ENOMEM, "save an image");
	if (!json_text(doc, "architecture")[0])
		(void)json_object_set_new(
			doc, "architecture", json_string(manifest_architecture()));
	if (!json_text(doc, "os")[0])
		(void)json_object_set_new(doc, "os", json_string("linux"));
	i->config = json_dumps(doc, JSON_COMPACT);
	return i->config ? 0 : err_set(err, ENOMEM, "save an image");
}

static int make_manifest(struct saved_image *i, struct err *err)
{
	json_t *layers = json_array();
	cleanup_json json_t *doc = NULL;

	for (size_t n = 0; n < i->image->layer_count; n++)
		(void)json_array_append_new(layers,
			json_pack("{s:s,s:s,s:I}", "mediaType", MEDIA_OCI_LAYER, "digest",
				i->layers[n]->digest, "size", (json_int_t)i->layers[n]->size));
	doc = json_pack("{s:i,s:s,s:{s:s,s:s,s:I},s:o}", "schemaVersion", 2, "mediaType",
		MEDIA_OCI_MANIFEST, "config", "mediaType", MEDIA_OCI_CONFIG, "digest",
		i->config_digest, "size", (json_int_t)strlen(i->config), "layers", layers);
	i->manifest = doc ? json_dumps(doc, JSON_COMPACT) : NULL;
	return i->manifest ? 0 : err_set(err, ENOMEM, "save an image");
}

static int prepare(struct save *s, struct saved_image *i, struct err *err)
{
	int rc = 0;

	i->layers = calloc(i->image->layer_count, sizeof(*i->layers));
	if (!i->layers)
		return err_set(err, ENOMEM, "save an image");
	for (size_t n = 0; n < i->image->layer_count && rc == 0; n++)
		rc = add_layer(s, &i->image->layers[n], &i->layers[n], err);
	rc = rc ? rc : make_config(i, err);
	if (rc < 0)
		return rc;
	digest_bytes("sha256:", i->config, strlen(i->config), i->config_digest);
	rc = make_manifest(i, err);
	if (rc == 0)
		digest_bytes("sha256:", i->manifest, strlen(i->manifest), i->manifest_digest);
	return rc;
}

/* Of layers alone: how they are merged does not matter here. */
static int open_layers(
	struct cache *cache, const char *reference, struct image **ret, struct err *err)
{
	char canonical[REFERENCE_TEXT_MAX];
	cleanup_free int *fds = NULL;
	int rc = reference_canonical(reference, canonical, err);

	return rc ? rc : image_open_layers(cache, canonical, ret, &fds, err);
}

static int open_all(struct save *s, struct cache *cache, const char *const *references, size_t n,
	struct err *err)
{
	size_t layers = 0;
	int rc = 0;

	s->images = calloc(n, sizeof(*s->images));
	if (!s->images)
		return err_set(err, ENOMEM, "save images");
	for (; s->image_count < n && rc == 0; s->image_count++) {
		rc = open_layers(
			cache, references[s->image_count], &s->images[s->image_count].image, err);
		if (rc < 0)
			return rc;
		layers += s->images[s->image_count].image->layer_count;
	}
	s->layers = calloc(layers, sizeof(*s->layers));
	if (!s->layers)
		return err_set(err, ENOMEM, "save images");
	for (size_t i = 0; i < n && rc == 0; i++)
		rc = prepare(s, &s->images[i], err);
	return rc;
}

/* --- writing */

static int put(struct save *s, const char *name, const char *text, struct err *err)
{
	const struct save_sink *out = s->sink;
	int rc = out->begin(out->ctx, name, strlen(text), err);

	rc = rc ? rc : out->write(out->ctx, text, strlen(text), err);
	return rc ? rc : out->end(out->ctx, err);
}

static int put_layer(struct save *s, const struct saved_layer *l, const char *name, struct err *err)
{
	const struct save_sink *out = s->sink;
	int rc = out->begin(out->ctx, name, l->size, err);

	rc = rc ? rc : layer_to_tar(l->fd, out->write, out->ctx, err);
	return rc ? rc : out->end(out->ctx, err);
}

/* Images that are the same are one entry with several names. */
static bool repeats(const struct save *s, size_t i)
{
	for (size_t k = 0; k < i; k++) {
		if (!strcmp(s->images[k].config_digest, s->images[i].config_digest))
			return true;
	}
	return false;
}

/* Two layers of the cache may give the same tar. */
static bool layer_repeats(const struct save *s, size_t i)
{
	for (size_t k = 0; k < i; k++) {
		if (!strcmp(s->layers[k].digest, s->layers[i].digest))
			return true;
	}
	return false;
}

/* "registry/repository:tag"; "" if it has no tag */
static void tag_name(const struct image *img, char text[static REFERENCE_TEXT_MAX])
{
	struct reference ref;

	text[0] = '\0';
	if (reference_parse(img->reference, &ref, NULL) < 0 || !ref.tag[0])
		return;
	ref.digest[0] = '\0';
	reference_format(&ref, text);
}

static json_t *docker_tags(const struct save *s, size_t i)
{
	char text[REFERENCE_TEXT_MAX];
	json_t *tags = json_array();

	for (size_t k = i; k < s->image_count; k++) {
		if (strcmp(s->images[k].config_digest, s->images[i].config_digest) != 0)
			continue;
		tag_name(s->images[k].image, text);
		if (text[0])
			(void)json_array_append_new(tags, json_string(text));
	}
	return tags;
}

static json_t *docker_entry(const struct save *s, size_t i)
{
	const struct saved_image *img = &s->images[i];
	json_t *layers = json_array();
	char name[DIGEST_TEXT_MAX + 32];

	for (size_t n = 0; n < img->image->layer_count; n++) {
		(void)snprintf(name, sizeof(name), "%s/layer.tar", hex(img->layers[n]->digest));
		(void)json_array_append_new(layers, json_string(name));
	}
	(void)snprintf(name, sizeof(name), "%s.json", hex(img->config_digest));
	return json_pack(
		"{s:s,s:o,s:o}", "Config", name, "RepoTags", docker_tags(s, i), "Layers", layers);
}

static int put_json(struct save *s, const char *name, const json_t *doc, struct err *err)
{
	cleanup_free char *text = json_dumps(doc, JSON_INDENT(2));

	return text ? put(s, name, text, err) : err_set(err, ENOMEM, "save images");
}

static int docker_layer(struct save *s, const struct saved_layer *l, struct err *err)
{
	char name[DIGEST_TEXT_MAX + 32];
	int rc;

	(void)snprintf(name, sizeof(name), "%s/VERSION", hex(l->digest));
	rc = put(s, name, "1.0\n", err);
	(void)snprintf(name, sizeof(name), "%s/json", hex(l->digest));
	rc = rc ? rc : put(s, name, "{}", err);
	(void)snprintf(name, sizeof(name), "%s/layer.tar", hex(l->digest));
	return rc ? rc : put_layer(s, l, name, err);
}

static int save_docker(struct save *s, struct err *err)
{
	cleanup_json json_t *toc = json_array();
	char name[DIGEST_TEXT_MAX + 32];
	int rc;

	for (size_t i = 0; i < s->image_count; i++) {
		if (!repeats(s, i))
			(void)json_array_append_new(toc, docker_entry(s, i));
	}
	rc = put_json(s, "manifest.json", toc, err);
	for (size_t i = 0; i < s->image_count && rc == 0; i++) {
		(void)snprintf(name, sizeof(name), "%s.json", hex(s->images[i].config_digest));
		rc = repeats(s, i) ? 0 : put(s, name, s->images[i].config, err);
	}
	for (size_t i = 0; i < s->layer_count && rc == 0; i++)
		rc = layer_repeats(s, i) ? 0 : docker_layer(s, &s->layers[i], err);
	return rc;
}

static json_t *oci_entry(const struct saved_image *i)
{
	const struct image_config *c = &i->image->config;
	json_t *notes = json_object();
	char text[REFERENCE_TEXT_MAX];

	tag_name(i->image, text);
	if (text[0])
		(void)json_object_set_new(
			notes, "org.opencontainers.image.ref.name", json_string(text));
	return json_pack("{s:s,s:s,s:I,s:{s:s,s:s},s:o}", "mediaType", MEDIA_OCI_MANIFEST, "digest",
		i->manifest_digest, "size", (json_int_t)strlen(i->manifest), "platform",
		"architecture", c->architecture[0] ? c->architecture : manifest_architecture(),
		"os", "linux", "annotations", notes);
}

static int put_blob(struct save *s, const char *digest, const char *text, struct err *err)
{
	char name[DIGEST_TEXT_MAX + 32];

	(void)snprintf(name, sizeof(name), "blobs/sha256/%s", hex(digest));
	return put(s, name, text, err);
}

static int oci_tables(struct save *s, struct err *err)
{
	cleanup_json json_t *index = NULL;
	json_t *entries = json_array();
	int rc = 0;

	for (size_t i = 0; i < s->image_count; i++)
		(void)json_array_append_new(entries, oci_entry(&s->images[i]));
	index = json_pack("{s:i,s:s,s:o}", "schemaVersion", 2, "mediaType", MEDIA_OCI_INDEX,
		"manifests", entries);
	if (s->sink->tables_last)
		rc = put_json(s, "index.json", index, err);
	rc = rc ? rc : put(s, "oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}", err);
	return rc || s->sink->tables_last ? rc : put_json(s, "index.json", index, err);
}

static int oci_blobs(struct save *s, struct err *err)
{
	char name[DIGEST_TEXT_MAX + 32];
	int rc = s->sink->folder(s->sink->ctx, "blobs/", err);

	rc = rc ? rc : s->sink->folder(s->sink->ctx, "blobs/sha256/", err);
	for (size_t i = 0; i < s->image_count && rc == 0; i++) {
		const struct saved_image *img = &s->images[i];

		if (repeats(s, i))
			continue;
		rc = put_blob(s, img->config_digest, img->config, err);
		rc = rc ? rc : put_blob(s, img->manifest_digest, img->manifest, err);
	}
	for (size_t i = 0; i < s->layer_count && rc == 0; i++) {
		(void)snprintf(name, sizeof(name), "blobs/sha256/%s", hex(s->layers[i].digest));
		rc = layer_repeats(s, i) ? 0 : put_layer(s, &s->layers[i], name, err);
	}
	return rc;
}

static int save_oci(struct save *s, struct err *err)
{
	int rc = s->sink->tables_last ? 0 : oci_tables(s, err);

	rc = rc ? rc : oci_blobs(s, err);
	return rc || !s->sink->tables_last ? rc : oci_tables(s, err);
}

int save_images(struct cache *cache, const char *const *references, size_t n,
	enum image_format format, const struct save_sink *sink, struct err *err)
{
	cleanup_save struct save s = { .sink = sink };
	int rc = open_all(&s, cache, references, n, err);

	return rc ? rc : format == IMAGE_OCI ? save_oci(&s, err) : save_docker(&s, err);
}
