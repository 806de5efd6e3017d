/* SPDX-License-Identifier: Apache-2.0 */
#include "store/cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "lib/log.h"
#include "lib/num.h"
#include "lib/path.h"
#include "store/internal.h"

#define EROFS_MAGIC	  0xE0F5E1E2U
#define EROFS_BLOCK	  4096
#define EROFS_BLKSZ_OFF	  0x0C
#define EROFS_BLOCKS_OFF  0x24
#define EROFS_EXTRA_OFF	  0x56
#define EROFS_DEVT_OFF	  0x58
#define EROFS_BLKSZ_BITS  12
#define EXT4_MAGIC_OFF	  0x38
#define EXT4_MAGIC	  0xEF53
#define EXT4_BLOCKS_OFF	  0x04
#define EXT4_BLOCK	  4096
#define OPEN_READ_FLAGS	  (O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
#define CACHE_FILE_MODE	  0644
#define CACHE_FOLDER_MODE 0755
#define NAME_ATTEMPTS	  8

static const char *const dir_name[CACHE_DIRS] = {
	[CACHE_DIR_LAYERS] = "layers",
	[CACHE_DIR_FSMETA] = "fsmeta",
	[CACHE_DIR_VMDK] = "vmdk",
	[CACHE_DIR_FLAT] = "flat",
	[CACHE_DIR_MANIFESTS] = "manifests",
	[CACHE_DIR_TMP] = "tmp",
};

const char *cache_suffix(enum cache_kind kind)
{
	switch (kind) {
	case CACHE_VMDK:
		return ".vmdk";
	case CACHE_FLAT:
		return ".ext4";
	default:
		return ".erofs";
	}
}

int dir_sync(int dirfd, const char *what, struct err *err)
{
	/* File systems without the operation (some FUSE ones) keep names durable in their own way.
	 */
	if (fsync(dirfd) < 0 && errno != EINVAL && errno != EROFS)
		return err_set(err, errno, "write the folder of %s to the disk", what);
	return 0;
}

