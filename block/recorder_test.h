/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stands between block/ and the kernel for one file: calls a hook before each change or sync of it,
 * keeps what has changed since the last sync, so that a test can make of it what a host leaves
 * behind that crashes, and fails writes as a full host does. The program's own pwritev() and the
 * like come before those of the C library.
 */
#ifndef BLOCK_RECORDER_TEST_H
#define BLOCK_RECORDER_TEST_H

#include "block/rig_test.h"

#include <linux/falloc.h>
#include <sys/syscall.h>

struct change {
	uint64_t off, len;
	uint8_t *data; /* NULL: zeroes */
};

/* struct recorder - @ino: of the file; @full: writes behind the first sector fail */
static struct recorder {
	bool on, full;
	ino_t ino;
	uint8_t *stable;
	size_t stable_len;
	struct change *change;
	size_t n, cap;
	void (*before)(void *ctx);
	void *ctx;
} recorder;

static bool recorder_sees(int fd)
{
	struct stat st;

	return recorder.on && fstat(fd, &st) == 0 && st.st_ino == recorder.ino;
}

/* Everything so far is stable. */
static void recorder_sync(int fd)
{
	struct stat st;

	for (size_t i = 0; i < recorder.n; i++)
		free(recorder.change[i].data);
	recorder.n = 0;
	assert_int_equal(fstat(fd, &st), 0);
	recorder.stable = realloc(recorder.stable, st.st_size + 1);
	recorder.stable_len = st.st_size;
	assert_int_equal(pread(fd, recorder.stable, st.st_size, 0), st.st_size);
}

static uint8_t *recorder_add(uint64_t off, uint64_t len, bool zeroes)
{
	struct change c = { off, len, zeroes ? NULL : malloc(len) };

	recorder.before(recorder.ctx);
	if (recorder.n == recorder.cap) {
		recorder.cap = recorder.cap ? recorder.cap * 2 : 64;
		recorder.change = realloc(recorder.change, recorder.cap * sizeof(c));
		assert_non_null(recorder.change);
	}
	recorder.change[recorder.n++] = c;
	return c.data;
}

static void recorder_start(int fd, void (*before)(void *ctx), void *ctx)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	recorder_sync(fd);
	recorder.ino = st.st_ino;
	recorder.before = before;
	recorder.ctx = ctx;
	recorder.on = true;
}

static void recorder_stop(void)
{
	for (size_t i = 0; i < recorder.n; i++)
		free(recorder.change[i].data);
	free(recorder.change);
	free(recorder.stable);
	recorder = (struct recorder){ 0 };
}

/* A file after a crash: of what was not synced, each sector is there or not. The caller frees it.
 */
static uint8_t *recorder_crash(uint64_t *seed, size_t *ret_len)
{
	size_t len = recorder.stable_len;
	uint8_t *file;

	for (size_t i = 0; i < recorder.n; i++)
		len = MAX_OF(len, recorder.change[i].off + recorder.change[i].len);
	file = calloc(1, len + 1);
	assert_non_null(file);
	memcpy(file, recorder.stable, recorder.stable_len);
	for (size_t i = 0; i < recorder.n; i++) {
		const struct change *c = &recorder.change[i];

		for (uint64_t at = 0; at < c->len; at += 512) {
			size_t now = MIN_OF(c->len - at, 512U);

			if (rig_random(seed) % 2)
				continue;
			if (c->data)
				memcpy(file + c->off + at, c->data + at, now);
			else
				memset(file + c->off + at, 0, now);
		}
	}
	*ret_len = len;
	return file;
}

/* --- in place of the C library's --- */

ssize_t pwritev(int fd, const struct iovec *iov, int n, off_t off)
{
	uint64_t len = 0;
	uint8_t *to;

	if (recorder_sees(fd)) {
		if (recorder.full && off >= 512) {
			errno = ENOSPC;
			return -1;
		}
		for (int i = 0; i < n; i++)
			len += iov[i].iov_len;
		to = recorder_add((uint64_t)off, len, false);
		for (int i = 0; i < n; i++) {
			memcpy(to, iov[i].iov_base, iov[i].iov_len);
			to += iov[i].iov_len;
		}
	}
	return syscall(SYS_pwritev, fd, iov, n, off, 0);
}

int fallocate(int fd, int mode, off_t off, off_t len)
{
	if (recorder_sees(fd)) {
		if (recorder.full && !(mode & FALLOC_FL_PUNCH_HOLE)) {
			errno = ENOSPC;
			return -1;
		}
		(void)recorder_add((uint64_t)off, (uint64_t)len, true);
	}
	return (int)syscall(SYS_fallocate, fd, mode, off, len);
}

int ftruncate(int fd, off_t len)
{
	if (recorder_sees(fd))
		(void)recorder_add((uint64_t)len, 0, true);
	return (int)syscall(SYS_ftruncate, fd, len);
}

int fdatasync(int fd)
{
	bool seen = recorder_sees(fd);
	int r;

	if (seen)
		recorder.before(recorder.ctx);
	r = (int)syscall(SYS_fdatasync, fd);
	if (seen)
		recorder_sync(fd);
	return r;
}

#endif
