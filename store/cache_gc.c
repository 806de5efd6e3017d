/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Garbage collection of the cache. It asks nobody to stop: every file is deleted under the lock
 * that its makers and users hold while they need it, and left alone if that lock is taken.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "lib/num.h"
#include "store/internal.h"

/* What nobody here knows and nobody touched for so long was left by somebody who is gone. */
#define FOREIGN_AGE_S (24 * 3600)

struct collector {
	struct cache *cache;
	cache_keep_fn *keep;
	void *ctx;
	bool parts;
	struct cache_collected *done;
};

static bool has_suffix(const char *name, const char *suffix)
{
	size_t n = strlen(name), s = strlen(suffix);

	return n > s && strcmp(name + n - s, suffix) == 0;
}

/* "sha256_<hex>SUFFIX" to "sha256:<hex>"; false for names that are not of that form. */
static bool digest_of(const char *name, const char *suffix, char *ret)
{
	char safe[CACHE_DIGEST_MAX], *sep;
	size_t len = strlen(name) - strlen(suffix);

	if (!has_suffix(name, suffix) || len >= CACHE_DIGEST_MAX)
		return false;
	memcpy(ret, name, len);
	ret[len] = '\0';
	sep = strchr(ret, '_');
	if (sep)
		*sep = ':';
	return cache_digest_name(ret, safe, NULL) == 0;
}

/* Return: 0 and *ret; -EBUSY without a message: somebody has it. */
static int try_lock(int dirfd, const char *name, struct lock *ret)
{
	return lock_take(dirfd, name, LOCK_EXCLUSIVE, 0, name, ret, NULL);
}

/* Delete @name, of which the caller has the lock. */
static int drop(struct collector *c, int dirfd, const char *name, unsigned *count, struct err *err)
{
	struct stat st;
	int rc;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : err_set(err, errno, "stat '%s'", name);
	rc = tree_remove(dirfd, name, err);
	if (rc < 0)
		return rc;
	c->done->bytes += (uint64_t)st.st_blocks * 512;
	(*count)++;
	return 0;
}

/* --- artifacts */

static int drop_artifact(struct collector *c, enum cache_kind kind, const char *name,
	const char *digest, struct err *err)
{
	int dirfd = c->cache->dir[kind], rc;
	cleanup_fd int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	if (fd < 0)
		return errno == ENOENT ? 0 : err_set(err, errno, "open '%s'", name);
	if (lock_fd(fd, LOCK_EXCLUSIVE, 0, name, NULL) < 0) {
		c->done->busy++;
		return 0;
	}
	/* Whoever used it until just now may have made it wanted. */
	rc = c->keep(c->ctx, kind, digest, err);
	if (rc != 0)
		return rc < 0 ? rc : 0;
	return drop(c, dirfd, name, &c->done->artifacts[kind], err);
}

static int collect_artifact(
	struct collector *c, enum cache_kind kind, const char *name, struct err *err)
{
	char digest[CACHE_DIGEST_MAX], lock_name[NAME_MAX + 32];
	cleanup_lock struct lock lock = LOCK_INIT;
	int dirfd = c->cache->dir[kind], rc;

	if (!digest_of(name, cache_suffix(kind), digest))
		return 0;
	rc = c->keep(c->ctx, kind, digest, err);
	if (rc != 0)
		return rc < 0 ? rc : 0;
	(void)snprintf(lock_name, sizeof(lock_name), "%s.lock", name);
	if (try_lock(dirfd, lock_name, &lock) < 0) {
		c->done->busy++;
		return 0;
	}
	rc = drop_artifact(c, kind, name, digest, err);
	if (rc == 0)
		lock_remove(dirfd, lock_name, &lock);
	return rc;
}