static int open_folder(int rootfd, const char *name, bool create, int *ret, struct err *err)
{
	if (create && mkdirat(rootfd, name, CACHE_FOLDER_MODE) < 0 && errno != EEXIST)
		return err_set(err, errno, "create the folder '%s' of the image cache", name);
	*ret = openat(rootfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	/* Caches of older releases have no folder for flat images. */
	if (*ret < 0 && !(errno == ENOENT && strcmp(name, dir_name[CACHE_DIR_FLAT]) == 0))
		return err_set(err, errno, "open the folder '%s' of the image cache", name);
	return 0;
}

int cache_open(const char *path, bool create, struct cache **ret, struct err *err)
{
	cleanup_fd int rootfd = -1, slash = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	cleanup_cache struct cache *c = calloc(1, sizeof(*c));
	int rc;

	if (!c)
		return err_set(err, ENOMEM, "open the image cache");
	for (unsigned i = 0; i < CACHE_DIRS; i++)
		c->dir[i] = -1;
	if (create) {
		rc = path_mkdirs_beneath(slash, path, CACHE_FOLDER_MODE, err);
		if (rc < 0)
			return rc;
	}
	rootfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (rootfd < 0)
		return err_set(err, errno, "open the image cache '%s'", path);
	for (unsigned i = 0; i < CACHE_DIRS; i++) {
		rc = open_folder(rootfd, dir_name[i], create, &c->dir[i], err);
		if (rc < 0)
			return rc;
	}
	*ret = take_ptr(&c);
	return 0;
}

void cache_close(struct cache *cache)
{
	if (!cache)
		return;
	for (unsigned i = 0; i < CACHE_DIRS; i++)
		close_fd(&cache->dir[i]);
	free(cache);
}

int cache_tmp_fd(const struct cache *cache)
{
	return cache->dir[CACHE_DIR_TMP];
}

/* --- names */

static const struct {
	const char *name;
	size_t hex;
} algorithms[] = { { "sha256:", 64 }, { "sha384:", 96 }, { "sha512:", 128 } };

int cache_digest_name(const char *digest, char *ret, struct err *err)
{
	for (unsigned i = 0; i < ARRAY_LEN(algorithms); i++) {
		size_t prefix = strlen(algorithms[i].name);
		const char *hex = digest + prefix;

		if (strncmp(digest, algorithms[i].name, prefix) != 0)
			continue;
		if (strlen(hex) != algorithms[i].hex ||
			strspn(hex, "0123456789abcdef") != algorithms[i].hex)
			break;
		(void)snprintf(ret, CACHE_DIGEST_MAX, "%.*s_%s", (int)prefix - 1, digest, hex);
		return 0;
	}
	return err_msg(err, EINVAL, "'%.80s' is not a digest", digest);
}

int cache_artifact_name(enum cache_kind kind, const char *digest, char *ret, struct err *err)
{
	char safe[CACHE_DIGEST_MAX];
	int rc = cache_digest_name(digest, safe, err);

	if (rc < 0)
		return rc;
	(void)snprintf(ret, CACHE_NAME_MAX, "%s%s", safe, cache_suffix(kind));
	return 0;
}

static int tmp_name(const char *digest, const char *suffix, char *ret, struct err *err)
{
	char safe[CACHE_DIGEST_MAX];
	int rc = cache_digest_name(digest, safe, err);

	if (rc < 0)
		return rc;
	(void)snprintf(ret, CACHE_NAME_MAX, "%s%s", safe, suffix);
	return 0;
}

/* --- locks */

int cache_lock_artifact(struct cache *cache, enum cache_kind kind, const char *digest,
	uint64_t timeout_ms, struct lock *ret, struct err *err)
{
	char name[CACHE_NAME_MAX], what[CACHE_NAME_MAX + 32];
	int rc = cache_artifact_name(kind, digest, name, err);

	if (rc < 0)
		return rc;
	(void)snprintf(what, sizeof(what), "%s of '%s' in the cache",
		kind == CACHE_LAYER ? "the layer" : "the image", digest);
	(void)strncat(name, ".lock", sizeof(name) - strlen(name) - 1);
	return lock_take(cache->dir[kind], name, LOCK_EXCLUSIVE, timeout_ms, what, ret, err);
}

int cache_lock_download(struct cache *cache, const char *blob_digest, uint64_t timeout_ms,
	struct lock *ret, struct err *err)
{
	char name[CACHE_NAME_MAX], what[CACHE_NAME_MAX + 32];
	int rc = tmp_name(blob_digest, ".download.lock", name, err);

	if (rc < 0)
		return rc;
	(void)snprintf(what, sizeof(what), "the download of '%s'", blob_digest);
	return lock_take(
		cache->dir[CACHE_DIR_TMP], name, LOCK_EXCLUSIVE, timeout_ms, what, ret, err);
}

/* --- artifacts */

/* Blocks of the image itself and of the devices it spreads over are told apart by the first. */
static int check_erofs(const uint8_t *sb, uint64_t size, struct err *err)
{
	uint64_t blocks = load_le32(sb + EROFS_BLOCKS_OFF);
	uint64_t table = (uint64_t)load_le16(sb + EROFS_DEVT_OFF) * EROFS_SUPER_SIZE +
			 (uint64_t)load_le16(sb + EROFS_EXTRA_OFF) * EROFS_SUPER_SIZE;

	if (load_le32(sb) != EROFS_MAGIC)
		return err_msg(err, EBADMSG, "no EROFS superblock");
	if (sb[EROFS_BLKSZ_OFF] != EROFS_BLKSZ_BITS)
		return err_msg(
			err, EBADMSG, "EROFS with blocks of 2^%u bytes", sb[EROFS_BLKSZ_OFF]);
	if (blocks * EROFS_BLOCK != size || table > size)
		return err_msg(err, EBADMSG, "not of the size that its superblock says");
	return 0;
}

static int check_ext4(const uint8_t *sb, uint64_t size, struct err *err)
{
	if (load_le16(sb + EXT4_MAGIC_OFF) != EXT4_MAGIC)
		return err_msg(err, EBADMSG, "no ext4 superblock");
	if (load_le32(sb + EXT4_BLOCKS_OFF) != size / EXT4_BLOCK)
		return err_msg(err, EBADMSG, "not as long as its superblock says");
	return 0;
}

int cache_check_fd(int fd, enum cache_kind kind, uint64_t *ret_size, struct err *err)
{
	uint8_t sb[EROFS_SUPER_SIZE];
	struct stat st;
	int rc;

	if (fstat(fd, &st) < 0)
		return err_set(err, errno, "stat");
	if (!S_ISREG(st.st_mode) || st.st_size == 0)
		return err_msg(err, EBADMSG, "%s", st.st_size ? "not a file" : "empty");
	if (kind != CACHE_VMDK) {
		if (st.st_size % EROFS_BLOCK != 0)
			return err_msg(err, EBADMSG, "not a whole number of blocks");
		if (pread(fd, sb, sizeof(sb), EROFS_SUPER_OFF) != (ssize_t)sizeof(sb))
			return err_msg(err, EBADMSG, "no superblock");
		rc = (kind == CACHE_FLAT ? check_ext4 : check_erofs)(sb, (uint64_t)st.st_size, err);
		if (rc < 0)
			return rc;
	}
	*ret_size = (uint64_t)st.st_size;
	return 0;
}

/* Return: 0; -ENOENT; -ESTALE when it was deleted while we waited for its lock: look again. */
static int open_marked(int dirfd, const char *name, int *ret, struct err *err)
{
	cleanup_fd int fd = openat(dirfd, name, OPEN_READ_FLAGS);
	struct stat st;
	int rc;

	if (fd < 0)
		return err_set(err, errno, "open '%s' in the image cache", name);
	rc = lock_fd(fd, LOCK_SHARED, LOCK_SHORT_MS, name, err);
	if (rc < 0)
		return rc;
	if (fstat(fd, &st) == 0 && st.st_nlink == 0)
		return err_set(err, ESTALE, "open '%s' in the image cache", name);
	*ret = take_fd(&fd);
	return 0;
}

int cache_artifact_open(struct cache *cache, enum cache_kind kind, const char *digest, int *ret_fd,
	uint64_t *ret_size, struct err *err)
{
	struct err why = ERR_INIT;
	char name[CACHE_NAME_MAX];
	cleanup_fd int fd = -1;
	uint64_t size;
	int rc = cache_artifact_name(kind, digest, name, err);

	if (rc < 0)
		return rc;
	do {
		rc = open_marked(cache->dir[kind], name, &fd, err);
	} while (rc == -ESTALE);
	if (rc < 0)
		return rc;
	if (cache_check_fd(fd, kind, &size, &why) < 0) {
		log_warn("'%s' in the image cache is damaged: %s", name, why.msg);
		return err_msg(
			err, ENOENT, "'%s' in the image cache is damaged: %s", name, why.msg);
	}
	if (ret_size)
		*ret_size = size;
	*ret_fd = take_fd(&fd);
	return 0;
}

int cache_artifact_remove(
	struct cache *cache, enum cache_kind kind, const char *digest, struct err *err)
{
	char name[CACHE_NAME_MAX];
	int rc = cache_artifact_name(kind, digest, name, err);

	if (rc < 0)
		return rc;
	if (unlinkat(cache->dir[kind], name, 0) < 0 && errno != ENOENT)
		return err_set(err, errno, "delete '%s' in the image cache", name);
	return 0;
}

/* --- making files */

static bool no_tmpfile(int error)
{
	return error == EOPNOTSUPP || error == EISDIR || error == ENOENT || error == EINVAL;
}

static void random_name(char *ret, size_t size)
{
	uint64_t r = 0;

	/* A clash is found by O_EXCL, so weak numbers early at boot are good enough. */
	(void)!getrandom(&r, sizeof(r), GRND_NONBLOCK);
	(void)snprintf(ret, size, "make-%d-%016llx", getpid(), (unsigned long long)r);
}

/* The lock on a named file tells cache_collect() that its maker lives. */
static int try_named(struct cache *cache, char *name, size_t size, int *ret)
{
	int tmp = cache->dir[CACHE_DIR_TMP];
	cleanup_fd int fd = -1;
	struct stat st;

	random_name(name, size);
	fd = openat(tmp, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, CACHE_FILE_MODE);
	if (fd < 0)
		return -errno;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0 || fstat(fd, &st) < 0 || st.st_nlink == 0)
		return -EAGAIN; /* collected before it was locked */
	*ret = take_fd(&fd);
	return 0;
}

