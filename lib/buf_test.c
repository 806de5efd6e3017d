/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>

#include <string.h>

#include "lib/buf.h"
#include "lib/num.h"

static void test_append_consume(void **state)
{
	cleanup_buf struct buf b = { 0 };
	uint8_t next_in = 0, next_out = 0;

	/* a stream of sevens in, fives out: the content stays in order through every regrowth */
	for (int round = 0; round < 1000; round++) {
		for (int i = 0; i < 7; i++) {
			uint8_t byte = next_in++;

			assert_int_equal(buf_append(&b, &byte, 1), 0);
		}
		for (int i = 0; i < 5; i++)
			assert_int_equal(buf_head(&b)[i], next_out++);
		buf_consume(&b, 5);
	}
	assert_int_equal(b.len, 2000);
	while (b.len) {
		assert_int_equal(*buf_head(&b), next_out++);
		buf_consume(&b, 1);
	}
	assert_int_equal(b.off, 0);
}

static void test_memory_stays_small(void **state)
{
	cleanup_buf struct buf b = { 0 };
	uint8_t chunk[100] = { 0 };

	for (int i = 0; i < 10000; i++) {
		assert_int_equal(buf_append(&b, chunk, sizeof(chunk)), 0);
		buf_consume(&b, i ? sizeof(chunk) : 50);
	}
	assert_true(b.cap <= 1024);
}

static void test_cap(void **state)
{
	cleanup_buf struct buf b = { .max = 10 };
	uint8_t *p;

	assert_int_equal(buf_append(&b, "12345678", 8), 0);
	assert_int_equal(buf_append(&b, "abc", 3), -E2BIG);
	assert_int_equal(b.len, 8);
	assert_int_equal(buf_reserve(&b, SIZE_MAX, &p), -E2BIG);
	assert_int_equal(buf_append(&b, "ab", 2), 0);
	assert_memory_equal(buf_head(&b), "12345678ab", 10);
	buf_release(&b);
	assert_int_equal(b.max, 10);
	assert_int_equal(buf_append(&b, NULL, 0), 0);
}

static void test_no_memory(void **state)
{
	cleanup_buf struct buf b = { 0 };
	uint8_t *p = NULL;

	assert_int_equal(buf_reserve(&b, SIZE_MAX / 2, &p), -ENOMEM);
	assert_null(p);
	assert_int_equal(buf_append(&b, "x", 1), 0);
}

static void test_reserve_commit(void **state)
{
	cleanup_buf struct buf b = { 0 };
	uint8_t *p;

	assert_int_equal(buf_reserve(&b, 300, &p), 0);
	memset(p, 'x', 300);
	buf_commit(&b, 200);
	assert_int_equal(b.len, 200);
	assert_int_equal(buf_reserve(&b, 0, &p), 0);
	assert_ptr_equal(p, buf_head(&b) + 200);
}

static void test_cursor(void **state)
{
	static const uint8_t wire[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17,
		18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29 };
	struct cursor c = cursor_init(wire, sizeof(wire));

	assert_int_equal(cursor_u8(&c), 1);
	assert_int_equal(cursor_le16(&c), 0x0302);
	assert_int_equal(cursor_le32(&c), 0x07060504);
	assert_true(cursor_le64(&c) == 0x0f0e0d0c0b0a0908);
	assert_int_equal(cursor_be16(&c), 0x1011);
	assert_int_equal(cursor_be32(&c), 0x12131415);
	assert_true(cursor_be64(&c) == 0x161718191a1b1c1d);
	assert_int_equal(cursor_left(&c), 0);
	assert_false(c.failed);
	assert_int_equal(cursor_u8(&c), 0);
	assert_true(c.failed);
}

static void test_cursor_failure_latches(void **state)
{
	uint8_t dst[4] = { 9, 9, 9, 9 };
	struct cursor c = cursor_init("abcdef", 6);

	assert_int_equal(cursor_copy(&c, dst, 2), 0);
	assert_memory_equal(dst, "ab", 2);
	assert_null(cursor_bytes(&c, 5));
	assert_int_equal(cursor_left(&c), 0);
	/* a shorter read would fit, but the parser has already lost its place */
	assert_int_equal(cursor_copy(&c, dst, 1), -EBADMSG);
	assert_int_equal(cursor_le32(&c), 0);
	assert_int_equal(dst[0], 'a');

	c = cursor_init("abcdef", 6);
	assert_null(cursor_bytes(&c, SIZE_MAX));
	c = cursor_init(NULL, 0);
	assert_int_equal(cursor_copy(&c, NULL, 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_append_consume),
		cmocka_unit_test(test_memory_stays_small),
		cmocka_unit_test(test_cap),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_reserve_commit),
		cmocka_unit_test(test_cursor),
		cmocka_unit_test(test_cursor_failure_latches),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
