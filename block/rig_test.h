/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of this room share: a folder of their own, qemu-img as the foreign judge, and
 * requests over images. */
#ifndef BLOCK_RIG_TEST_H
#define BLOCK_RIG_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "block/block.h"
#include "lib/num.h"

struct rig {
	char dir[64];
	int fd;
	char out[16384]; /* of the last command */
};

static int rig_setup(void **state)
{
	struct rig *rig = calloc(1, sizeof(*rig));

	assert_non_null(rig);
	/* memory where there is some: these tests sync a lot */
	(void)snprintf(rig->dir, sizeof(rig->dir), "%s/block-XXXXXX",
		access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	assert_non_null(mkdtemp(rig->dir));
	rig->fd = open(rig->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(rig->fd >= 0);
	*state = rig;
	return 0;
}

/* A shell command in the folder. Return: its exit code; what it said is in rig->out. */
__attribute__((format(printf, 2, 3), unused)) static int rig_try(
	struct rig *rig, const char *fmt, ...)
{
	char cmd[1024], line[1200];
	size_t len;
	va_list ap;
	FILE *f;
	int st;

	va_start(ap, fmt);
	(void)vsnprintf(cmd, sizeof(cmd), fmt, ap);
	va_end(ap);
	(void)snprintf(line, sizeof(line), "cd %s && { %s; } 2>&1", rig->dir, cmd);
	f = popen(line, "r");
	assert_non_null(f);
	len = fread(rig->out, 1, sizeof(rig->out) - 1, f);
	rig->out[len] = 0;
	st = pclose(f);
	return WIFEXITED(st) ? WEXITSTATUS(st) : 255;
}

#define rig_run(rig, ...)                                                                          \
	do {                                                                                       \
		if (rig_try(rig, __VA_ARGS__) != 0)                                                \
			fail_msg("command failed: %s", (rig)->out);                                \
	} while (0)

static int rig_teardown(void **state)
{
	struct rig *rig = *state;

	(void)rig_try(rig, "rm -rf %s", rig->dir);
	close(rig->fd);
	free(rig);
	return 0;
}

/* Open an image of the folder. */
__attribute__((unused)) static int rig_open(struct rig *rig, const char *name,
	enum block_format format, bool read_only, struct block **ret, struct err *err)
{
	struct block_config cfg = {
		.format = format, .dir_fd = rig->fd, .read_only = read_only, .backing = true
	};
	int r;

	cfg.fd = openat(rig->fd, name, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
	assert_true(cfg.fd >= 0);
	r = block_open(&cfg, ret, err);
	close(cfg.fd);
	return r;
}

__attribute__((unused)) static int rig_read(struct block *b, void *dst, size_t len, uint64_t off)
{
	struct iovec iov[3] = { { dst, len / 3 }, { NULL, 0 },
		{ (uint8_t *)dst + len / 3, len - len / 3 } };

	return block_read(b, iov, 3, off);
}

__attribute__((unused)) static int rig_write(
	struct block *b, const void *src, size_t len, uint64_t off)
{
	struct iovec iov[2] = { { (void *)src, len / 2 },
		{ (uint8_t *)src + len / 2, len - len / 2 } };

	return block_write(b, iov, 2, off);
}

/* The whole disk, read in pieces of an odd size. The caller frees it. */
__attribute__((unused)) static uint8_t *rig_slurp(struct block *b)
{
	uint8_t *all = malloc(b->size + 1);
	size_t piece = 70001;

	assert_non_null(all);
	for (uint64_t at = 0; at < b->size; at += piece)
		assert_int_equal(rig_read(b, all + at, MIN_OF(piece, b->size - at), at), 0);
	return all;
}

/* A file of the folder as bytes, which the caller frees. */
__attribute__((unused)) static uint8_t *rig_file(struct rig *rig, const char *name, size_t *ret_len)
{
	int fd = openat(rig->fd, name, O_RDONLY | O_CLOEXEC);
	struct stat st;
	uint8_t *data;
	size_t at = 0;

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	data = malloc(st.st_size + 1);
	assert_non_null(data);
	while (at < (size_t)st.st_size) {
		ssize_t n = pread(fd, data + at, st.st_size - at, (off_t)at);

		assert_true(n > 0);
		at += (size_t)n;
	}
	close(fd);
	*ret_len = at;
	return data;
}

__attribute__((unused)) static void rig_save(
	struct rig *rig, const char *name, const void *data, size_t len)
{
	int fd = openat(rig->fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	size_t at = 0;

	assert_true(fd >= 0);
	while (at < len) {
		ssize_t n = write(fd, (const uint8_t *)data + at, len - at);

		assert_true(n > 0);
		at += (size_t)n;
	}
	close(fd);
}

/* xorshift: the same run for the same seed, everywhere */
__attribute__((unused)) static uint64_t rig_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

#define rig_test(fn) cmocka_unit_test_setup_teardown(fn, rig_setup, rig_teardown)

#endif
