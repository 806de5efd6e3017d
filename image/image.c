/* SPDX-License-Identifier: Apache-2.0 */
/* Images that are in the cache, and how they get complete there. */
#include "image/image.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "image/image_internal.h"
#include "image/merge.h"
#include "image/reference.h"
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

static int open_files(struct cache *cache, struct image *img, struct err *err)
{
	int rc = cache_artifact_open(
		cache, CACHE_FSMETA, img->manifest_digest, &img->fsmeta_fd, &img->fsmeta_size, err);

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
		rc = open_files(cache, img, err);
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

int image_open_canonical(
	struct cache *cache, const char *canonical, struct image **ret, struct err *err)
{
	struct err why = ERR_INIT;
	int rc = open_key(cache, canonical, ret, &why);

	if (rc == -ENOENT)
		return err_msg(err, ENOENT, "image not cached: %s", canonical);
	return rc < 0 ? err_msg(err, -rc, "%s", why.msg) : 0;
}

int image_open(struct cache *cache, const char *reference, struct image **ret, struct err *err)
{
	char canonical[REFERENCE_TEXT_MAX];
	struct reference ref;
	int rc = reference_parse(reference, &ref, err);

	if (rc < 0)
		return rc;
	reference_format(&ref, canonical);
	return image_open_canonical(cache, canonical, ret, err);
}

/* Under this key the metadata are found by what a sandbox keeps of its image. */
static void digest_key(const char *digest, char key[static DIGEST_TEXT_MAX + 1])
{
	(void)snprintf(key, DIGEST_TEXT_MAX + 1, "@%s", digest);
}

int image_open_digest(struct cache *cache, const char *digest, struct image **ret, struct err *err)
{
	char key[DIGEST_TEXT_MAX + 1];

	if (!digest_valid(digest))
		return err_msg(err, EINVAL, "'%.150s' is no digest", digest);
	digest_key(digest, key);
	return image_open_canonical(cache, key, ret, err);
}

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
	digest_key(p->manifest_digest, key);
	rc = cache_metadata_write(cache, key, text, strlen(text), err);
	return rc ? rc : cache_metadata_write(cache, p->reference, text, strlen(text), err);
}
