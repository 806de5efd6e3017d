/* SPDX-License-Identifier: Apache-2.0 */
/* The reader against hand-made input: one row per rule of the CBOR profile. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/num.h"
#include "protocol/cbor.h"

struct inner {
	uint8_t n;
};

static const struct cbor_field inner_fields[] = {
	{ "n", CBOR_U8, CBOR_REQUIRED, offsetof(struct inner, n), NULL },
};
static const struct cbor_schema inner_schema = { inner_fields, 1, sizeof(struct inner) };

struct sample {
	uint16_t r;
	int32_t i;
	bool b;
	struct text t;
	struct bytes d;
	struct texts l;
	struct list s;
	uint64_t u;
};

static const struct cbor_field sample_fields[] = {
	{ "r", CBOR_U16, CBOR_REQUIRED, offsetof(struct sample, r), NULL },
	{ "i", CBOR_I32, 0, offsetof(struct sample, i), NULL },
	{ "b", CBOR_BOOL, 0, offsetof(struct sample, b), NULL },
	{ "t", CBOR_TEXT, 0, offsetof(struct sample, t), NULL },
	{ "d", CBOR_BYTES, 0, offsetof(struct sample, d), NULL },
	{ "l", CBOR_TEXTS, 0, offsetof(struct sample, l), NULL },
	{ "s", CBOR_STRUCTS, 0, offsetof(struct sample, s), &inner_schema },
	{ "u", CBOR_U64, 0, offsetof(struct sample, u), NULL },
};
static const struct cbor_schema sample_schema = { sample_fields, ARRAY_LEN(sample_fields),
	sizeof(struct sample) };

struct row {
	const char *what;
	const char *bytes;
	size_t len;
	int ret;
};

#define ROW(what, bytes, ret)                                                                      \
	{                                                                                          \
		what, bytes, sizeof(bytes) - 1, ret                                                \
	}
/* {"r": 7, KEY: ...} */
#define WITH(rest) "\xa2\x61r\x07" rest

