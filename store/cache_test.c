/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>

#include "lib/num.h"
#include "store/test_util.h"

#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define A     "sha256:" HEX64
#define B     "sha256:ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"

static struct cache *open_cache(const struct scratch *s)
{
	char path[PATH_MAX];
	struct cache *c = NULL;
	struct err err = ERR_INIT;

	(void)snprintf(path, sizeof(path), "%s/x/cache", s->path);
	assert_int_equal(cache_open(path, true, &c, &err), 0);
	return c;
}

/* The smallest thing that is taken for an EROFS image. */
static void write_erofs(int fd)
{
	uint8_t block[4096] = { 0 };

	store_le32(block + 1024, 0xE0F5E1E2U);
	block[1024 + 0x0C] = 12;
	store_le32(block + 1024 + 0x24, 1);
	assert_int_equal(pwrite(fd, block, sizeof(block), 0), sizeof(block));
}

static int try_publish(struct cache *c, enum cache_kind kind, const char *digest, struct err *err)
{
	cleanup_cache_file struct cache_file f = CACHE_FILE_INIT;
	cleanup_lock struct lock lock = LOCK_INIT;
	int fd = -1, rc;

	rc = cache_lock_artifact(c, kind, digest, LOCK_SHORT_MS, &lock, err);
	rc = rc ? rc : cache_artifact_create(c, kind, digest, &f, err);
	if (rc < 0)
		return rc;
	write_erofs(f.fd);
	rc = cache_file_publish(&f, &fd, err);
	return rc < 0 ? rc : fd;
}

static int publish(struct cache *c, enum cache_kind kind, const char *digest)
{
	struct err err = ERR_INIT;
	int fd = try_publish(c, kind, digest, &err);

	assert_true(fd >= 0);
	return fd;
}

static int keep_none(void *ctx, enum cache_kind kind, const char *digest, struct err *err)
{
	return 0;
}

static int keep_named(void *ctx, enum cache_kind kind, const char *digest, struct err *err)
{
	return strcmp(ctx, digest) == 0;
}

static void names_of_digests(void **state)
{
	char name[CACHE_DIGEST_MAX];
	struct err err = ERR_INIT;

	assert_int_equal(cache_digest_name(A, name, &err), 0);
	assert_string_equal(name, "sha256_" HEX64);
	assert_int_equal(cache_digest_name("sha512:" HEX64 HEX64, name, &err), 0);
	assert_int_equal(cache_digest_name("sha256:" HEX64 "0", name, &err), -EINVAL);
	assert_int_equal(cache_digest_name("sha256:../../../../etc/passwd", name, &err), -EINVAL);
	assert_int_equal(cache_digest_name("md5:" HEX64, name, &err), -EINVAL);
	assert_int_equal(cache_digest_name("", name, &err), -EINVAL);
}

static void publishes_and_opens(void **state)
{
	cleanup_cache struct cache *c = open_cache(*state);
	cleanup_fd int fd = -1, again = -1;
	struct err err = ERR_INIT;
	uint64_t size;

	assert_int_equal(cache_artifact_open(c, CACHE_LAYER, A, &fd, NULL, &err), -ENOENT);
	fd = publish(c, CACHE_LAYER, A);
	assert_int_equal(cache_artifact_open(c, CACHE_LAYER, A, &again, &size, &err), 0);
	assert_int_equal(size, 4096);
	assert_int_equal(write(fd, "x", 1), -1); /* published artifacts are read-only */
	/* Made once more, as a forced pull does: the old one stays good for who has it. */
	close_fd(&again);
	again = publish(c, CACHE_LAYER, A);
	assert_int_equal(pread(fd, &size, 1, 0), 1);
}

static void damaged_artifacts_are_not_there(void **state)
{
	cleanup_cache struct cache *c = open_cache(*state);
	cleanup_cache_file struct cache_file f = CACHE_FILE_INIT;
	int layers = c->dir[CACHE_DIR_LAYERS];
	cleanup_fd int other = -1;
	struct err err = ERR_INIT;
	char junk[4096] = { 1 };

	close(publish(c, CACHE_LAYER, A));
	put_file(layers, "sha256_" HEX64 ".erofs", junk, sizeof(junk));
	assert_int_equal(cache_artifact_open(c, CACHE_LAYER, A, &other, NULL, &err), -ENOENT);
	put_file(layers, "sha256_" HEX64 ".erofs", "", 0);
	assert_int_equal(cache_artifact_open(c, CACHE_LAYER, A, &other, NULL, &err), -ENOENT);
	assert_int_equal(cache_artifact_create(c, CACHE_LAYER, B, &f, &err), 0);
	assert_int_equal(pwrite(f.fd, junk, sizeof(junk), 0), sizeof(junk));
	assert_int_equal(cache_file_publish(&f, &other, &err), -EBADMSG);
	assert_int_equal(cache_artifact_open(c, CACHE_LAYER, B, &other, NULL, &err), -ENOENT);
}