static int create_named(struct cache *cache, char *name, size_t size, int *ret, struct err *err)
{
	int rc = -EAGAIN;

	for (unsigned i = 0; rc == -EAGAIN && i < NAME_ATTEMPTS; i++)
		rc = try_named(cache, name, size, ret);
	if (rc == 0)
		return 0;
	*name = '\0';
	return err_set(err, rc, "create a file in the image cache");
}

int cache_file_create(
	struct cache *cache, int dirfd, const char *name, struct cache_file *ret, struct err *err)
{
	*ret = (struct cache_file){ .fd = -1, .cache = cache, .dirfd = dirfd };
	(void)snprintf(ret->name, sizeof(ret->name), "%s", name);
	ret->fd = openat(
		cache->dir[CACHE_DIR_TMP], ".", O_TMPFILE | O_RDWR | O_CLOEXEC, CACHE_FILE_MODE);
	if (ret->fd >= 0)
		return 0;
	if (!no_tmpfile(errno))
		return err_set(err, errno, "create a file in the image cache");
	return create_named(cache, ret->tmp, sizeof(ret->tmp), &ret->fd, err);
}

int cache_artifact_create(struct cache *cache, enum cache_kind kind, const char *digest,
	struct cache_file *ret, struct err *err)
{
	char name[CACHE_NAME_MAX];
	int rc = cache_artifact_name(kind, digest, name, err);