static const struct row rows[] = {
	ROW("plain", "\xa1\x61r\x07", 0),
	ROW("bytes behind the item", "\xa1\x61r\x07garbage", 0),
	ROW("empty input", "", -EBADMSG),
	ROW("cut", "\xa2\x61r\x07\x61", -EBADMSG),
	ROW("missing key", "\xa1\x61i\x07", -EBADMSG),
	ROW("required key null", "\xa1\x61r\xf6", -EBADMSG),
	ROW("duplicate key", WITH("\x61r\x07"), -EBADMSG),
	ROW("any order", "\xa2\x61i\x01\x61r\x07", 0),
	ROW("unknown text key", WITH("\x61z\x82\x01\xa1\x61q\xf5"), 0),
	ROW("unknown text key, float", WITH("\x61z\xfb\x40\x09\x21\xfb\x54\x44\x2d\x18"), 0),
	ROW("unknown integer key", WITH("\x01\x02"), -EBADMSG),
	ROW("null in an optional field", WITH("\x61t\xf6"), 0),
	ROW("undefined in an optional field", WITH("\x61t\xf7"), 0),
	ROW("null in a list field", WITH("\x61l\xf6"), -EBADMSG),
	ROW("undefined in a list field", WITH("\x61s\xf7"), -EBADMSG),
	ROW("non-minimal integer", "\xa1\x61r\x1b\0\0\0\0\0\0\0\x07", 0),
	ROW("map16 header", "\xb9\0\x01\x61r\x07", 0),
	ROW("bignum", "\xa1\x61r\xc2\x43\0\0\x07", 0),
	ROW("bignum too large", "\xa1\x61r\xc2\x49\x01\0\0\0\0\0\0\0\0", -EBADMSG),
	ROW("negative bignum", WITH("\x61i\xc3\x41\x01"), 0),
	ROW("bytes for an integer", "\xa1\x61r\x41\x07", -EBADMSG),
	ROW("integral float", "\xa1\x61r\xf9\x47\0", -EBADMSG),
	ROW("65536 in 16 bits", "\xa1\x61r\x1a\0\x01\0\0", -EBADMSG),
	ROW("negative for unsigned", "\xa1\x61r\x20", -EBADMSG),
	ROW("smallest i32", WITH("\x61i\x3a\x7f\xff\xff\xff"), 0),
	ROW("below i32", WITH("\x61i\x3a\x80\0\0\0"), -EBADMSG),
	ROW("above i32", WITH("\x61i\x1a\x80\0\0\0"), -EBADMSG),
	ROW("largest u64", WITH("\x61u\x1b\xff\xff\xff\xff\xff\xff\xff\xff"), 0),
	ROW("tag on the map", "\xd9\xd9\xf7\xa1\x61r\x07", 0),
	ROW("tag 64 on bytes",
		WITH("\x61"
		     "d\xd8\x40\x42hi"),
		0),
	ROW("indefinite map", "\xbf\x61r\x07\xff", 0),
	ROW("indefinite map without end", "\xbf\x61r\x07", -EBADMSG),
	ROW("chunked text", WITH("\x61t\x7f\x62hi\x60\x61!\xff"), 0),
	ROW("chunked key", "\xa1\x7f\x61r\xff\x07", 0),
	ROW("chunk of another kind", WITH("\x61t\x7f\x42hi\xff"), -EBADMSG),
	ROW("chunk within a chunk", WITH("\x61t\x7f\x7f\x61h\xff\xff"), -EBADMSG),
	ROW("chunked bytes",
		WITH("\x61"
		     "d\x5f\x41h\x41i\xff"),
		0),
	ROW("bytes as an array",
		WITH("\x61"
		     "d\x82\x18h\x18i"),
		0),
	ROW("bytes as an indefinite array",
		WITH("\x61"
		     "d\x9f\x18h\xff"),
		0),
	ROW("array element over a byte",
		WITH("\x61"
		     "d\x81\x19\x01\0"),
		-EBADMSG),
	ROW("bytes as text",
		WITH("\x61"
		     "d\x62hi"),
		-EBADMSG),
	ROW("text as bytes", WITH("\x61t\x42hi"), -EBADMSG),
	ROW("bool as integer",
		WITH("\x61"
		     "b\x01"),
		-EBADMSG),
	ROW("array for a map", "\x81\x07", -EBADMSG),
	ROW("null for a map", "\xf6", -EBADMSG),
	ROW("list of texts", WITH("\x61l\x82\x61x\x60"), 0),
	ROW("list of an integer", WITH("\x61l\x81\x01"), -EBADMSG),
	ROW("list longer than the message", WITH("\x61l\x9b\xff\xff\xff\xff\xff\xff\xff\xff\x60"),
		-EBADMSG),
	ROW("list of maps", WITH("\x61s\x82\xa1\x61n\x01\xbf\x61n\x02\xff"), 0),
	ROW("list of maps, one wrong", WITH("\x61s\x82\xa1\x61n\x01\xa0"), -EBADMSG),
	ROW("text longer than the message", WITH("\x61t\x7b\xff\xff\xff\xff\xff\xff\xff\xff"),
		-EBADMSG),
	ROW("invalid UTF-8", WITH("\x61t\x61\xff"), -EBADMSG),
	ROW("overlong UTF-8", WITH("\x61t\x62\xc0\x80"), -EBADMSG),
	ROW("surrogate", WITH("\x61t\x63\xed\xa0\x80"), -EBADMSG),
	ROW("cut UTF-8", WITH("\x61t\x62\xe2\x82"), -EBADMSG),
	ROW("beyond Unicode", WITH("\x61t\x64\xf4\x90\x80\x80"), -EBADMSG),
	ROW("UTF-8 of every length",
		WITH("\x61t\x6a"
		     "a\xc3\xb6\xe2\x82\xac\xf0\x9f\x98\x80"),
		0),
	ROW("text with NUL",
		WITH("\x61t\x63"
		     "a\0b"),
		0),
	ROW("reserved head", WITH("\x61z\x1c"), -EBADMSG),
	ROW("stray break", WITH("\x61z\xff"), -EBADMSG),
};

