/* SPDX-License-Identifier: Apache-2.0 */
#include "image/manifest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/json.h"
#include "lib/num.h"

/* Layers may be this large compressed; what they unpack to has its own limit. */
#define LAYER_BYTES_MAX GIB(64)

static int descriptor_parse(const json_t *j, const char *what, uint64_t size_max,
	struct descriptor *ret, struct err *err)
{
	const json_t *size = json_object_get(j, "size");

	if (!json_is_object(j))
		return err_msg(err, EBADMSG, "the manifest has no %s", what);
	if (json_take_text(j, "digest", ret->digest, sizeof(ret->digest)) < 0 ||
		!digest_valid(ret->digest))
		return err_msg(
			err, EBADMSG, "the digest of the %s in the manifest is not valid", what);
	if (json_take_text(j, "mediaType", ret->media_type, sizeof(ret->media_type)) < 0)
		return err_msg(
			err, EBADMSG, "the media type of the %s in the manifest is missing", what);
	if (!json_is_integer(size) || json_integer_value(size) < 0 ||
		(uint64_t)json_integer_value(size) > size_max)
		return err_msg(err, EBADMSG,
			"the size of the %s in the manifest is not one of 0 to %llu bytes", what,
			(unsigned long long)size_max);
	ret->size = (uint64_t)json_integer_value(size);
	return 0;
}

/* Tar, plain or compressed in one of the ways that layers are. */
static bool layer_type_ok(const char *type)
{
	static const char *const known[] = { MEDIA_OCI_LAYER, MEDIA_OCI_LAYER "+gzip",
		MEDIA_OCI_LAYER "+zstd", "application/vnd.oci.image.layer.nondistributable.v1.tar",
		"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
		"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", MEDIA_DOCKER_LAYER,
		MEDIA_DOCKER_LAYER ".gzip", MEDIA_DOCKER_LAYER ".zstd",
		"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip" };

	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		if (!strcmp(type, known[i]))
			return true;
	}
	return false;
}

static int layers_parse(const json_t *list, struct manifest *m, struct err *err)
{
	size_t n = json_array_size(list);
	int rc;

	if (!json_is_array(list) || n == 0)
		return err_msg(err, EBADMSG, "the manifest has no layers: nothing to boot from");
	if (n > IMAGE_LAYERS_MAX)
		return err_msg(err, EBADMSG, "the manifest has %zu layers; %d are the limit", n,
			IMAGE_LAYERS_MAX);
	m->layers = calloc(n, sizeof(*m->layers));
	if (!m->layers)
		return err_set(err, ENOMEM, "read the manifest");
	for (m->layer_count = 0; m->layer_count < n; m->layer_count++) {
		struct descriptor *d = &m->layers[m->layer_count];

		rc = descriptor_parse(
			json_array_get(list, m->layer_count), "layer", LAYER_BYTES_MAX, d, err);
		if (rc < 0)
			return rc;
		if (!layer_type_ok(d->media_type))
			return err_msg(err, ENOTSUP,
				"layer %zu is of type '%s', which is no layer of a file system",
				m->layer_count + 1, d->media_type);
	}
	return 0;
}

static bool is_manifest_type(const char *t)
{
	return !strcmp(t, MEDIA_OCI_MANIFEST) || !strcmp(t, MEDIA_DOCKER_MANIFEST);
}

static bool is_index_type(const char *t)
{
	return !strcmp(t, MEDIA_OCI_INDEX) || !strcmp(t, MEDIA_DOCKER_LIST);
}

static int entry_parse(const json_t *j, struct index_entry *e, struct err *err)
{
	const json_t *platform = json_object_get(j, "platform");
	const json_t *notes = json_object_get(j, "annotations");
	int rc = descriptor_parse(j, "entry", LAYER_BYTES_MAX, &e->d, err);

	if (rc < 0)
		return rc;
	e->has_platform = json_is_object(platform);
	(void)json_take_text(platform, "os", e->os, sizeof(e->os));
	(void)json_take_text(platform, "architecture", e->architecture, sizeof(e->architecture));
	(void)json_take_text(platform, "variant", e->variant, sizeof(e->variant));
	/* The second may be a mere tag; those who write the first write whole names. */
	if (json_take_text(notes, "io.containerd.image.name", e->name, sizeof(e->name)) < 0)
		(void)json_take_text(
			notes, "org.opencontainers.image.ref.name", e->name, sizeof(e->name));
	e->is_index = is_index_type(e->d.media_type);
	/* Attestations are manifests too, told apart by a note or an unknown platform. */
	e->is_image = is_manifest_type(e->d.media_type) &&
		      !json_text(notes, "vnd.docker.reference.type")[0];
	return 0;
}