	return rc < 0 ? rc : cache_file_create(cache, cache->dir[kind], name, ret, err);
}

int cache_file_rename(
	struct cache_file *file, enum cache_kind kind, const char *digest, struct err *err)
{
	return cache_artifact_name(kind, digest, file->name, err);
}

int cache_tmp_create(struct cache *cache, int *ret_fd, struct err *err)
{
	struct cache_file file;
	int rc = cache_file_create(cache, cache->dir[CACHE_DIR_TMP], "", &file, err);

	if (rc < 0)
		return rc;
	*ret_fd = take_fd(&file.fd);
	cache_file_release(&file);
	return 0;
}

void cache_file_release(struct cache_file *file)
{
	if (file->tmp[0])
		(void)unlinkat(file->cache->dir[CACHE_DIR_TMP], file->tmp, 0);
	file->tmp[0] = '\0';
	close_fd(&file->fd);
}

/* Give a nameless file a name in tmp/, for the rename that can replace what is there. */
static int name_in_tmp(struct cache_file *f, const char *self, struct err *err)
{
	int tmp = f->cache->dir[CACHE_DIR_TMP];

	/* Tells cache_collect() that its maker lives. */
	if (flock(f->fd, LOCK_SH | LOCK_NB) < 0)
		return err_set(err, errno, "lock a new file of the image cache");
	random_name(f->tmp, sizeof(f->tmp));
	if (linkat(AT_FDCWD, self, tmp, f->tmp, AT_SYMLINK_FOLLOW) < 0) {
		f->tmp[0] = '\0';
		return err_set(err, errno, "name '%s' in the image cache", f->name);
	}
	return 0;
}

