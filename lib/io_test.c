/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
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

static int empty_file(const char *dir)
{
	int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	return fd;
}

/* Within a file system, and from one to another. */
static void copies(void **state)
{
	static const char *const dirs[] = { "/tmp", "/dev/shm" };

	for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
		cleanup_fd int from = empty_file("/tmp"), to = empty_file(dirs[i]);
		uint8_t got[10];

		assert_int_equal(io_pwrite(from, "0123456789", 10, 0), 0);
		assert_int_equal(io_copy(from, 2, to, 1, 5), 0);
		assert_int_equal(io_pread(to, got, sizeof(got), 0), 6);
		assert_memory_equal(got, "\00023456", 6);
		assert_int_equal(io_copy(from, 8, to, 1, 5), -EIO);
	}
	assert_int_equal(io_copy(-1, 0, -1, 0, 1), -EBADF);
}

static void copies_leave_holes(void **state)
{
	for (unsigned share = 0; share < 2; share++) {
		cleanup_fd int from = empty_file("/tmp"), to = empty_file("/tmp");
		struct stat st;
		uint8_t got[4];

		assert_int_equal(io_copy_sparse(from, to, share), 0);
		assert_int_equal(ftruncate(from, MIB(64)), 0);
		assert_int_equal(io_pwrite(from, "here", 4, MIB(9)), 0);
		assert_int_equal(io_pwrite(from, "and", 4, MIB(30)), 0);
		assert_int_equal(io_copy_sparse(from, to, share), 0);
		assert_int_equal(fstat(to, &st), 0);
		assert_int_equal(st.st_size, MIB(64));
		assert_true(st.st_blocks * 512 < MIB(1));
		assert_int_equal(io_pread(to, got, 4, MIB(9)), 4);
		assert_memory_equal(got, "here", 4);
		assert_int_equal(io_pread(to, got, 4, MIB(30)), 4);
		assert_memory_equal(got, "and", 4);
		assert_int_equal(io_copy_sparse(-1, to, share), -EBADF);
	}
}

static void finds_data(void **state)
{
	cleanup_fd int fd = empty_file("/tmp"), odd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	uint64_t start = 0, end = 0;

	assert_int_equal(ftruncate(fd, MIB(64)), 0);
	assert_false(io_next_data(fd, 0, MIB(64), &start, &end));
	assert_int_equal(io_pwrite(fd, "here", 4, MIB(9)), 0);
	assert_true(io_next_data(fd, 1, MIB(64), &start, &end));
	assert_true(start > 1 && start <= MIB(9) && end >= MIB(9) + 4 && end < MIB(64));
	assert_false(io_next_data(fd, end, MIB(64), &start, &end));
	assert_false(io_next_data(fd, 0, MIB(1), &start, &end));
	assert_true(io_next_data(fd, 0, MIB(9) + 2, &start, &end));
	assert_int_equal(end, MIB(9) + 2);
	assert_false(io_next_data(fd, MIB(65), MIB(64), &start, &end));
	/* A file system that knows no holes */
	assert_true(io_next_data(odd, 3, 10, &start, &end));
	assert_true(start == 3 && end == 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_up_to_the_end),
		cmocka_unit_test(writes_all),
		cmocka_unit_test(takes_a_file_within_its_limit),
		cmocka_unit_test(copies),
		cmocka_unit_test(copies_leave_holes),
		cmocka_unit_test(finds_data),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
