/* SPDX-License-Identifier: Apache-2.0 */
/* The stream side: frames in pieces, at their limits, and malformed ones. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/num.h"
#include "protocol/protocol.h"

/* Feed up to @len bytes; returns how many the reader had room for. */
static size_t feed(struct frame_reader *r, const void *data, size_t len)
{
	uint8_t *room;
	size_t max;

	assert_int_equal(frame_reader_space(r, &room, &max), 0);
	assert_true(max > 0);
	max = MIN_OF(max, len);
	memcpy(room, data, max);
	frame_reader_commit(r, max);
	assert_true(r->in.len <= FRAME_WIRE_MAX);
	return max;
}

static void test_byte_by_byte(void **state)
{
	struct frame_reader r = { 0 };
	cleanup_buf struct buf out = { 0 };
	struct frame f;
	int frames = 0;

	for (int i = 0; i < 3; i++)
		assert_int_equal(message_append_data(&out, i + 1, MSG_EXEC_STDOUT, "abc", 3), 0);
	for (size_t i = 0; i < out.len; i++) {
		assert_int_equal(feed(&r, buf_head(&out) + i, 1), 1);
		while (frame_reader_next(&r, &f) == 1)
			assert_int_equal(f.id, ++frames);
	}
	assert_int_equal(frames, 3);
	frame_reader_release(&r);
}

static void test_several_at_once(void **state)
{
	struct frame_reader r = { 0 };
	cleanup_buf struct buf out = { 0 };
	struct frame f;

	for (int i = 0; i < 100; i++)
		assert_int_equal(message_append_data(&out, i, MSG_EXEC_STDERR, "x", 1), 0);
	assert_int_equal(feed(&r, buf_head(&out), out.len), out.len);
	for (int i = 0; i < 100; i++) {
		assert_int_equal(frame_reader_next(&r, &f), 1);
		assert_int_equal(f.id, i);
	}
	assert_int_equal(frame_reader_next(&r, &f), 0);
	frame_reader_release(&r);
}

static void test_largest(void **state)
{
	struct frame_reader r = { 0 };
	uint8_t *bytes = calloc(1, FRAME_WIRE_MAX + 9);
	struct frame f;
	int frames = 0;

	assert_non_null(bytes);
	store_be32(bytes, FRAME_LEN_MAX);
	store_be32(bytes + FRAME_WIRE_MAX, FRAME_LEN_MIN);
	for (size_t at = 0; at < FRAME_WIRE_MAX + 9;) {
		at += feed(&r, bytes + at, FRAME_WIRE_MAX + 9 - at);
		while (frame_reader_next(&r, &f) == 1)
			assert_int_equal(f.body_len, frames++ ? 0 : FRAME_LEN_MAX - 5);
	}
	assert_int_equal(frames, 2);
	/* One large frame does not keep 4 MiB for good. */
	assert_int_equal(frame_reader_next(&r, &f), 0);
	assert_true(r.in.cap < MIB(1));
	frame_reader_release(&r);
	free(bytes);
}

/* A malformed frame is reported once, thrown away, and the next one arrives. */
static void check_malformed(uint32_t len, int want)
{
	struct frame_reader r = { 0 };
	cleanup_buf struct buf out = { 0 };
	uint8_t junk[4096] = { 0 };
	struct frame f;

	store_be32(junk, len);
	(void)feed(&r, junk, FRAME_PREFIX);
	assert_int_equal(frame_reader_next(&r, &f), want);
	store_be32(junk, 0);
	for (size_t left = len; left > 0;) {
		left -= feed(&r, junk, MIN_OF(left, sizeof(junk)));
		assert_int_equal(frame_reader_next(&r, &f), 0);
		assert_true(r.in.cap < MIB(1));
	}
	assert_int_equal(message_append(&out, 5, MSG_SHUTDOWN, NULL), 0);
	(void)feed(&r, buf_head(&out), out.len);
	assert_int_equal(frame_reader_next(&r, &f), 1);
	assert_int_equal(f.id, 5);
	frame_reader_release(&r);
}

static void test_malformed(void **state)
{
	for (uint32_t len = 0; len < FRAME_LEN_MIN; len++)
		check_malformed(len, -EBADMSG);
	check_malformed(FRAME_LEN_MAX + 1, -EMSGSIZE);
	check_malformed(FRAME_LEN_MAX * 2, -EMSGSIZE);
}

static void test_four_gib(void **state)
{
	struct frame_reader r = { 0 };
	struct frame f;

	(void)feed(&r, "\xff\xff\xff\xff\0\0\0\1\0", 9);
	assert_int_equal(frame_reader_next(&r, &f), -EMSGSIZE);
	assert_int_equal(r.skip, 0xffffffffULL - 5);
	assert_int_equal(frame_reader_next(&r, &f), 0);
	frame_reader_release(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_byte_by_byte),
		cmocka_unit_test(test_several_at_once),
		cmocka_unit_test(test_largest),
		cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_four_gib),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
