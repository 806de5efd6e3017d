/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "block/block.h"
#include "lib/num.h"

#define PARTS 300

/* Part i has 1 to 3 pages, each byte says which part it is in. */
static int part_fd(unsigned i)
{
	uint8_t page[4096];
	int fd = memfd_create("part", MFD_CLOEXEC);

	assert_true(fd >= 0);
	memset(page, (int)(i % 251 + 1), sizeof(page));
	for (unsigned k = 0; k <= i % 3; k++)
		assert_int_equal(pwrite(fd, page, sizeof(page), k * 4096), 4096);
	return fd;
}

static void test_three_hundred_parts(void **state)
{
	int fds[PARTS];
	struct block *b = NULL;
	uint64_t off = 0;
	static uint8_t all[PARTS * 3 * 4096];

	for (unsigned i = 0; i < PARTS; i++)
		fds[i] = part_fd(i);
	assert_int_equal(block_concat_open(fds, PARTS, &b, NULL), 0);
	for (unsigned i = 0; i < PARTS; i++)
		close(fds[i]);
	assert_int_equal(b->size, PARTS * 2 * 4096);
	assert_true(b->read_only);
	struct iovec whole[2] = { { all, 1000 }, { all + 1000, b->size - 1000 } };

	assert_int_equal(block_read(b, whole, 2, 0), 0);
	for (unsigned i = 0; i < PARTS; i++) {
		for (unsigned k = 0; k < (i % 3 + 1) * 4096; k++)
			assert_int_equal(all[off + k], i % 251 + 1);
		off += (i % 3 + 1) * 4096;
	}
	block_free(b);
}

static void test_pieces(void **state)
{
	int fds[2] = { part_fd(0), part_fd(1) };
	struct block *b = NULL;
	uint8_t data[3000] = { 0 };
	struct iovec iov[3] = { { data, 7 }, { data + 7, 0 }, { data + 7, 2993 } };

	assert_int_equal(block_concat_open(fds, 2, &b, NULL), 0);
	assert_int_equal(block_read(b, iov, 3, 4096 - 5), 0);
	assert_int_equal(data[4], 1);
	assert_int_equal(data[5], 2);
	assert_int_equal(data[2999], 2);
	assert_int_equal(block_read(b, iov, 3, 3 * 4096 - 3000), 0);
	assert_int_equal(block_read(b, iov, 3, 3 * 4096 - 2999), -EINVAL);
	assert_int_equal(block_read(b, iov, 0, 3 * 4096), 0);
	assert_int_equal(block_write(b, iov, 3, 0), -EROFS);
	assert_int_equal(block_discard(b, 0, 512), -EROFS);
	assert_int_equal(block_flush(b), 0);
	block_free(b);
	close(fds[0]);
	close(fds[1]);
}

static void test_refuses(void **state)
{
	int fds[2] = { part_fd(0), part_fd(1) };
	struct block *b = NULL;
	struct err err = ERR_INIT;

	assert_int_equal(block_concat_open(fds, 0, &b, NULL), -EINVAL);
	assert_int_equal(ftruncate(fds[1], 4097), 0);
	assert_int_equal(block_concat_open(fds, 2, &b, &err), -EINVAL);
	assert_string_equal(err.msg, "part 1 of the disk has 4097 bytes, not a multiple of 4096");
	assert_int_equal(ftruncate(fds[1], 0), 0);
	assert_int_equal(block_concat_open(fds, 2, &b, &err), -EINVAL);
	close(fds[0]);
	close(fds[1]);
	assert_int_equal(block_concat_open(fds, 2, &b, &err), -EBADF);
}

static void test_formats(void **state)
{
	static const struct {
		const char *path;
		int format;
	} cases[] = { { "a.qcow2", BLOCK_QCOW2 }, { "/x.y/a.RAW", BLOCK_RAW },
		{ "b.img", BLOCK_RAW }, { "./c.vmdk", BLOCK_VMDK }, { "/x.raw/a", -1 }, { "a", -1 },
		{ "qcow2", -1 }, { "a.", -1 }, { "a.qcow", -1 }, { "", -1 } };
	enum block_format f = BLOCK_VMDK;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		int r = block_format_of_path(cases[i].path, &f, NULL);

		assert_int_equal(r, cases[i].format < 0 ? -EINVAL : 0);
		if (r == 0)
			assert_int_equal(f, cases[i].format);
	}
	assert_int_equal(block_format_parse("qcow2", &f, NULL), 0);
	assert_string_equal(block_format_name(f), "qcow2");
	assert_int_equal(block_format_parse("QCOW2", &f, NULL), -EINVAL);
	assert_int_equal(block_format_parse("", &f, NULL), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_three_hundred_parts),
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_refuses),
		cmocka_unit_test(test_formats),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
