/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image_load(): from the members of an archive to images in the cache (images.md 1.10).
 *
 * First all images are found and checked, then they are made, and only then they get their names:
 * an archive whose last image is bad must not have replaced what the others are names of.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/archive.h"
#include "image/image_internal.h"
#include "image/json.h"
#include "image/reference.h"
#include "lib/cleanup.h"
#include "lib/num.h"

#define IMAGES_MAX	256
#define TAGS_MAX	256
#define INDEX_DEPTH_MAX 32
#define INDEXES_MAX	1024

/*
 * struct load - one image_load()
 * @found: images of the archive, in order
 * @done: those that have names, one per reference
 * @first: the next image is the first of the archive: @tags are for it
 * @offered: the platforms that an OCI layout has images for
 */
struct load {
	struct cache *cache;
	struct archive *archive;
	const char *const *tags;
	size_t tag_count;
	bool first;
	image_progress_fn *progress;
	void *ctx;
	struct loaded **found;
	size_t found_count;
	struct image **done;
	size_t done_count;
	unsigned indexes;
	char offered[200];
};

/*
 * struct loaded - one image, found in the archive
 * @names: canonical references, @name_count of them
 * @layers: members of the archive
 * @fd: of the layers in the cache, marked, and @fsmeta_fd of the merged image; -1: not made yet
 */
struct loaded {
	struct image_config config;
	struct manifest manifest;
	struct buf raw_manifest;
	const struct buf *raw_config;
	char manifest_digest[DIGEST_TEXT_MAX];
	char names[TAGS_MAX][REFERENCE_TEXT_MAX];
	size_t name_count;
	struct member **layers;
	int *fd, fsmeta_fd;
};

static struct loaded *loaded_new(void)
{
	struct loaded *i = calloc(1, sizeof(*i));

	if (i)
		i->fsmeta_fd = -1;
	return i;
}

static void loaded_free(struct loaded **p)
{
	struct loaded *i = take_ptr(p);

	if (!i)
		return;
	for (size_t n = 0; i->fd && n < i->manifest.layer_count; n++)
		close_fd(&i->fd[n]);
	close_fd(&i->fsmeta_fd);
	free(i->fd);
	free(i->layers);
	config_release(&i->config);
	manifest_release(&i->manifest);
	buf_release(&i->raw_manifest);
	free(i);
}

#define cleanup_loaded __attribute__((cleanup(loaded_free)))