static void metadata_is_replaced_whole(void **state)
{
	cleanup_cache struct cache *c = open_cache(*state);
	cleanup_buf struct buf b = { 0 };
	struct err err = ERR_INIT;

	assert_int_equal(cache_metadata_read(c, "r", &b, &err), -ENOENT);
	assert_int_equal(cache_metadata_write(c, "r", "first", 5, &err), 0);
	assert_int_equal(cache_metadata_write(c, "r", "second", 6, &err), 0);
	assert_int_equal(cache_metadata_read(c, "r", &b, &err), 0);
	assert_int_equal(b.len, 6);
	assert_memory_equal(buf_head(&b), "second", 6);
	assert_int_equal(cache_metadata_remove(c, "r", &err), 0);
	assert_int_equal(cache_metadata_remove(c, "r", &err), 0);
}

static void locks_name_their_holder(void **state)
{
	cleanup_cache struct cache *c = open_cache(*state);
	cleanup_lock struct lock a = LOCK_INIT, b = LOCK_INIT;
	struct err err = ERR_INIT;
	char pid[32];

	assert_int_equal(cache_lock_reference(c, "r", 0, &a, &err), 0);
	assert_int_equal(cache_lock_reference(c, "r", 0, &b, &err), -EBUSY);
	(void)snprintf(pid, sizeof(pid), "(pid %d)", getpid());
	assert_non_null(strstr(err.msg, pid));
	lock_release(&a);
	assert_int_equal(cache_lock_reference(c, "r", 0, &b, &err), 0);
}

/* A lock file that is deleted while somebody waits for it protects nothing: take the new one. */
static void locks_survive_deletion_of_their_files(void **state)
{
	struct scratch *s = *state;
	cleanup_lock struct lock a = LOCK_INIT;
	struct err err = ERR_INIT;
	int ready[2], pid, status;

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	assert_int_equal(lock_take(s->fd, "l", LOCK_EXCLUSIVE, 0, "l", &a, &err), 0);
	pid = fork();
	if (pid == 0) {
		struct lock mine = LOCK_INIT;
		struct stat here, there;

		lock_release(&a); /* the parent's description lives on there */
		(void)!write(ready[1], "x", 1);
		if (lock_take(s->fd, "l", LOCK_EXCLUSIVE, 60000, "l", &mine, NULL) < 0)
			_exit(1);
		if (fstat(mine.fd, &here) < 0 || fstatat(s->fd, "l", &there, 0) < 0)
			_exit(2);
		_exit(here.st_ino == there.st_ino ? 0 : 3);
	}
	read_byte(ready[0]);
	lock_remove(s->fd, "l", &a);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	close(ready[0]);
	close(ready[1]);
}

static void collects_what_nobody_wants_or_uses(void **state)
{
	cleanup_cache struct cache *c = open_cache(*state);
	struct cache_collected done;
	struct err err = ERR_INIT;
	cleanup_fd int used = publish(c, CACHE_LAYER, A), other = publish(c, CACHE_LAYER, B);

	close_fd(&other);
	assert_int_equal(cache_collect(c, keep_none, NULL, false, &done, &err), 0);
	assert_int_equal(done.artifacts[CACHE_LAYER], 1);
	assert_int_equal(done.busy, 1);
	assert_true(done.bytes >= 4096);
	assert_int_equal(cache_artifact_open(c, CACHE_LAYER, B, &other, NULL, &err), -ENOENT);
	assert_int_equal(cache_artifact_open(c, CACHE_LAYER, A, &other, NULL, &err), 0);
	close_fd(&other);
	close_fd(&used);
	assert_int_equal(cache_collect(c, keep_named, (void *)A, false, &done, &err), 0);
	assert_int_equal(done.artifacts[CACHE_LAYER], 0);
	assert_int_equal(cache_collect(c, keep_none, NULL, false, &done, &err), 0);
	assert_int_equal(done.artifacts[CACHE_LAYER], 1);
	assert_false(exists(c->dir[CACHE_DIR_LAYERS], "sha256_" HEX64 ".erofs.lock"));
}