static int give_name(struct cache_file *f, struct err *err)
{
	char self[64];
	int rc;

	(void)snprintf(self, sizeof(self), "/proc/self/fd/%d", f->fd);
	if (!f->tmp[0]) {
		if (linkat(AT_FDCWD, self, f->dirfd, f->name, AT_SYMLINK_FOLLOW) == 0)
			return 0;
		if (errno != EEXIST)
			return err_set(err, errno, "name '%s' in the image cache", f->name);
		rc = name_in_tmp(f, self, err);
		if (rc < 0)
			return rc;
	}
	if (renameat(f->cache->dir[CACHE_DIR_TMP], f->tmp, f->dirfd, f->name) < 0)
		return err_set(err, errno, "name '%s' in the image cache", f->name);
	f->tmp[0] = '\0';
	return 0;
}

int cache_file_name(struct cache_file *f, struct err *err)
{
	int rc;

	if (fsync(f->fd) < 0)
		return err_set(err, errno, "write '%s' in the image cache to the disk", f->name);
	rc = give_name(f, err);
	return rc < 0 ? rc : dir_sync(f->dirfd, f->name, err);
}

/*
 * The mark is taken on a description of its own before the file has a name, where nobody can hold
 * it: the descriptor that wrote may hold it exclusively, which would be in the way, so it first
 * changes to shared.
 */
static int mark_new(struct cache_file *f, int *ret, struct err *err)
{
	char self[64];
	cleanup_fd int fd = -1;

	(void)snprintf(self, sizeof(self), "/proc/self/fd/%d", f->fd);
	fd = open(self, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || flock(f->fd, LOCK_SH | LOCK_NB) < 0 || flock(fd, LOCK_SH | LOCK_NB) < 0)
		return err_set(err, errno, "mark '%s' in the image cache as in use", f->name);
	*ret = take_fd(&fd);
	return 0;
}

int cache_file_publish(struct cache_file *file, int *ret_fd, struct err *err)
{
	enum cache_kind kind = CACHE_LAYER;
	cleanup_fd int fd = -1;
	uint64_t size;
	int rc;

	while (kind < CACHE_KINDS && file->cache->dir[kind] != file->dirfd)
		kind++;
	rc = cache_check_fd(file->fd, kind, &size, err);
	if (rc < 0)
		return err_wrap(err, "publish '%s' in the image cache", file->name);
	rc = mark_new(file, &fd, err);
	if (rc == 0 && kind == CACHE_LAYER)
		rc = cache_before_layer(file, err);
	rc = rc ? rc : cache_file_name(file, err);
	if (rc < 0)
		return rc;
	if (ret_fd)
		*ret_fd = take_fd(&fd);
	return 0;
}

/* --- downloads */

int cache_part_open(struct cache *cache, const char *blob_digest, int *ret_fd, struct err *err)
{
	char name[CACHE_NAME_MAX];
	int rc = tmp_name(blob_digest, ".part", name, err);

	if (rc < 0)
		return rc;
	*ret_fd = openat(cache->dir[CACHE_DIR_TMP], name,
		O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, CACHE_FILE_MODE);
	if (*ret_fd < 0)
		return err_set(err, errno, "open 'tmp/%s' in the image cache", name);
	return 0;
}

int cache_part_remove(struct cache *cache, const char *blob_digest, struct err *err)
{
	char name[CACHE_NAME_MAX];
	int rc = tmp_name(blob_digest, ".part", name, err);

	if (rc < 0)
		return rc;
	if (unlinkat(cache->dir[CACHE_DIR_TMP], name, 0) < 0 && errno != ENOENT)
		return err_set(err, errno, "delete 'tmp/%s' in the image cache", name);
	return 0;
}
