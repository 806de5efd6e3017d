/* SPDX-License-Identifier: Apache-2.0 */
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
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/block.h"
#include "lib/num.h"

#define SIZE (64 * 1024)

struct image {
	int fd;
	struct block *b;
};

static int setup(void **state)
{
	struct image *im = calloc(1, sizeof(*im));
	static uint8_t pattern[SIZE];

	assert_non_null(im);
	im->fd = memfd_create("image", MFD_CLOEXEC);
	assert_true(im->fd >= 0);
	for (size_t i = 0; i < SIZE; i++)
		pattern[i] = (uint8_t)(1 + i / BLOCK_SECTOR % 250);
	assert_int_equal(pwrite(im->fd, pattern, SIZE, 0), SIZE);
	assert_int_equal(block_raw_open(im->fd, false, &im->b, NULL), 0);
	*state = im;
	return 0;
}

static int teardown(void **state)
{
	struct image *im = *state;

	block_free(im->b);
	close(im->fd);
	free(im);
	return 0;
}

static int read_at(struct block *b, void *dst, size_t len, uint64_t off)
{
	struct iovec iov[3] = { { dst, len / 3 }, { NULL, 0 },
		{ (uint8_t *)dst + len / 3, len - len / 3 } };

	return block_read(b, iov, 3, off);
}

static int write_at(struct block *b, const void *src, size_t len, uint64_t off)
{
	struct iovec iov = { (void *)src, len };

	return block_write(b, &iov, 1, off);
}

static bool all(const uint8_t *p, size_t len, uint8_t byte)
{
	while (len && *p == byte) {
		p++;
		len--;
	}
	return !len;
}

static void test_read_write(void **state)
{
	struct image *im = *state;
	uint8_t data[1024];

	assert_int_equal(im->b->size, SIZE);
	assert_int_equal(read_at(im->b, data, sizeof(data), 512), 0);
	assert_true(all(data, 512, 2) && all(data + 512, 512, 3));
	memset(data, 0xee, sizeof(data));
	assert_int_equal(write_at(im->b, data, 1000, SIZE - 1000), 0);
	assert_int_equal(block_flush(im->b), 0);
	memset(data, 0, sizeof(data));
	assert_int_equal(pread(im->fd, data, 1000, SIZE - 1000), 1000);
	assert_true(all(data, 1000, 0xee));
	assert_int_equal(block_read(im->b, NULL, 0, 0), 0);
}

static void test_ranges(void **state)
{
	static const struct {
		uint64_t off, len;
	} bad[] = { { SIZE, 1 }, { SIZE - 1, 2 }, { UINT64_MAX, 1 }, { UINT64_MAX - 511, 1024 },
		{ 1ULL << 63, 512 }, { 0, SIZE + 1 } };
	struct image *im = *state;
	static uint8_t data[SIZE + 1];
	struct stat st;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_int_equal(read_at(im->b, data, bad[i].len, bad[i].off), -EINVAL);
		assert_int_equal(write_at(im->b, data, bad[i].len, bad[i].off), -EINVAL);
		assert_int_equal(block_discard(im->b, bad[i].off, bad[i].len), -EINVAL);
		assert_int_equal(block_write_zeroes(im->b, bad[i].off, bad[i].len, true), -EINVAL);
	}
	assert_int_equal(block_discard(im->b, 512, UINT64_MAX), -EINVAL);
	assert_int_equal(block_discard(im->b, SIZE, 0), 0);
	assert_int_equal(fstat(im->fd, &st), 0);
	assert_int_equal(st.st_size, SIZE);
}

static void test_read_only(void **state)
{
	struct image *im = *state;
	struct block *ro = NULL;
	uint8_t data[512] = { 0 };

	assert_int_equal(block_raw_open(im->fd, true, &ro, NULL), 0);
	assert_int_equal(read_at(ro, data, 512, 0), 0);
	assert_int_equal(write_at(ro, data, 512, 0), -EROFS);
	assert_int_equal(block_discard(ro, 0, 512), -EROFS);
	assert_int_equal(block_write_zeroes(ro, 0, 512, false), -EROFS);
	assert_int_equal(block_flush(ro), 0);
	block_free(ro);
	assert_int_equal(read_at(im->b, data, 512, 0), 0);
	assert_true(all(data, 512, 1));
}

