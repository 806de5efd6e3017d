/* SPDX-License-Identifier: Apache-2.0 */
/* How an image gets complete in the cache: its layers merged, then its metadata. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "image/image_internal.h"
#include "image/merge.h"
#include "lib/cleanup.h"

static void say(image_progress_fn *fn, void *ctx, enum image_event_kind kind, size_t layers)
{
	struct image_event ev = { .kind = kind, .layers = layers };

	if (fn)
		fn(ctx, &ev);
}

/* struct stack - the layers of one image */
struct stack {
	const char *manifest_digest;
	const int *fd;
	size_t n;
};

/* Upstream's descriptor lists the old file with its size; upstream makes a missing one again. */
static int make_fsmeta(struct cache *cache, const struct stack *s, int *ret_fd, struct err *err)
{
	cleanup_cache_file struct cache_file file = CACHE_FILE_INIT;
	struct merge_result result;
	int rc = cache_artifact_create(cache, CACHE_FSMETA, s->manifest_digest, &file, err);

	rc = rc ? rc : merge_layers(s->fd, (unsigned)s->n, file.fd, &result, err);
	rc = rc ? rc : cache_artifact_remove(cache, CACHE_VMDK, s->manifest_digest, err);
	rc = rc ? rc : cache_file_publish(&file, ret_fd, err);
	return rc < 0 ? err_wrap(err, "merge the layers") : 0;
}

/* @ret_fd: the merged image, marked */
static int publish_fsmeta(struct cache *cache, const struct stack *s, bool rebuild, int *ret_fd,
	bool *ret_built, struct err *err)
{
	cleanup_lock struct lock lock = LOCK_INIT;
	int rc = -ENOENT;

	if (!rebuild)
		rc = image_open_merged(cache, s->manifest_digest, s->fd, s->n, ret_fd, NULL, NULL);
	if (rc == 0)
		return 0;
	rc = cache_lock_artifact(
		cache, CACHE_FSMETA, s->manifest_digest, IMAGE_LOCK_MS, &lock, err);
	if (rc < 0)
		return rc;
	if (!rebuild &&
		!image_open_merged(cache, s->manifest_digest, s->fd, s->n, ret_fd, NULL, NULL))
		return 0;
	if (ret_built)
		*ret_built = true;
	return make_fsmeta(cache, s, ret_fd, err);
}

int image_merge(struct cache *cache, const struct image_parts *p, int *ret_fd, struct err *err)
{
	const struct stack s = { p->manifest_digest, p->layer_fd, p->layer_count };

	return publish_fsmeta(cache, &s, false, ret_fd, NULL, err);
}

int image_mend(struct cache *cache, const char *canonical, struct image **ret, struct err *err)
{
	cleanup_image struct image *img = NULL;
	cleanup_free int *fds = NULL;
	struct stack s;
	struct stat st;
	int rc = image_open_layers(cache, canonical, &img, &fds, err);

	if (rc < 0)
		return rc;
	s = (struct stack){ img->manifest_digest, fds, img->layer_count };
	rc = publish_fsmeta(cache, &s, false, &img->fsmeta_fd, NULL, err);
	if (rc < 0)
		return rc;
	if (fstat(img->fsmeta_fd, &st) < 0)
		return err_set(err, errno, "open image '%s'", canonical);
	img->fsmeta_size = (uint64_t)st.st_size;
	*ret = take_ptr(&img);
	return 0;
}

/* The merged image is marked as in use, which keeps what is written here. */
static int write_metadata(struct cache *cache, const struct image_parts *p, struct err *err)
{
	cleanup_free char *text = image_metadata_text(p);
	cleanup_lock struct lock lock = LOCK_INIT;
	char key[CACHE_MANIFEST_KEY_MAX];
	int rc;

	if (!text)
		return err_set(err, ENOMEM, "write the metadata of '%s'", p->reference);
	cache_manifest_key(p->manifest_digest, key);
	rc = cache_lock_reference(cache, key, IMAGE_LOCK_MS, &lock, err);
	rc = rc ? rc : cache_metadata_write(cache, key, text, strlen(text), err);
	return rc ? rc : cache_metadata_write(cache, p->reference, text, strlen(text), err);
}

int image_publish(struct cache *cache, const struct image_parts *p, bool rebuild,
	image_progress_fn *progress, void *ctx, bool *ret_built, struct image **ret,
	struct err *err)
{
	const struct stack s = { p->manifest_digest, p->layer_fd, p->layer_count };
	cleanup_fd int fd = -1;
	int rc;

	say(progress, ctx, IMAGE_MERGING, p->layer_count);
	rc = publish_fsmeta(cache, &s, rebuild, &fd, ret_built, err);
	if (rc < 0)
		return rc;
	say(progress, ctx, IMAGE_WRITING_FSMETA, p->layer_count);
	rc = write_metadata(cache, p, err);
	return rc ? rc : image_mend(cache, p->reference, ret, err);
}
