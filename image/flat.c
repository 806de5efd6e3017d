/* SPDX-License-Identifier: Apache-2.0 */
/* An image as one ext4 file system in the cache. */
#include <errno.h>
#include <stdlib.h>

#include "image/image_internal.h"
#include "image/merge.h"
#include "lib/cleanup.h"

static int make(struct cache *cache, const struct image *img, int *ret_fd, struct err *err)
{
	cleanup_cache_file struct cache_file file = CACHE_FILE_INIT;
	cleanup_free int *fds = calloc(img->layer_count + 1, sizeof(*fds));
	struct merge_result result;
	int rc;

	if (!fds)
		return err_set(err, ENOMEM, "make a flat image");
	for (size_t i = 0; i < img->layer_count; i++)
		fds[i] = img->layers[i].fd;
	rc = cache_artifact_create(cache, CACHE_FLAT, img->manifest_digest, &file, err);
	rc = rc ? rc : merge_flat(fds, (unsigned)img->layer_count, file.fd, &result, err);
	rc = rc ? rc : cache_file_publish(&file, ret_fd, err);
	return rc < 0 ? err_wrap(err, "make a flat image") : 0;
}

static bool is_there(struct cache *cache, const struct image *img, bool rebuild, int *ret_fd)
{
	return !rebuild && cache_artifact_open(cache, CACHE_FLAT, img->manifest_digest, ret_fd,
				   NULL, NULL) == 0;
}

int image_make_flat(struct cache *cache, const struct image *img, bool rebuild, bool *ret_made,
	int *ret_fd, struct err *err)
{
	cleanup_lock struct lock lock = LOCK_INIT;
	int rc;

	if (ret_made)
		*ret_made = false;
	if (is_there(cache, img, rebuild, ret_fd))
		return 0;
	rc = cache_lock_artifact(
		cache, CACHE_FLAT, img->manifest_digest, IMAGE_LOCK_MS, &lock, err);
	if (rc < 0 || is_there(cache, img, rebuild, ret_fd))
		return rc;
	if (ret_made)
		*ret_made = true;
	return make(cache, img, ret_fd, err);
}