static void test_zeroes_and_discard(void **state)
{
	struct image *im = *state;
	uint8_t data[8192];

	assert_int_equal(block_write_zeroes(im->b, 4096, 4096, true), 0);
	assert_int_equal(block_write_zeroes(im->b, 16384 + 512, 1024, false), 0);
	assert_int_equal(block_discard(im->b, 32768, 8192), 0);
	assert_int_equal(read_at(im->b, data, 8192, 4096), 0);
	assert_true(all(data, 4096, 0) && data[4096] != 0);
	assert_int_equal(read_at(im->b, data, 2048, 16384), 0);
	assert_true(data[511] && all(data + 512, 1024, 0) && data[1536]);
	assert_int_equal(read_at(im->b, data, 8192, 32768), 0);
	assert_true(all(data, 8192, 0)); /* what a hole reads as on the file systems we know */
}

/* What the guest gives back, the host has again. */
static void test_discard_frees_space(void **state)
{
	struct image *im = *state;
	struct stat before, after;

	assert_int_equal(fstat(im->fd, &before), 0);
	assert_int_equal(block_discard(im->b, 4096, SIZE - 8192), 0);
	assert_int_equal(fstat(im->fd, &after), 0);
	assert_int_equal(after.st_size, SIZE);
	assert_int_equal(before.st_blocks - after.st_blocks, (SIZE - 8192) / 512);
	assert_int_equal(block_write_zeroes(im->b, 0, SIZE, true), 0);
	assert_int_equal(fstat(im->fd, &after), 0);
	assert_int_equal(after.st_blocks, 0);
}

static void test_image_cut_off_underneath(void **state)
{
	struct image *im = *state;
	uint8_t data[1024];

	assert_int_equal(ftruncate(im->fd, 512), 0);
	assert_int_equal(read_at(im->b, data, 512, 0), 0);
	assert_int_equal(read_at(im->b, data, 1024, 0), -EIO);
	assert_int_equal(read_at(im->b, data, 512, 4096), -EIO);
}

static void test_identity(void **state)
{
	struct image *im = *state;
	char text[64] = { 0 };
	struct stat st;

	assert_int_equal(fstat(im->fd, &st), 0);
	(void)snprintf(text, sizeof(text), "%ju%ju%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_rdev,
		(uintmax_t)st.st_ino);
	assert_memory_equal(im->b->id, text, BLOCK_ID_LEN);
}

static void test_open_refuses(void **state)
{
	struct image *im = *state;
	struct block *b = NULL;
	struct err err = ERR_INIT;
	char path[32];
	int fds[2], fd;

	assert_int_equal(pipe(fds), 0);
	assert_int_equal(block_raw_open(fds[0], true, &b, &err), -EINVAL);
	assert_string_equal(err.msg, "a disk image is a regular file or a block device");
	close(fds[0]);
	close(fds[1]);
	assert_int_equal(block_raw_open(99999, true, &b, NULL), -EBADF);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", im->fd);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(block_raw_open(fd, false, &b, &err), -EACCES);
	assert_string_equal(err.msg, "the disk image is not open for reading and writing");
	close(fd);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_int_equal(block_raw_open(fd, true, &b, NULL), -EACCES);
	close(fd);
	fd = open(path, O_PATH | O_CLOEXEC);
	assert_int_equal(block_raw_open(fd, true, &b, NULL), -EACCES);
	close(fd);
	assert_null(b);
	block_free(NULL);
}

#define image_test(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		image_test(test_read_write),
		image_test(test_ranges),
		image_test(test_read_only),
		image_test(test_zeroes_and_discard),
		image_test(test_discard_frees_space),
		image_test(test_image_cut_off_underneath),
		image_test(test_identity),
		image_test(test_open_refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
