/* SPDX-License-Identifier: Apache-2.0 */
/* Images that are in the cache. How they get there is in publish.c. */
#include "image/image.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "image/image_internal.h"
#include "image/reference.h"
#include "image/tie.h"
#include "lib/cleanup.h"
#include "lib/log.h"

void image_free(struct image *img)
{
	if (!img)
		return;
	for (size_t i = 0; i < img->layer_count; i++) {
		struct image_layer *l = &img->layers[i];

		close_fd(&l->fd);
		free(l->diff_id);
		free(l->blob_digest);
		free(l->media_type);
	}
	free(img->layers);
	close_fd(&img->fsmeta_fd);
	config_release(&img->config);
	free(img->reference);
	free(img->manifest_digest);
	free(img->manifest_media_type);
	free(img->config_digest);
	free(img->raw_manifest);
	free(img->raw_config);
	free(img);
}

static int open_layers(struct cache *cache, struct image *img, struct err *err)
{
	int rc = 0;

	for (size_t i = 0; i < img->layer_count && rc == 0; i++)
		rc = cache_artifact_open(cache, CACHE_LAYER, img->layers[i].diff_id,
			&img->layers[i].fd, &img->layers[i].erofs_size, err);
	return rc;
}

/* Return: 0; -ENOENT not complete, with why in @err; -errno */
static int open_key(struct cache *cache, const char *key, struct image **ret, struct err *err)
{
	cleanup_image struct image *img = calloc(1, sizeof(*img));
	cleanup_buf struct buf text = { 0 };
	int rc;

	if (!img)
		return err_set(err, ENOMEM, "open image '%s'", key);
	img->fsmeta_fd = -1;
	rc = cache_metadata_read(cache, key, &text, err);
	if (rc < 0)
		return rc;
	rc = image_metadata_parse((const char *)buf_head(&text), text.len, img, err);
	if (rc == 0)
		rc = open_layers(cache, img, err);
	if (rc < 0) {
		log_debug("%s: %s", key, err ? err->msg : "not complete");
		/* Damaged metadata are as good as none: the next pull replaces them. */
		return rc == -EBADMSG ? -ENOENT : rc;
	}
	img->reference = strdup(key);
	if (!img->reference)
		return err_set(err, ENOMEM, "open image '%s'", key);
	img->was_cached = true;
	*ret = take_ptr(&img);
	return 0;
}

int image_open_layers(struct cache *cache, const char *canonical, struct image **ret, int **ret_fds,
	struct err *err)
{
	cleanup_image struct image *img = NULL;
	cleanup_free int *fds = NULL;
	struct err why = ERR_INIT;
	int rc = open_key(cache, canonical, &img, &why);

	if (rc == -ENOENT)
		return err_msg(err, ENOENT, "image not cached: %s", canonical);
	if (rc < 0)
		return err_msg(err, -rc, "%s", why.msg);
	fds = calloc(img->layer_count, sizeof(*fds));
	if (!fds)
		return err_set(err, ENOMEM, "open image '%s'", canonical);
	for (size_t i = 0; i < img->layer_count; i++)
		fds[i] = img->layers[i].fd;
	*ret = take_ptr(&img);
	*ret_fds = take_ptr(&fds);
	return 0;
}

int image_open_merged(struct cache *cache, const char *manifest_digest, const int *layer_fd,
	size_t n, int *ret_fd, uint64_t *ret_size, struct err *err)
{
	struct err why = ERR_INIT;
	cleanup_fd int fd = -1;
	int rc = cache_artifact_open(cache, CACHE_FSMETA, manifest_digest, &fd, ret_size, err);

	rc = rc ? rc : tie_check(fd, layer_fd, n, &why);
	if (rc == -ESTALE || rc == -EBADMSG) {
		log_info("the merged image of '%s' is of no use: %s", manifest_digest, why.msg);
		return err_msg(err, ENOENT, "%s", why.msg);
	}
	if (rc == 0)
		*ret_fd = take_fd(&fd);
	return rc;
}

int image_open_canonical(
	struct cache *cache, const char *canonical, struct image **ret, struct err *err)
{
	cleanup_image struct image *img = NULL;
	cleanup_free int *fds = NULL;
	struct err why = ERR_INIT;
	int rc = image_open_layers(cache, canonical, &img, &fds, err);

	if (rc < 0)
		return rc;
	rc = image_open_merged(cache, img->manifest_digest, fds, img->layer_count, &img->fsmeta_fd,
		&img->fsmeta_size, &why);
	if (rc == -ENOENT)
		return err_msg(err, ESTALE,
			"the layers of image '%s' are to be merged again; pull it", canonical);
	if (rc < 0)
		return err_msg(err, -rc, "%s", why.msg);
	*ret = take_ptr(&img);
	return 0;
}

int image_open(struct cache *cache, const char *reference, struct image **ret, struct err *err)
{
	char canonical[REFERENCE_TEXT_MAX];
	int rc = reference_canonical(reference, canonical, err);

	return rc ? rc : image_open_canonical(cache, canonical, ret, err);
}

int image_open_digest(struct cache *cache, const char *digest, struct image **ret, struct err *err)
{
	char key[CACHE_MANIFEST_KEY_MAX];

	if (!digest_valid(digest))
		return err_msg(err, EINVAL, "'%.150s' is no digest", digest);
	cache_manifest_key(digest, key);
	return image_open_canonical(cache, key, ret, err);
}