static int add_name(struct loaded *i, const char *text, struct err *err)
{
	char canonical[REFERENCE_TEXT_MAX];
	int rc;

	if (!text[0] || !strcmp(text, "<none>:<none>"))
		return 0;
	rc = reference_canonical(text, canonical, err);
	if (rc < 0)
		return rc;
	for (size_t n = 0; n < i->name_count; n++) {
		if (!strcmp(i->names[n], canonical))
			return 0;
	}
	if (i->name_count == TAGS_MAX)
		return err_msg(err, E2BIG, "the image has more than %d names", TAGS_MAX);
	memcpy(i->names[i->name_count++], canonical, sizeof(canonical));
	return 0;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* The names given on the command line are for the first image. */
static int finish_names(struct load *ld, struct loaded *i, struct err *err)
{
	int rc = 0;

	for (size_t n = 0; ld->first && n < ld->tag_count && rc == 0; n++)
		rc = add_name(i, ld->tags[n], err);
	ld->first = false;
	if (rc < 0)
		return rc;
	if (i->name_count == 0)
		return err_msg(
			err, EINVAL, "an image of the archive has no tags; pass --tag to name it");
	qsort(i->names, i->name_count, sizeof(i->names[0]), compare_names);
	return 0;
}

static int check_config(const struct loaded *i, size_t layers, struct err *err)
{
	const struct image_config *c = &i->config;

	if (config_layer_count(c) != layers || layers == 0)
		return err_msg(err, EBADMSG,
			"layer count mismatch: config has %zu diff_ids but the archive has %zu "
			"layers",
			config_layer_count(c), layers);
	if ((c->os[0] && strcmp(c->os, "linux")) ||
		(c->architecture[0] && strcmp(c->architecture, manifest_architecture())))
		return err_msg(err, ENOENT,
			"the image in the archive is for %.60s/%.60s, not for linux/%s", c->os,
			c->architecture, manifest_architecture());
	return 0;
}

/* Into the cache under its diff-id, unless that is there. */
static int publish_layer(struct load *ld, struct member *m, int *ret_fd, struct err *err)
{
	cleanup_lock struct lock lock = LOCK_INIT;
	int rc;

	if (!cache_artifact_open(ld->cache, CACHE_LAYER, m->layer.diff_id, ret_fd, NULL, NULL))
		return 0;
	rc = cache_lock_artifact(
		ld->cache, CACHE_LAYER, m->layer.diff_id, IMAGE_LOCK_MS, &lock, err);
	if (rc < 0 ||
		!cache_artifact_open(ld->cache, CACHE_LAYER, m->layer.diff_id, ret_fd, NULL, NULL))
		return rc;
	if (m->file.fd < 0)
		return err_msg(err, EIO, "the cache lost layer %s", m->layer.diff_id);
	rc = cache_file_rename(&m->file, CACHE_LAYER, m->layer.diff_id, err);
	rc = rc ? rc : cache_file_publish(&m->file, ret_fd, err);
	cache_file_release(&m->file);
	m->file = CACHE_FILE_INIT;
	return rc;
}

/* "blobs/sha256/<hex>" is a promise; other names promise nothing. */
static int check_blob_name(const char *name, const char *digest, struct err *err)
{
	char promised[DIGEST_TEXT_MAX];

	if (!archive_promise(name, promised) || !strcmp(promised, digest))
		return 0;
	return err_msg(err, EBADMSG, "'%.200s' in the archive has the digest %s", name, digest);
}

static int add_layer(struct load *ld, struct loaded *i, size_t n, const char *name,
	struct descriptor *d, struct err *err)
{
	struct member *m = NULL;
	int rc = archive_layer(ld->archive, name, &m, err);

	rc = rc ? rc : check_blob_name(name, m->digest, err);
	if (rc < 0)
		return rc;
	if (strcmp(m->layer.diff_id, i->config.diff_ids[n]) != 0)
		return err_msg(err, EBADMSG, "layer '%.150s' has the content %s, not %s", name,
			m->layer.diff_id, i->config.diff_ids[n]);
	memcpy(d->digest, m->digest, sizeof(m->digest));
	d->size = m->layer.blob_size;
	(void)snprintf(d->media_type, sizeof(d->media_type), "%s%s", MEDIA_DOCKER_LAYER,
		m->layer.compression == LAYER_GZIP   ? ".gzip"
		: m->layer.compression == LAYER_ZSTD ? ".zstd"
						     : "");
	i->layers[n] = m;
	return 0;
}

static int alloc_layers(struct loaded *i, size_t n, bool descriptors, struct err *err)
{
	if (descriptors) {
		i->manifest.layers = calloc(n, sizeof(*i->manifest.layers));
		i->manifest.layer_count = i->manifest.layers ? n : 0;
	}
	i->fd = calloc(n, sizeof(*i->fd));
	i->layers = calloc(n, sizeof(struct member *));
	if (!i->fd || !i->layers || !i->manifest.layers)
		return err_set(err, ENOMEM, "load an image");
	for (size_t k = 0; k < n; k++)
		i->fd[k] = -1;
	return 0;
}

static struct image_parts parts_of(const struct loaded *i, const char *name)
{
	return (struct image_parts){
		.reference = name,
		.manifest_digest = i->manifest_digest,
		.manifest_media_type = i->manifest.media_type,
		.config_digest = i->manifest.config.digest,
		.manifest = &i->raw_manifest,
		.config = i->raw_config,
		.parsed = &i->config,
		.layers = i->manifest.layers,
		.layer_count = i->manifest.layer_count,
		.layer_fd = i->fd,
	};
}

/* Whatever can be wrong with an image shows here at the latest. */
static int make_image(struct load *ld, struct loaded *i, struct err *err)
{
	struct image_parts parts = parts_of(i, i->names[0]);
	int rc = 0;

	for (size_t n = 0; n < i->manifest.layer_count && rc == 0; n++)
		rc = publish_layer(ld, i->layers[n], &i->fd[n], err);
	return rc ? rc : image_merge(ld->cache, &parts, &i->fsmeta_fd, err);
}

static int publish_name(struct load *ld, const struct loaded *i, const char *name, struct err *err)
{
	cleanup_lock struct lock lock = LOCK_INIT;
	struct image_parts parts = parts_of(i, name);
	struct image **more;
	int rc;

	more = realloc(ld->done, (ld->done_count + 1) * sizeof(struct image *));
	if (!more)
		return err_set(err, ENOMEM, "load an image");
	ld->done = more;
	rc = cache_lock_reference(ld->cache, name, IMAGE_LOCK_MS, &lock, err);
	rc = rc ? rc
		: image_publish(ld->cache, &parts, false, ld->progress, ld->ctx, NULL,
			  &more[ld->done_count], err);
	if (rc == 0)
		ld->done_count++;
	return rc;
}

/* A name with a digest promises that very image, and the cache is believed. */
static int check_pins(const struct loaded *i, struct err *err)
{
	for (size_t n = 0; n < i->name_count; n++) {
		const char *at = strchr(i->names[n], '@');

		if (at && strcmp(at + 1, i->manifest_digest) != 0)
			return err_msg(err, EBADMSG,
				"'%.200s' is the name of another image: the archive's has the "
				"digest %s",
				i->names[n], i->manifest_digest);
	}
	return 0;
}

/* It is complete, as far as the archive tells. Takes over *i. */
static int found(struct load *ld, struct loaded **i, struct err *err)
{
	struct loaded **more;
	int rc = check_pins(*i, err);

	if (rc < 0)
		return rc;
	more = realloc(ld->found, (ld->found_count + 1) * sizeof(struct loaded *));
	if (!more)
		return err_set(err, ENOMEM, "load an image");
	ld->found = more;
	more[ld->found_count++] = take_ptr(i);
	return 0;
}

static int publish_all(struct load *ld, struct err *err)
{
	int rc = 0;

	for (size_t k = 0; k < ld->found_count && rc == 0; k++)
		rc = make_image(ld, ld->found[k], err);
	for (size_t k = 0; k < ld->found_count && rc == 0; k++) {
		const struct loaded *i = ld->found[k];

		for (size_t n = 0; n < i->name_count && rc == 0; n++)
			rc = publish_name(ld, i, i->names[n], err);
		/* What has a name has its files open itself: each twice would be too many. */
		loaded_free(&ld->found[k]);
	}
	return rc;
}

/* --- docker save */

/* The archive has no manifest as a registry would: make one, the same for the same archive. */
static int make_manifest(struct loaded *i, struct err *err)
{
	cleanup_json json_t *o = json_object();
	cleanup_free char *text = NULL;
	json_t *layers = json_array();
	struct manifest *m = &i->manifest;

	for (size_t n = 0; n < m->layer_count; n++)
		(void)json_array_append_new(layers,
			json_pack("{s:s,s:I,s:s}", "mediaType", m->layers[n].media_type, "size",
				(json_int_t)m->layers[n].size, "digest", m->layers[n].digest));
	(void)json_object_set_new(o, "schemaVersion", json_integer(2));
	(void)json_object_set_new(o, "mediaType", json_string(MEDIA_DOCKER_MANIFEST));
	(void)json_object_set_new(o, "config",
		json_pack("{s:s,s:I,s:s}", "mediaType", MEDIA_DOCKER_CONFIG, "size",
			(json_int_t)i->raw_config->len, "digest", m->config.digest));
	(void)json_object_set_new(o, "layers", layers);
	text = json_dumps(o, JSON_COMPACT);
	if (!text || buf_append(&i->raw_manifest, text, strlen(text)) < 0)
		return err_set(err, ENOMEM, "load an image");
	m->media_type = MEDIA_DOCKER_MANIFEST;
	digest_bytes("sha256:", text, strlen(text), i->manifest_digest);
	return 0;
}

static int docker_config(struct load *ld, struct loaded *i, const json_t *entry, struct err *err)
{
	const char *name = json_text(entry, "Config");
	char like[DIGEST_TEXT_MAX];
	int rc = archive_document(ld->archive, name, "configuration", &i->raw_config, err);

	if (rc < 0)
		return rc;
	digest_bytes(archive_promise(name, like) ? like : "sha256:", buf_head(i->raw_config),
		i->raw_config->len, i->manifest.config.digest);
	rc = check_blob_name(name, i->manifest.config.digest, err);
	rc = rc ? rc
		: config_parse((const char *)buf_head(i->raw_config), i->raw_config->len,
			  &i->config, err);
	return rc ? rc : check_config(i, json_array_size(json_object_get(entry, "Layers")), err);
}

static int docker_names(struct load *ld, struct loaded *i, const json_t *entry, struct err *err)
{
	const json_t *tags = json_object_get(entry, "RepoTags");
	int rc = 0;

	for (size_t n = 0; n < json_array_size(tags) && rc == 0; n++) {
		const char *s = json_string_value(json_array_get(tags, n));

		rc = add_name(i, s ? s : "", err);
	}
	return rc ? rc : finish_names(ld, i, err);
}

static int docker_image(struct load *ld, const json_t *entry, struct err *err)
{
	cleanup_loaded struct loaded *i = loaded_new();
	const json_t *layers = json_object_get(entry, "Layers");
	size_t n = json_array_size(layers);
	int rc;

	if (!i)
		return err_set(err, ENOMEM, "load an image");
	rc = docker_names(ld, i, entry, err);
	rc = rc ? rc : docker_config(ld, i, entry, err);
	rc = rc ? rc : alloc_layers(i, n, true, err);
	for (size_t k = 0; k < n && rc == 0; k++) {
		const char *name = json_string_value(json_array_get(layers, k));

		rc = add_layer(ld, i, k, name ? name : "", &i->manifest.layers[k], err);
	}
	rc = rc ? rc : make_manifest(i, err);
	return rc ? rc : found(ld, &i, err);
}

static int load_docker(struct load *ld, struct err *err)
{
	cleanup_json json_t *list = NULL;
	const struct buf *doc;
	int rc = archive_document(ld->archive, "manifest.json", "table of contents", &doc, err);
	size_t n;

	if (rc < 0)
		return rc;
	list = json_document((const char *)buf_head(doc), doc->len, true, "manifest.json", err);
	n = json_array_size(list);
	if (!list)
		return -EBADMSG;
	if (n == 0 || n > IMAGES_MAX)
		return err_msg(err, EBADMSG, "manifest.json names %zu images; 1 to %d can be", n,
			IMAGES_MAX);
	for (size_t k = 0; k < n && rc == 0; k++)
		rc = docker_image(ld, json_array_get(list, k), err);
	return rc;
}

/* --- OCI layout */

static void blob_name(const char *digest, char ret[static 200])
{
	const char *colon = strchr(digest, ':');

	(void)snprintf(ret, 200, "blobs/%.*s/%s", (int)(colon - digest), digest, colon + 1);
}

/* A document of the layout, which must be what its descriptor says. */
static int oci_document(struct load *ld, const struct descriptor *d, const char *what,
	const struct buf **ret, struct err *err)
{
	char name[200], got[DIGEST_TEXT_MAX];
	int rc;

	blob_name(d->digest, name);
	rc = archive_document(ld->archive, name, what, ret, err);
	if (rc < 0)
		return rc;
	digest_bytes(d->digest, buf_head(*ret), (*ret)->len, got);
	if ((*ret)->len != d->size || strcmp(got, d->digest) != 0)
		return err_msg(err, EBADMSG, "the archive's %s is not what its digest %s says",
			what, d->digest);
	return 0;
}

static int oci_layers(struct load *ld, struct loaded *i, struct err *err)
{
	int rc = 0;

	for (size_t n = 0; n < i->manifest.layer_count && rc == 0; n++) {
		const struct descriptor *want = &i->manifest.layers[n];
		struct descriptor got = *want;
		char name[200];

		blob_name(want->digest, name);
		rc = add_layer(ld, i, n, name, &got, err);
		if (rc == 0 && (got.size != want->size || strcmp(got.digest, want->digest) != 0))
			rc = err_msg(err, EBADMSG,
				"layer %zu of the archive is not what its digest %s says", n + 1,
				want->digest);
	}
	return rc;
}

static int oci_image(
	struct load *ld, const struct index_entry *e, const char *name, struct err *err)
{
	cleanup_loaded struct loaded *i = loaded_new();
	const struct buf *raw;
	int rc;

	if (!i)
		return err_set(err, ENOMEM, "load an image");
	rc = oci_document(ld, &e->d, "manifest", &raw, err);
	rc = rc ? rc
		: manifest_parse((const char *)buf_head(raw), raw->len, e->d.media_type,
			  &i->manifest, err);
	if (rc == 0 && i->manifest.is_index)
		rc = err_msg(err, EBADMSG, "a manifest in the archive turns out to be an index");
	rc = rc ? rc : oci_document(ld, &i->manifest.config, "configuration", &i->raw_config, err);
	rc = rc ? rc
		: config_parse((const char *)buf_head(i->raw_config), i->raw_config->len,
			  &i->config, err);
	rc = rc ? rc : check_config(i, i->manifest.layer_count, err);
	rc = rc ? rc : add_name(i, name, err);
	rc = rc ? rc : finish_names(ld, i, err);
	rc = rc ? rc : alloc_layers(i, i->manifest.layer_count, false, err);
	if (rc < 0)
		return rc;
	memcpy(i->manifest_digest, e->d.digest, sizeof(i->manifest_digest));
	if (buf_append(&i->raw_manifest, buf_head(raw), raw->len) < 0)
		return err_set(err, ENOMEM, "load an image");
	rc = oci_layers(ld, i, err);
	return rc ? rc : found(ld, &i, err);
}

static bool platform_fits(const struct index_entry *e)
{
	return !e->has_platform ||
	       (!strcmp(e->os, "linux") && !strcmp(e->architecture, manifest_architecture()));
}

static int oci_index(struct load *ld, const struct buf *raw, const char *outer_name, unsigned depth,
	struct err *err);

static int oci_entry(struct load *ld, const struct index_entry *e, const char *outer_name,
	unsigned depth, struct err *err)
{
	const char *name = e->name[0] ? e->name : outer_name;
	const struct buf *raw;
	int rc;

	if (e->is_image && platform_fits(e))
		return oci_image(ld, e, name, err);
	if (!e->is_index)
		return 0;
	rc = oci_document(ld, &e->d, "index", &raw, err);
	return rc ? rc : oci_index(ld, raw, name, depth + 1, err);
}

static int oci_index(struct load *ld, const struct buf *raw, const char *outer_name, unsigned depth,
	struct err *err)
{
	cleanup_manifest struct manifest m = { .is_index = false };
	int rc;

	if (depth > INDEX_DEPTH_MAX || ++ld->indexes > INDEXES_MAX)
		return err_msg(err, EBADMSG, "the indexes of the archive are nested without end");
	rc = manifest_parse((const char *)buf_head(raw), raw->len, MEDIA_OCI_INDEX, &m, err);
	if (rc == 0 && !m.is_index)
		rc = err_msg(err, EBADMSG, "index.json is no index");
	for (size_t n = 0; n < m.entry_count && rc == 0; n++)
		rc = oci_entry(ld, &m.entries[n], outer_name, depth, err);
	/* Of nested ones the innermost, which comes first, has the images. */
	if (!ld->offered[0])
		manifest_platforms(&m, ld->offered, sizeof(ld->offered));
	return rc;
}

static int load_oci(struct load *ld, struct err *err)
{
	const struct buf *doc;
	int rc = archive_document(ld->archive, "index.json", "index", &doc, err);

	rc = rc ? rc : oci_index(ld, doc, "", 0, err);
	if (rc == 0 && ld->found_count == 0)
		rc = err_msg(err, ENOENT, "the archive has no image for linux/%s; it has %s",
			manifest_architecture(), ld->offered);
	return rc;
}

static int load_any(struct load *ld, struct err *err)
{
	if (archive_has(ld->archive, "manifest.json"))
		return load_docker(ld, err);
	if (archive_has(ld->archive, "oci-layout"))
		return load_oci(ld, err);
	return err_msg(err, EBADMSG, "archive missing manifest.json or oci-layout: %s",
		archive_empty(ld->archive) ? "it is empty"
					   : "neither 'docker save' nor OCI tools made it");
}

int image_load(struct cache *cache, int fd, const char *const *tags, size_t tag_count,
	image_progress_fn *progress, void *progress_ctx, struct image ***ret, size_t *ret_n,
	struct err *err)
{
	cleanup_archive struct archive *archive = NULL;
	struct load ld = { .cache = cache,
		.tags = tags,
		.tag_count = tag_count,
		.first = true,
		.progress = progress,
		.ctx = progress_ctx };
	int rc = archive_read(cache, fd, &archive, err);

	if (rc < 0)
		return rc;
	ld.archive = archive;
	rc = load_any(&ld, err);
	rc = rc ? rc : publish_all(&ld, err);
	for (size_t i = 0; i < ld.found_count; i++)
		loaded_free(&ld.found[i]);
	free(ld.found);
	if (rc < 0) {
		for (size_t i = 0; i < ld.done_count; i++)
			image_free(ld.done[i]);
		free(ld.done);
		return rc;
	}
	*ret = ld.done;
	*ret_n = ld.done_count;
	return 0;
}