static int entries_parse(const json_t *list, struct manifest *m, struct err *err)
{
	size_t n = json_array_size(list);
	int rc;

	if (!json_is_array(list))
		return err_msg(err, EBADMSG, "the index has no list of manifests");
	if (n > INDEX_ENTRIES_MAX)
		return err_msg(err, EBADMSG, "the index has %zu entries; %d are the limit", n,
			INDEX_ENTRIES_MAX);
	m->entries = calloc(n ? n : 1, sizeof(*m->entries));
	if (!m->entries)
		return err_set(err, ENOMEM, "read the index");
	for (m->entry_count = 0; m->entry_count < n; m->entry_count++) {
		rc = entry_parse(
			json_array_get(list, m->entry_count), &m->entries[m->entry_count], err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* What the document is: it says so itself, or its members do, or the response did. */
static const char *kind_of(const json_t *doc, const char *content_type)
{
	static const char *const types[] = { MEDIA_OCI_MANIFEST, MEDIA_DOCKER_MANIFEST,
		MEDIA_OCI_INDEX, MEDIA_DOCKER_LIST };
	const char *said = json_text(doc, "mediaType");
	bool index = json_object_get(doc, "manifests") != NULL;

	if (!said[0])
		said = content_type ? content_type : "";
	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		if (!strncmp(said, types[i], strlen(types[i])) && is_index_type(types[i]) == index)
			return types[i];
	}
	if (json_text(doc, "mediaType")[0])
		return NULL;
	return index ? MEDIA_OCI_INDEX : MEDIA_OCI_MANIFEST;
}

static int check_schema(const json_t *doc, const char *content_type, struct err *err)
{
	const json_t *version = json_object_get(doc, "schemaVersion");
	bool old = content_type && strstr(content_type, "distribution.manifest.v1+");

	if (json_is_integer(version) && json_integer_value(version) == 2 && !old)
		return 0;
	if (old || (json_is_integer(version) && json_integer_value(version) == 1))
		return err_msg(err, ENOTSUP,
			"the image has a manifest of the outdated schema 1, which is not "
			"supported; push it again with a current tool");
	return err_msg(err, EBADMSG, "the document is no image manifest: no schemaVersion 2");
}

int manifest_parse(const char *raw, size_t len, const char *content_type, struct manifest *ret,
	struct err *err)
{
	cleanup_json json_t *doc = json_document(raw, len, false, "the manifest", err);
	cleanup_manifest struct manifest m = { .is_index = false };
	int rc;

	if (!doc)
		return -EBADMSG;
	rc = check_schema(doc, content_type, err);
	if (rc < 0)
		return rc;
	m.media_type = kind_of(doc, content_type);
	if (!m.media_type)
		return err_msg(err, EBADMSG, "the document is of type '%.100s', no image manifest",
			json_text(doc, "mediaType"));
	m.is_index = is_index_type(m.media_type);
	if (m.is_index) {
		rc = entries_parse(json_object_get(doc, "manifests"), &m, err);
	} else {
		rc = descriptor_parse(json_object_get(doc, "config"), "configuration",
			CONFIG_BYTES_MAX, &m.config, err);
		if (rc == 0)
			rc = layers_parse(json_object_get(doc, "layers"), &m, err);
	}
	if (rc < 0)
		return rc;
	*ret = m;
	m = (struct manifest){ .is_index = false };
	return 0;
}

void manifest_release(struct manifest *m)
{
	free(m->layers);
	free(m->entries);
	*m = (struct manifest){ .is_index = false };
}

const char *manifest_architecture(void)
{
#if defined(__x86_64__)
	return "amd64";
#elif defined(__aarch64__)
	return "arm64";
#else
#error "no name for this architecture"
#endif
}

const struct index_entry *manifest_choose(
	const struct manifest *m, const char *architecture, const char *variant)
{
	const struct index_entry *first = NULL;

	for (size_t i = 0; i < m->entry_count; i++) {
		const struct index_entry *e = &m->entries[i];

		if (!e->has_platform || !(e->is_image || e->is_index) || strcmp(e->os, "linux") ||
			strcmp(e->architecture, architecture))
			continue;
		if (!variant || !variant[0] || !strcmp(e->variant, variant))
			return e;
		if (!first)
			first = e;
	}
	return first;
}

void manifest_platforms(const struct manifest *m, char *text, size_t size)
{
	size_t at = 0;

	text[0] = '\0';
	for (size_t i = 0; i < m->entry_count && at < size; i++) {
		const struct index_entry *e = &m->entries[i];

		if (!e->is_image || !e->os[0])
			continue;
		at += (size_t)snprintf(text + at, size - at, "%s%s/%s%s%s", at ? ", " : "", e->os,
			e->architecture, e->variant[0] ? "/" : "", e->variant);
	}
	if (at == 0)
		(void)snprintf(text, size, "none");
}