static void collects_metadata_of_what_is_gone(void **state)
{
	cleanup_cache struct cache *c = open_cache(*state);
	static const char of_a[] = "{\"manifest_digest\":\"" A "\"}";
	struct cache_collected done;
	cleanup_buf struct buf b = { 0 };
	struct err err = ERR_INIT;

	assert_int_equal(cache_metadata_write(c, "a", of_a, strlen(of_a), &err), 0);
	assert_int_equal(cache_metadata_write(c, "junk", "{", 1, &err), 0);
	assert_int_equal(cache_collect(c, keep_named, (void *)A, false, &done, &err), 0);
	assert_int_equal(done.metadata, 1);
	assert_int_equal(cache_metadata_read(c, "a", &b, &err), 0);
	assert_int_equal(cache_metadata_read(c, "junk", &b, &err), -ENOENT);
	assert_int_equal(cache_collect(c, keep_named, (void *)B, false, &done, &err), 0);
	assert_int_equal(done.metadata, 1);
}

/* What a killed process left goes, what a living one is making stays. */
static void collects_strays(void **state)
{
	cleanup_cache struct cache *c = open_cache(*state);
	int tmp = cache_tmp_fd(c), fd;
	cleanup_lock struct lock download = LOCK_INIT;
	struct cache_collected done;
	struct err err = ERR_INIT;

	put_file(tmp, "make-1-0", "x", 1);
	put_file(tmp, "make-1-1", "x", 1);
	fd = openat(tmp, "make-1-1", O_RDWR | O_CLOEXEC);
	assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
	put_file(tmp, "sha256_" HEX64 ".erofs.part", "x", 1);
	put_file(tmp, A ".spool", "x", 1);
	put_file(tmp, "unknown", "x", 1);
	assert_int_equal(cache_lock_download(c, B, 0, &download, &err), 0);
	close(fd);
	fd = openat(tmp, "make-1-1", O_RDWR | O_CLOEXEC);
	assert_int_equal(flock(fd, LOCK_SH | LOCK_NB), 0);
	assert_int_equal(cache_collect(c, keep_none, NULL, true, &done, &err), 0);
	assert_false(exists(tmp, "make-1-0"));
	assert_true(exists(tmp, "make-1-1"));
	assert_false(exists(tmp, "sha256_" HEX64 ".erofs.part"));
	assert_false(exists(tmp, A ".spool"));
	assert_true(exists(tmp, "unknown"));
	assert_int_equal(done.stray, 3);
	close(fd);
}

static void keeps_downloads_that_can_go_on(void **state)
{
	cleanup_cache struct cache *c = open_cache(*state);
	cleanup_lock struct lock lock = LOCK_INIT;
	struct cache_collected done;
	struct err err = ERR_INIT;
	cleanup_fd int fd = -1;

	assert_int_equal(cache_lock_download(c, A, 0, &lock, &err), 0);
	assert_int_equal(cache_part_open(c, A, &fd, &err), 0);
	assert_int_equal(cache_collect(c, keep_none, NULL, true, &done, &err), 0);
	assert_true(exists(cache_tmp_fd(c), "sha256_" HEX64 ".part"));
	lock_release(&lock);
	assert_int_equal(cache_collect(c, keep_none, NULL, false, &done, &err), 0);
	assert_true(exists(cache_tmp_fd(c), "sha256_" HEX64 ".part"));
	assert_int_equal(cache_collect(c, keep_none, NULL, true, &done, &err), 0);
	assert_false(exists(cache_tmp_fd(c), "sha256_" HEX64 ".part"));
	assert_false(exists(cache_tmp_fd(c), "sha256_" HEX64 ".download.lock"));
}

static void a_used_image_is_busy(void **state)
{
	cleanup_cache struct cache *c = open_cache(*state);
	char holder[64];
	int fd = publish(c, CACHE_FSMETA, A);

	assert_true(cache_image_busy(c, A, holder, sizeof(holder)));
	assert_non_null(strstr(holder, "pid"));
	close(fd);
	assert_false(cache_image_busy(c, A, holder, sizeof(holder)));
}

