/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>

#include "lib/num.h"

static void test_parse_u64(void **state)
{
	struct err err = ERR_INIT;
	uint64_t v = 77;

	assert_int_equal(num_parse_u64("12", "n", 0, 100, &v, &err), 0);
	assert_int_equal(v, 12);
	assert_int_equal(num_parse_u64("18446744073709551615", "n", 0, UINT64_MAX, &v, NULL), 0);
	assert_true(v == UINT64_MAX);
	v = 5;
	assert_int_equal(
		num_parse_u64("18446744073709551616", "n", 0, UINT64_MAX, &v, &err), -ERANGE);
	assert_int_equal(num_parse_u64("101", "n", 0, 100, &v, &err), -ERANGE);
	assert_string_equal(err.msg, "n 101 is out of range: 0 to 100 are allowed");
	assert_int_equal(num_parse_u64("-1", "n", 0, 100, &v, &err), -EINVAL);
	assert_int_equal(num_parse_u64("", "n", 0, 100, &v, &err), -EINVAL);
	assert_int_equal(num_parse_u64("1x", "n", 0, 100, &v, &err), -EINVAL);
	assert_int_equal(v, 5);
}

static void test_parse_size(void **state)
{
	static const struct {
		const char *s;
		uint64_t want;
	} good[] = {
		{ "0", 0 },
		{ "512", 512 * MIB(1) },
		{ "64K", 65536 },
		{ "64KiB", 65536 },
		{ "1.5G", 1610612736 },
		{ "2gb", GIB(2) },
		{ "7b", 7 },
		{ "1T", GIB(1024) },
	};
	static const char *const bad[] = { "", "x", "1.", "1x", "1Kx", "-1", "1 G",
		"99999999999T" };
	uint64_t v;

	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		assert_int_equal(num_parse_size(good[i].s, "size", MIB(1), &v, NULL), 0);
		assert_true(v == good[i].want);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_true(num_parse_size(bad[i], "size", MIB(1), &v, NULL) < 0);
}

static void test_range_ok(void **state)
{
	assert_true(range_ok(0, 0, 0));
	assert_true(range_ok(4, 4, 8));
	assert_false(range_ok(4, 5, 8));
	assert_false(range_ok(UINT64_MAX, 2, 8));
	assert_false(range_ok(2, UINT64_MAX, 8));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse_u64),
		cmocka_unit_test(test_parse_size),
		cmocka_unit_test(test_range_ok),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