static int decode(const void *bytes, size_t len, struct cbor_pool *pool, struct sample *s)
{
	*s = (struct sample){ .u = 99 };
	return cbor_decode(&sample_schema, bytes, len, pool, s, NULL);
}

static void test_rows(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		cleanup_cbor_pool struct cbor_pool pool = { 0 };
		struct sample s;
		/* On the heap and exactly as long, so that a sanitizer sees a read beyond it. */
		void *copy = malloc(rows[i].len ? rows[i].len : 1);
		int ret;

		assert_non_null(copy);
		memcpy(copy, rows[i].bytes, rows[i].len);
		ret = decode(copy, rows[i].len, &pool, &s);
		if (ret != rows[i].ret)
			fail_msg("%s: got %d, want %d", rows[i].what, ret, rows[i].ret);
		if (ret == 0)
			assert_int_equal(s.r, 7);
		free(copy);
	}
}

static void test_values(void **state)
{
	cleanup_cbor_pool struct cbor_pool pool = { 0 };
	struct sample s;

#define DECODE(lit) assert_int_equal(decode(lit, sizeof(lit) - 1, &pool, &s), 0)
	DECODE(WITH("\x61t\x7f\x62hi\x60\x61!\xff"));
	assert_string_equal(s.t.s, "hi!");
	assert_int_equal(s.u, 99);
	DECODE(WITH("\x61"
		    "d\x82\x18h\x18i"));
	assert_int_equal(s.d.len, 2);
	assert_memory_equal(s.d.data, "hi", 2);
	DECODE(WITH("\x61i\x3a\x7f\xff\xff\xff"));
	assert_int_equal(s.i, INT32_MIN);
	DECODE(WITH("\x61i\xc3\x41\x01"));
	assert_int_equal(s.i, -2);
	DECODE(WITH("\x61s\x82\xa1\x61n\x01\xa1\x61n\x02"));
	assert_int_equal(s.s.n, 2);
	assert_int_equal(((struct inner *)s.s.v)[1].n, 2);
	DECODE(WITH("\x61t\x63"
		    "a\0b"));
	assert_true(text_has_nul(s.t));
#undef DECODE
}

/* {"r": 7, "z": [[[...]]]}: at the limit, and one beyond */
static int decode_nested(unsigned depth)
{
	cleanup_cbor_pool struct cbor_pool pool = { 0 };
	uint8_t b[4096] = "\xa2\x61r\x07\x61z";
	struct sample s;
	size_t n = 6;

	for (unsigned i = 0; i < depth; i++)
		b[n++] = 0x81;
	b[n++] = 0;
	return decode(b, n, &pool, &s);
}

static void test_depth(void **state)
{
	assert_int_equal(decode_nested(CBOR_DEPTH_MAX), 0);
	assert_int_equal(decode_nested(CBOR_DEPTH_MAX + 1), -EBADMSG);
	assert_int_equal(decode_nested(4000), -EBADMSG);
}

static void test_list_cap(void **state)
{
	size_t len = 6 + 5 + CBOR_LIST_MAX + 1;
	uint8_t *b = calloc(1, len);

	assert_non_null(b);
	for (uint32_t n = CBOR_LIST_MAX; n <= CBOR_LIST_MAX + 1; n++) {
		cleanup_cbor_pool struct cbor_pool pool = { 0 };
		struct sample s;

		memset(b, 0x60, len);
		memcpy(b, "\xa2\x61r\x07\x61l\x9a", 7);
		store_be32(b + 7, n);
		assert_int_equal(decode(b, len, &pool, &s), n > CBOR_LIST_MAX ? -EBADMSG : 0);
	}
	free(b);
}

/* The reason names the key, for the peer who has to find the mistake. */
static void test_reason(void **state)
{
	cleanup_cbor_pool struct cbor_pool pool = { 0 };
	struct err err = ERR_INIT;
	struct sample s = { 0 };

	assert_int_equal(
		cbor_decode(&sample_schema, "\xa1\x61r\x20", 4, &pool, &s, &err), -EBADMSG);
	assert_string_equal(err.msg, "key 'r': number out of range");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_depth),
		cmocka_unit_test(test_list_cap),
		cmocka_unit_test(test_reason),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
