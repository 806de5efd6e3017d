/* SPDX-License-Identifier: Apache-2.0 */
/* What the cache knows of references, and images as a whole. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "lib/buf.h"
#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/num.h"
#include "lib/sha256.h"
#include "store/internal.h"

/* A check for users must not fail because another such check runs at the same moment. */
#define BUSY_MS 200

static void reference_name(
	const char *canonical, const char *suffix, char ret[static CACHE_NAME_MAX])
{
	char digest[SHA256_TEXT_MAX];

	sha256_text(canonical, strlen(canonical), digest);
	(void)snprintf(ret, CACHE_NAME_MAX, "%s%s", digest, suffix);
}

int cache_lock_reference(struct cache *cache, const char *canonical, uint64_t timeout_ms,
	struct lock *ret, struct err *err)
{
	char name[CACHE_NAME_MAX], what[ERR_MSG_MAX / 2];

	reference_name(canonical, ".lock", name);
	(void)snprintf(what, sizeof(what), "image '%s'", canonical);
	return lock_take(
		cache->dir[CACHE_DIR_MANIFESTS], name, LOCK_EXCLUSIVE, timeout_ms, what, ret, err);
}

void cache_manifest_key(const char *digest, char ret[static CACHE_MANIFEST_KEY_MAX])
{
	(void)snprintf(ret, CACHE_MANIFEST_KEY_MAX, "@%s", digest);
}

/* --- metadata */

int cache_metadata_write(
	struct cache *cache, const char *canonical, const void *json, size_t len, struct err *err)
{
	cleanup_cache_file struct cache_file f = CACHE_FILE_INIT;
	char name[CACHE_NAME_MAX];
	int rc;

	if (len > CACHE_METADATA_MAX)
		return err_msg(err, EFBIG, "the metadata of '%s' has %zu bytes", canonical, len);
	reference_name(canonical, ".json", name);
	rc = cache_file_create(cache, cache->dir[CACHE_DIR_MANIFESTS], name, &f, err);
	if (rc < 0)
		return rc;
	rc = io_write(f.fd, json, len);
	if (rc < 0)
		return err_set(err, rc, "write the metadata of '%s'", canonical);
	return cache_file_name(&f, err);
}

int cache_metadata_read(
	struct cache *cache, const char *canonical, struct buf *ret, struct err *err)
{
	char name[CACHE_NAME_MAX];
	cleanup_fd int fd = -1;
	int rc;

	reference_name(canonical, ".json", name);
	fd = openat(cache->dir[CACHE_DIR_MANIFESTS], name,
		O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return err_set(err, errno, "open the metadata of '%s'", canonical);
	rc = io_read_to_end(fd, CACHE_METADATA_MAX, ret);
	if (rc == -EFBIG)
		return err_msg(err, EFBIG, "the metadata of '%s' has more than %zu bytes",
			canonical, (size_t)CACHE_METADATA_MAX);
	return rc < 0 ? err_set(err, rc, "read the metadata of '%s'", canonical) : 0;
}

int cache_metadata_remove(struct cache *cache, const char *canonical, struct err *err)
{
	char name[CACHE_NAME_MAX];

	reference_name(canonical, ".json", name);
	if (unlinkat(cache->dir[CACHE_DIR_MANIFESTS], name, 0) < 0 && errno != ENOENT)
		return err_set(err, errno, "delete the metadata of '%s'", canonical);
	return 0;
}

/* --- images */

bool cache_image_busy(
	struct cache *cache, const char *manifest_digest, char *ret_holder, size_t size)
{
	char name[CACHE_NAME_MAX];
	cleanup_fd int fd = -1;

	if (cache_artifact_name(CACHE_FSMETA, manifest_digest, name, NULL) < 0)
		return false;
	fd = openat(cache->dir[CACHE_FSMETA], name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0 || lock_fd(fd, LOCK_EXCLUSIVE, BUSY_MS, name, NULL) != -EBUSY)
		return false;
	if (ret_holder)
		lock_holder(fd, ret_holder, size);
	return true;
}

json_t *cache_metadata_parse(struct cache *cache, const char *name, const char **ret_digest)
{
	cleanup_fd int fd = openat(cache->dir[CACHE_DIR_MANIFESTS], name,
		O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	cleanup_buf struct buf b = { 0 };
	cleanup_json json_t *doc = NULL;
	char safe[CACHE_DIGEST_MAX];

	if (fd < 0 || io_read_to_end(fd, CACHE_METADATA_MAX, &b) < 0)
		return NULL;
	doc = json_loadb((const char *)buf_head(&b), b.len, 0, NULL);
	*ret_digest = json_string_value(json_object_get(doc, "manifest_digest"));
	if (!*ret_digest || cache_digest_name(*ret_digest, safe, NULL) < 0)
		return NULL;
	return take_ptr(&doc);
}
