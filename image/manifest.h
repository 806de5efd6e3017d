/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Manifests, indexes and configurations of images: JSON from strangers into structs whose every
 * field is legal. OCI image-spec 1.1 and Docker's schema 2; schema 1 is refused.
 */
#ifndef IMAGE_MANIFEST_H
#define IMAGE_MANIFEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/digest.h"
#include "image/image.h"

/* Larger documents are refused before they are parsed. */
#define MANIFEST_BYTES_MAX MIB(4)
#define CONFIG_BYTES_MAX   MIB(8)
/* Most entries of an index. */
#define INDEX_ENTRIES_MAX 4096
#define MEDIA_TYPE_MAX	  128

#define MEDIA_OCI_MANIFEST    "application/vnd.oci.image.manifest.v1+json"
#define MEDIA_OCI_INDEX	      "application/vnd.oci.image.index.v1+json"
#define MEDIA_OCI_CONFIG      "application/vnd.oci.image.config.v1+json"
#define MEDIA_OCI_LAYER	      "application/vnd.oci.image.layer.v1.tar"
#define MEDIA_DOCKER_MANIFEST "application/vnd.docker.distribution.manifest.v2+json"
#define MEDIA_DOCKER_LIST     "application/vnd.docker.distribution.manifest.list.v2+json"
#define MEDIA_DOCKER_CONFIG   "application/vnd.docker.container.image.v1+json"
#define MEDIA_DOCKER_LAYER    "application/vnd.docker.image.rootfs.diff.tar"

/* struct descriptor - a reference to content: what it is, its digest and its size */
struct descriptor {
	char media_type[MEDIA_TYPE_MAX];
	char digest[DIGEST_TEXT_MAX];
	uint64_t size;
};

/*
 * struct index_entry - one manifest that an index offers
 * @os, @architecture, @variant: "" when not given
 * @name: annotation org.opencontainers.image.ref.name, or ""
 */
struct index_entry {
	struct descriptor d;
	char os[32], architecture[32], variant[32];
	char name[512];
	bool has_platform;
	bool is_image; /* a manifest for an image, not an attestation or an index */
	bool is_index;
};

/*
 * struct manifest - a manifest (@config and @layers) or, if @is_index, an index (@entries)
 * @media_type: one of the four above
 */
struct manifest {
	bool is_index;
	const char *media_type;
	struct descriptor config;
	struct descriptor *layers;
	size_t layer_count;
	struct index_entry *entries;
	size_t entry_count;
};

/*
 * manifest_parse() - read a manifest or index
 * @content_type: of the response, used when the document itself does not say; NULL: none
 * @ret: filled on success; manifest_release() it
 * Return: 0; -EBADMSG malformed; -ENOTSUP schema 1, or a kind of layer that cannot be used
 */
int manifest_parse(const char *raw, size_t len, const char *content_type, struct manifest *ret,
	struct err *err);
void manifest_release(struct manifest *m);

/* manifest_architecture() - of this machine, in the words of images. */
const char *manifest_architecture(void);

/*
 * manifest_choose() - the entry of an index for linux and @architecture
 * @variant: preferred one; NULL or "": any
 * Return: an entry of @m, or NULL if none fits
 */
const struct index_entry *manifest_choose(
	const struct manifest *m, const char *architecture, const char *variant);

/* manifest_platforms() - "linux/amd64, linux/arm64/v8": what an index has, for an error. */
void manifest_platforms(const struct manifest *m, char *text, size_t size);

/*
 * config_parse() - read the configuration of an image
 * @ret: filled on success; config_release() it
 * Return: 0; -EBADMSG malformed, or a diff-id is no digest; -E2BIG too many layers
 */
int config_parse(const char *raw, size_t len, struct image_config *ret, struct err *err);
void config_release(struct image_config *c);

/* config_layer_count() - how many diff-ids there are. */
size_t config_layer_count(const struct image_config *c);

#define cleanup_manifest __attribute__((cleanup(manifest_release)))
#define cleanup_config	 __attribute__((cleanup(config_release)))

#endif
