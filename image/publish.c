/* SPDX-License-Identifier: Apache-2.0 */
/* How an image gets complete in the cache: its layers merged, then its metadata. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "image/image_internal.h"
#include "image/merge.h"
#include "lib/cleanup.h"

static void say(image_progress_fn *fn, void *ctx, enum image_event_kind kind, size_t layers)
{
	struct image_event ev = { .kind = kind, .layers = layers };

	if (fn)
		fn(ctx, &ev);
}

static int make_fsmeta(struct cache *cache, const struct image_parts *p, struct err *err)
{
	cleanup_cache_file struct cache_file file = CACHE_FILE_INIT;
	struct merge_result result;
	int rc = cache_artifact_create(cache, CACHE_FSMETA, p->manifest_digest, &file, err);

	if (rc == 0)
		rc = merge_layers(p->layer_fd, (unsigned)p->layer_count, file.fd, &result, err);
	if (rc == 0)
		rc = cache_file_publish(&file, NULL, err);
	return rc < 0 ? err_wrap(err, "merge the layers") : 0;
}

static int publish_fsmeta(struct cache *cache, const struct image_parts *p, bool rebuild,
	bool *ret_built, struct err *err)
{
	cleanup_lock struct lock lock = LOCK_INIT;
	cleanup_fd int fd = -1;
	int rc = -ENOENT;

	if (!rebuild)
		rc = cache_artifact_open(cache, CACHE_FSMETA, p->manifest_digest, &fd, NULL, NULL);
	if (rc == 0)
		return 0;
	rc = cache_lock_artifact(
		cache, CACHE_FSMETA, p->manifest_digest, IMAGE_LOCK_MS, &lock, err);
	if (rc < 0)
		return rc;
	if (!rebuild &&
		!cache_artifact_open(cache, CACHE_FSMETA, p->manifest_digest, &fd, NULL, NULL))
		return 0;
	if (ret_built)
		*ret_built = true;
	return make_fsmeta(cache, p, err);
}

int image_publish(struct cache *cache, const struct image_parts *p, bool rebuild,
	image_progress_fn *progress, void *ctx, bool *ret_built, struct err *err)
{
	cleanup_free char *text = image_metadata_text(p);
	char key[DIGEST_TEXT_MAX + 1];
	int rc;

	if (!text)
		return err_set(err, ENOMEM, "write the metadata of '%s'", p->reference);
	say(progress, ctx, IMAGE_MERGING, p->layer_count);
	rc = publish_fsmeta(cache, p, rebuild, ret_built, err);
	if (rc < 0)
		return rc;
	say(progress, ctx, IMAGE_WRITING_FSMETA, p->layer_count);
	image_digest_key(p->manifest_digest, key);
	rc = cache_metadata_write(cache, key, text, strlen(text), err);
	return rc ? rc : cache_metadata_write(cache, p->reference, text, strlen(text), err);
}