/* Lock files without what they protect; but for names of locks, nothing is looked at twice. */
static void collect_lock(int dirfd, const char *name, const char *lock_suffix, const char *of)
{
	char of_name[NAME_MAX + 32];
	cleanup_lock struct lock lock = LOCK_INIT;
	struct stat st;

	(void)snprintf(of_name, sizeof(of_name), "%.*s%s",
		(int)(strlen(name) - strlen(lock_suffix)), name, of);
	if (fstatat(dirfd, of_name, &st, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT &&
		try_lock(dirfd, name, &lock) == 0)
		lock_remove(dirfd, name, &lock);
}

/* Compressed layers that upstream keeps when a pull failed. */
static int collect_blob(struct collector *c, const char *name, struct err *err)
{
	char digest[CACHE_DIGEST_MAX];
	cleanup_lock struct lock lock = LOCK_INIT;

	if (!c->parts || !digest_of(name, ".tar.gz", digest) ||
		cache_lock_download(c->cache, digest, 0, &lock, NULL) < 0)
		return 0;
	return drop(c, c->cache->dir[CACHE_DIR_LAYERS], name, &c->done->stray, err);
}

/* --- metadata */

/* Who had it marked until just now may have made it wanted, so the last look is behind that. */
static int digest_wanted(struct collector *c, const char *digest, struct err *err)
{
	int rc = c->keep(c->ctx, CACHE_FSMETA, digest, err);

	if (rc == 0 && cache_image_busy(c->cache, digest, NULL, 0)) {
		c->done->busy++;
		rc = 1;
	}
	return rc ? rc : c->keep(c->ctx, CACHE_FSMETA, digest, err);
}

/* Return: 1 wanted, 0 not (also when it cannot be understood), -errno */
static int metadata_wanted(struct collector *c, const char *name, struct err *err)
{
	const char *digest;
	cleanup_json json_t *doc = cache_metadata_parse(c->cache, name, &digest);

	return doc ? digest_wanted(c, digest, err) : 0;
}

static int collect_metadata(struct collector *c, const char *name, struct err *err)
{
	char lock_name[NAME_MAX + 32];
	cleanup_lock struct lock lock = LOCK_INIT;
	int dirfd = c->cache->dir[CACHE_DIR_MANIFESTS], rc;

	rc = metadata_wanted(c, name, err);
	if (rc != 0)
		return rc < 0 ? rc : 0;
	(void)snprintf(lock_name, sizeof(lock_name), "%.*s.lock",
		(int)(strlen(name) - strlen(".json")), name);
	if (try_lock(dirfd, lock_name, &lock) < 0) {
		c->done->busy++;
		return 0;
	}
	rc = metadata_wanted(c, name, err);
	if (rc == 0)
		rc = drop(c, dirfd, name, &c->done->metadata, err);
	if (rc == 0)
		lock_remove(dirfd, lock_name, &lock);
	return rc < 0 ? rc : 0;
}

/* --- tmp/ */

static int collect_made(struct collector *c, const char *name, struct err *err)
{
	int dirfd = c->cache->dir[CACHE_DIR_TMP];
	cleanup_fd int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	if (fd < 0 || lock_fd(fd, LOCK_EXCLUSIVE, 0, name, NULL) < 0)
		return 0; /* its maker lives */
	return drop(c, dirfd, name, &c->done->stray, err);
}

static int collect_part(struct collector *c, const char *name, const char *digest, struct err *err)
{
	char lock_name[CACHE_NAME_MAX], safe[CACHE_DIGEST_MAX];
	cleanup_lock struct lock lock = LOCK_INIT;
	int dirfd = c->cache->dir[CACHE_DIR_TMP], rc;

	if (!c->parts)
		return 0;
	(void)cache_digest_name(digest, safe, NULL);
	(void)snprintf(lock_name, sizeof(lock_name), "%s.download.lock", safe);
	if (try_lock(dirfd, lock_name, &lock) < 0) {
		c->done->busy++;
		return 0;
	}
	rc = drop(c, dirfd, name, &c->done->stray, err);
	if (rc == 0)
		lock_remove(dirfd, lock_name, &lock);
	return rc;
}

/* What upstream leaves is protected by the lock of the artifact it was to become. */
static const struct {
	const char *suffix;
	enum cache_kind kind;
} upstream_work[] = {
	{ ".erofs.part", CACHE_LAYER },
	{ ".spool", CACHE_LAYER },
	{ ".work", CACHE_FSMETA },
};

static int collect_work(struct collector *c, const char *name, enum cache_kind kind,
	const char *digest, struct err *err)
{
	cleanup_lock struct lock lock = LOCK_INIT;

	if (cache_lock_artifact(c->cache, kind, digest, 0, &lock, NULL) < 0)
		return 0;
	return drop(c, c->cache->dir[CACHE_DIR_TMP], name, &c->done->stray, err);
}

static int collect_foreign(struct collector *c, const char *name, struct err *err)
{
	int dirfd = c->cache->dir[CACHE_DIR_TMP];
	struct stat st;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		st.st_mtime + FOREIGN_AGE_S > time(NULL))
		return 0;
	return drop(c, dirfd, name, &c->done->stray, err);
}