static void merged_images_of_a_replaced_layer_go(void **state)
{
	static const char of_a[] = "{\"manifest_digest\":\"" A "\",\"layers\":[{\"diff_id\":\"" B
				   "\"},{\"diff_id\":\"" A "\"}]}";
	static const char of_b[] =
		"{\"manifest_digest\":\"" B "\",\"layers\":[{\"diff_id\":\"" B "\"}]}";
	cleanup_cache struct cache *c = open_cache(*state);
	cleanup_fd int fd = -1;

	assert_int_equal(cache_metadata_write(c, "a", of_a, strlen(of_a), NULL), 0);
	assert_int_equal(cache_metadata_write(c, "b", of_b, strlen(of_b), NULL), 0);
	close(publish(c, CACHE_FSMETA, A));
	close(publish(c, CACHE_FSMETA, B));
	put_file(c->dir[CACHE_DIR_VMDK], "sha256_" HEX64 ".vmdk", "x", 1);
	close(publish(c, CACHE_LAYER, A));
	assert_true(exists(c->dir[CACHE_DIR_FSMETA], "sha256_" HEX64 ".erofs"));
	close(publish(c, CACHE_LAYER, A)); /* has no UUID that would say it is the same */
	assert_false(exists(c->dir[CACHE_DIR_FSMETA], "sha256_" HEX64 ".erofs"));
	assert_false(exists(c->dir[CACHE_DIR_VMDK], "sha256_" HEX64 ".vmdk"));
	assert_int_equal(cache_artifact_open(c, CACHE_FSMETA, B, &fd, NULL, NULL), 0);
}

/* Processes that publish and are killed, beside one that collects: never a damaged artifact. */
static void survives_kills_beside_collection(void **state)
{
	cleanup_cache struct cache *c = open_cache(*state);
	struct cache_collected done;
	struct err err = ERR_INIT;
	int ready[2], status;

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	for (unsigned round = 0; round < 20; round++) {
		cleanup_fd int fd = -1;
		int pid = fork(), rc;

		if (pid == 0) {
			(void)!write(ready[1], "x", 1);
			for (int made = 0; made >= 0;) {
				made = try_publish(c, CACHE_LAYER, A, NULL);
				close(made);
			}
			_exit(1); /* seen below: it must live until it is killed */
		}
		read_byte(ready[0]);
		for (unsigned i = 0; i < round; i++)
			assert_int_equal(cache_collect(c, keep_none, NULL, true, &done, &err), 0);
		assert_int_equal(kill(pid, SIGKILL), 0);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));
		rc = cache_artifact_open(c, CACHE_LAYER, A, &fd, NULL, &err);
		assert_true(rc == 0 || (rc == -ENOENT && !strstr(err.msg, "damaged")));
	}
	assert_int_equal(cache_collect(c, keep_none, NULL, true, &done, &err), 0);
	assert_int_equal(done.busy, 0);
	/* Second time: what a collection cannot take because of another's lock. None is left. */
	assert_int_equal(cache_collect(c, keep_none, NULL, true, &done, &err), 0);
	assert_int_equal(done.stray, 0);
	close(ready[0]);
	close(ready[1]);
}

/* The disk is full (here: the file size limit is reached): nothing appears, nothing is left. */
static void full_disk_leaves_nothing(void **state)
{
	cleanup_cache struct cache *c = open_cache(*state);
	struct err err = ERR_INIT;
	struct rlimit old, low;
	cleanup_buf struct buf b = { 0 };
	int rc;

	assert_int_equal(cache_metadata_write(c, "r", "old", 3, &err), 0);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	low = old;
	low.rlim_cur = 4;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
	rc = cache_metadata_write(c, "r", "newer than old", 14, &err);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(rc, -EFBIG);
	assert_int_equal(cache_metadata_read(c, "r", &b, &err), 0);
	assert_int_equal(b.len, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_of_digests),
		scratch_test(publishes_and_opens),
		scratch_test(damaged_artifacts_are_not_there),
		scratch_test(metadata_is_replaced_whole),
		scratch_test(locks_name_their_holder),
		scratch_test(locks_survive_deletion_of_their_files),
		scratch_test(collects_what_nobody_wants_or_uses),
		scratch_test(collects_metadata_of_what_is_gone),
		scratch_test(collects_strays),
		scratch_test(keeps_downloads_that_can_go_on),
		scratch_test(a_used_image_is_busy),
		scratch_test(merged_images_of_a_replaced_layer_go),
		scratch_test(survives_kills_beside_collection),
		scratch_test(full_disk_leaves_nothing),
	};

	return cmocka_run_group_tests_name("store_cache", tests, NULL, NULL);
}
