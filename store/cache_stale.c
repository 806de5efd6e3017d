/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Merged images of a layer's file that is being replaced by another one. Ours are tied to their
 * layers (image/tie.h) and only cost the time to make them again. Those of upstream are not, and
 * upstream would go on to use them: it would see wrong data. So they go first.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "lib/io.h"
#include "store/internal.h"

/* A superblock with a UUID vouches for the whole file: it is a digest of where everything lies. */
static bool same_file(int a, int b)
{
	static const uint8_t none[EROFS_UUID_SIZE];
	uint8_t sb[2][EROFS_SUPER_SIZE];

	return io_pread(a, sb[0], EROFS_SUPER_SIZE, EROFS_SUPER_OFF) == EROFS_SUPER_SIZE &&
	       io_pread(b, sb[1], EROFS_SUPER_SIZE, EROFS_SUPER_OFF) == EROFS_SUPER_SIZE &&
	       memcmp(sb[0], sb[1], EROFS_SUPER_SIZE) == 0 &&
	       memcmp(sb[0] + EROFS_UUID_OFF, none, sizeof(none)) != 0;
}

static bool names_layer(const json_t *doc, const char *layer_name)
{
	char name[CACHE_NAME_MAX];
	size_t i;
	json_t *layer;

	json_array_foreach(json_object_get(doc, "layers"), i, layer)
	{
		const char *diff_id = json_string_value(json_object_get(layer, "diff_id"));

		if (diff_id && cache_artifact_name(CACHE_LAYER, diff_id, name, NULL) == 0 &&
			strcmp(name, layer_name) == 0)
			return true;
	}
	return false;
}

/* What cannot be understood is nobody's image. */
static int forget_image(
	struct cache *cache, const char *metadata, const char *layer_name, struct err *err)
{
	const char *digest;
	cleanup_json json_t *doc = cache_metadata_parse(cache, metadata, &digest);
	int rc;

	if (!doc || !names_layer(doc, layer_name))
		return 0;
	rc = cache_artifact_remove(cache, CACHE_VMDK, digest, err);
	return rc ? rc : cache_artifact_remove(cache, CACHE_FSMETA, digest, err);
}

static int forget_images(struct cache *cache, const char *layer_name, struct err *err)
{
	cleanup_fd int fd =
		openat(cache->dir[CACHE_DIR_MANIFESTS], ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_dir DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	int rc = 0;

	if (!d)
		return err_set(err, errno, "open a folder of the image cache");
	(void)take_fd(&fd);
	while (rc == 0 && (e = readdir(d))) {
		const char *dot = strrchr(e->d_name, '.');

		if (dot && strcmp(dot, ".json") == 0)
			rc = forget_image(cache, e->d_name, layer_name, err);
	}
	return rc;
}

int cache_before_layer(struct cache_file *file, struct err *err)
{
	cleanup_fd int old =
		openat(file->dirfd, file->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	return old < 0 || same_file(old, file->fd) ? 0
						   : forget_images(file->cache, file->name, err);
}