static int collect_tmp(struct collector *c, const char *name, struct err *err)
{
	char digest[CACHE_DIGEST_MAX];

	if (strncmp(name, "make-", 5) == 0)
		return collect_made(c, name, err);
	for (unsigned i = 0; i < ARRAY_LEN(upstream_work); i++) {
		/* Older releases have the digest with its colon in these names. */
		if (digest_of(name, upstream_work[i].suffix, digest))
			return collect_work(c, name, upstream_work[i].kind, digest, err);
	}
	if (digest_of(name, ".part", digest))
		return collect_part(c, name, digest, err);
	if (digest_of(name, ".download.lock", digest)) {
		collect_lock(c->cache->dir[CACHE_DIR_TMP], name, ".download.lock", ".part");
		return 0;
	}
	return collect_foreign(c, name, err);
}

/* --- folders */

static int collect_entry(struct collector *c, enum cache_dir dir, const char *name, struct err *err)
{
	int dirfd = c->cache->dir[dir];

	if (dir == CACHE_DIR_TMP)
		return collect_tmp(c, name, err);
	if (has_suffix(name, ".lock")) {
		collect_lock(dirfd, name, ".lock", dir == CACHE_DIR_MANIFESTS ? ".json" : "");
		return 0;
	}
	if (dir == CACHE_DIR_MANIFESTS)
		return has_suffix(name, ".json") ? collect_metadata(c, name, err) : 0;
	if (has_suffix(name, ".tar.gz"))
		return collect_blob(c, name, err);
	return collect_artifact(c, (enum cache_kind)dir, name, err);
}

static int collect_dir(struct collector *c, enum cache_dir dir, struct err *err)
{
	cleanup_fd int fd = openat(c->cache->dir[dir], ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_dir DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!d)
		return err_set(err, errno, "open a folder of the image cache");
	(void)take_fd(&fd);
	while ((errno = 0, e = readdir(d))) {
		int rc = e->d_name[0] == '.' ? 0 : collect_entry(c, dir, e->d_name, err);

		if (rc < 0)
			return rc;
	}
	return errno ? err_set(err, errno, "read a folder of the image cache") : 0;
}

int cache_collect(struct cache *cache, cache_keep_fn *keep, void *ctx, bool parts,
	struct cache_collected *ret, struct err *err)
{
	/* Metadata first: what is left of a collection that is killed must not name what is gone.
	 */
	static const enum cache_dir order[] = { CACHE_DIR_MANIFESTS, CACHE_DIR_VMDK, CACHE_DIR_FLAT,
		CACHE_DIR_FSMETA, CACHE_DIR_LAYERS, CACHE_DIR_TMP };
	struct cache_collected done = { 0 };
	struct collector c = { cache, keep, ctx, parts, &done };

	for (unsigned i = 0; i < ARRAY_LEN(order); i++) {
		int rc = collect_dir(&c, order[i], err);

		if (rc < 0)
			return err_wrap(err, "clean the image cache");
	}
	*ret = done;
	return 0;
}

int cache_collect_tmp(struct cache *cache, struct cache_collected *ret, struct err *err)
{
	struct cache_collected done = { 0 };
	struct collector c = { .cache = cache, .parts = true, .done = &done };
	int rc = collect_dir(&c, CACHE_DIR_TMP, err);

	if (rc < 0)
		return err_wrap(err, "clean the image cache");
	*ret = done;
	return 0;
}

int cache_discard(struct cache *cache, enum cache_kind kind, const char *digest,
	cache_keep_fn *keep, void *ctx, struct cache_collected *done, struct err *err)
{
	struct collector c = { cache, keep, ctx, false, done };
	char name[CACHE_NAME_MAX];
	int rc = cache_artifact_name(kind, digest, name, err);

	return rc ? rc : collect_artifact(&c, kind, name, err);
}
