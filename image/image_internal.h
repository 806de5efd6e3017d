/* SPDX-License-Identifier: Apache-2.0 */
/* What pulling, loading and saving share: publishing an image and its metadata. */
#ifndef IMAGE_INTERNAL_H
#define IMAGE_INTERNAL_H

#include <jansson.h>
#include <stdio.h>

#include "image/image.h"
#include "image/manifest.h"
#include "lib/buf.h"
#include "store/cache.h"

/* How long to wait for another msb that makes the same image. It has deadlines of its own. */
#define IMAGE_LOCK_MS (30 * 60 * 1000)

/*
 * struct image_parts - what an image is made of, before it is in the cache
 * @layers: as many as @config has diff-ids; @layer_fd[i] is the marked EROFS file of layer i
 * Everything is borrowed.
 */
struct image_parts {
	const char *reference; /* canonical */
	const char *manifest_digest;
	const char *manifest_media_type;
	const char *config_digest;
	const struct buf *manifest, *config;
	const struct image_config *parsed;
	const struct descriptor *layers;
	size_t layer_count;
	const int *layer_fd;
};

/*
 * image_merge() - merge the layers unless that is in the cache; nothing has a name yet
 * @ret_fd: the merged image, marked
 */
int image_merge(struct cache *cache, const struct image_parts *p, int *ret_fd, struct err *err);

/*
 * image_publish() - merge the layers unless that is in the cache, then write the metadata: from
 * then on the image is complete. The caller holds the reference lock.
 * @rebuild: merge even if it is there
 * @ret_built: set if something had to be made; may be NULL
 * @ret:       the image, as image_mend() opens it: garbage collection beside us cannot have taken
 * it
 */
int image_publish(struct cache *cache, const struct image_parts *p, bool rebuild,
	image_progress_fn *progress, void *ctx, bool *ret_built, struct image **ret,
	struct err *err);

/*
 * image_open_layers() - as image_open_canonical(), without the merged image: fsmeta_fd is -1
 * @ret_fds: the layers' descriptors, still the image's; free() the list
 */
int image_open_layers(struct cache *cache, const char *canonical, struct image **ret, int **ret_fds,
	struct err *err);

/*
 * image_open_merged() - the merged image, if it is that of these very files (tie.h)
 * Return: 0; -ENOENT none, or one that is of no use; -errno
 */
int image_open_merged(struct cache *cache, const char *manifest_digest, const int *layer_fd,
	size_t n, int *ret_fd, uint64_t *ret_size, struct err *err);

/*
 * image_mend() - image_open_canonical(), but layers that are all there are merged again if need be:
 * a lost merged image costs no download
 */
int image_mend(struct cache *cache, const char *canonical, struct image **ret, struct err *err);

/* image_open_canonical() - image_open() for a reference in canonical form */
int image_open_canonical(
	struct cache *cache, const char *canonical, struct image **ret, struct err *err);

/* image_metadata_text() - the metadata of an image as JSON; NULL: out of memory. free() it. */
char *image_metadata_text(const struct image_parts *p);

/* image_metadata_parse() - into everything of *img but its descriptors. -EBADMSG */
int image_metadata_parse(const char *raw, size_t len, struct image *img, struct err *err);

#endif
