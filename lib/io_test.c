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

#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/num.h"

static int file_of(size_t len)
{
	int fd = memfd_create("io_test", MFD_CLOEXEC);

	assert_true(fd >= 0);
	for (size_t i = 0; i < len; i += 1000) {
		uint8_t part[1000];

		memset(part, (int)(i / 1000), sizeof(part));
		assert_int_equal(io_pwrite(fd, part, MIN_OF(sizeof(part), len - i), i), 0);
	}
	return fd;
}

static void reads_up_to_the_end(void **state)
{
	cleanup_fd int fd = file_of(2500);
	uint8_t got[4000];

	assert_int_equal(io_pread(fd, got, 1000, 1000), 1000);
	assert_true(got[0] == 1 && got[999] == 1);
	assert_int_equal(io_pread(fd, got, sizeof(got), 2000), 500);
	assert_int_equal(io_pread(fd, got, sizeof(got), 9000), 0);
	assert_int_equal(io_read(fd, got, sizeof(got)), 2500);
	assert_int_equal(io_read(fd, got, sizeof(got)), 0);
	assert_int_equal(io_read(-1, got, 1), -EBADF);
	assert_int_equal(io_pread(-1, got, 1, 0), -EBADF);
}

static void writes_all(void **state)
{
	cleanup_fd int fd = file_of(0);
	uint8_t got[6];

	assert_int_equal(io_write(fd, "abc", 3), 0);
	assert_int_equal(io_write(fd, "def", 3), 0);
	assert_int_equal(io_pwrite(fd, "XY", 2, 2), 0);
	assert_int_equal(io_pread(fd, got, sizeof(got), 0), 6);
	assert_memory_equal(got, "abXYef", 6);
	assert_int_equal(io_write(-1, "x", 1), -EBADF);
	assert_int_equal(io_pwrite(-1, "x", 1, 0), -EBADF);
}

static void takes_a_file_within_its_limit(void **state)
{
	static const size_t sizes[] = { 0, 1, 65535, 65536, 65537, 200000 };

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		cleanup_fd int fd = file_of(sizes[i]);
		cleanup_buf struct buf b = { 0 };

		assert_int_equal(io_read_to_end(fd, sizes[i], &b), 0);
		assert_int_equal(b.len, sizes[i]);
		if (!sizes[i])
			continue;
		assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
		b.len = 0;
		assert_int_equal(io_read_to_end(fd, sizes[i] - 1, &b), -EFBIG);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_up_to_the_end),
		cmocka_unit_test(writes_all),
		cmocka_unit_test(takes_a_file_within_its_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
