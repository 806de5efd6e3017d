/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>

#include <string.h>

#include "lib/iov.h"

/* "abcdefghij" in pieces of 3, 0, 1 and 6 bytes */
static unsigned pieces(char text[10], struct iovec iov[4])
{
	memcpy(text, "abcdefghij", 10);
	iov[0] = (struct iovec){ text, 3 };
	iov[1] = (struct iovec){ NULL, 0 };
	iov[2] = (struct iovec){ text + 3, 1 };
	iov[3] = (struct iovec){ text + 4, 6 };
	return 4;
}

static void test_len_and_read(void **state)
{
	char text[10], out[16] = { 0 };
	struct iovec iov[4];
	unsigned n = pieces(text, iov);

	assert_int_equal(iov_len(iov, n), 10);
	assert_int_equal(iov_len(iov, 0), 0);
	assert_int_equal(iov_read(iov, n, 0, out, 10), 10);
	assert_memory_equal(out, "abcdefghij", 10);
	assert_int_equal(iov_read(iov, n, 2, out, 3), 3);
	assert_memory_equal(out, "cde", 3);
	assert_int_equal(iov_read(iov, n, 8, out, 16), 2);
	assert_memory_equal(out, "ij", 2);
	assert_int_equal(iov_read(iov, n, 10, out, 1), 0);
	assert_int_equal(iov_read(iov, n, SIZE_MAX, out, SIZE_MAX), 0);
	assert_int_equal(iov_read(iov, n, 3, out, 0), 0);
}

static void test_write_and_fill(void **state)
{
	char text[10];
	struct iovec iov[4];
	unsigned n = pieces(text, iov);

	assert_int_equal(iov_write(iov, n, 2, "XYZ", 3), 3);
	assert_memory_equal(text, "abXYZfghij", 10);
	assert_int_equal(iov_write(iov, n, 9, "12", 2), 1);
	assert_memory_equal(text, "abXYZfghi1", 10);
	assert_int_equal(iov_fill(iov, n, 3, 0, 100), 7);
	assert_memory_equal(text, "abX\0\0\0\0\0\0\0", 10);
}

static void test_slice(void **state)
{
	char text[10];
	struct iovec iov[4], out[4];
	unsigned n = pieces(text, iov);

	assert_int_equal(iov_slice(iov, n, 1, 4, out, 4), 3);
	assert_ptr_equal(out[0].iov_base, text + 1);
	assert_int_equal(out[0].iov_len, 2);
	assert_ptr_equal(out[1].iov_base, text + 3);
	assert_int_equal(out[2].iov_len, 1);
	assert_int_equal(iov_slice(iov, n, 1, 4, out, 1), 1);
	assert_int_equal(iov_slice(iov, n, 10, 4, out, 4), 0);
	assert_int_equal(iov_slice(iov, n, 4, SIZE_MAX, out, 4), 1);
	assert_int_equal(out[0].iov_len, 6);
	assert_int_equal(iov_slice(iov, n, 0, 4, out, 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_len_and_read),
		cmocka_unit_test(test_write_and_fill),
		cmocka_unit_test(test_slice),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
