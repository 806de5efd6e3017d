/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "net/name.h"
#include "net/name_index.h"

static struct ip_addr v4(uint8_t last)
{
	return IP_V4(8, 8, 8, last);
}

static void test_canon(void **state)
{
	char out[NAME_BUF], longest[300];

	assert_int_equal(name_canon("..Example.COM.", 14, out), 0);
	assert_string_equal(out, "example.com");
	assert_int_equal(name_canon(out, strlen(out), out), 0);
	assert_int_equal(name_canon("_dmarc.x", 8, out), 0);
	assert_true(name_canon("", 0, out) < 0);
	assert_true(name_canon("...", 3, out) < 0);
	assert_true(name_canon("a..b", 4, out) < 0);
	assert_true(name_canon("a b", 3, out) < 0);
	assert_true(name_canon("a\0b", 3, out) < 0);
	assert_true(name_canon("http://x", 8, out) < 0);
	assert_true(name_canon("x:80", 4, out) < 0);
	memset(longest, 'a', sizeof(longest));
	assert_int_equal(name_canon(longest, 63, out), 0);
	assert_true(name_canon(longest, 64, out) < 0);
	for (size_t i = 50; i < sizeof(longest); i += 51)
		longest[i] = '.';
	assert_int_equal(name_canon(longest, 253, out), 0);
	assert_true(name_canon(longest, 254, out) < 0);
}

static void test_under(void **state)
{
	assert_true(name_under("example.com", "example.com"));
	assert_true(name_under("a.b.example.com", "example.com"));
	assert_false(name_under("evilexample.com", "example.com"));
	assert_false(name_under("com", "example.com"));
	assert_int_equal(name_labels("a.b.c"), 3);
}

static void test_replace_and_expire(void **state)
{
	struct name_index *ix = name_index_new();
	struct ip_addr a[] = { v4(1), v4(2), v4(2) }, six;

	assert_int_equal(ip_parse("2606::1", &six), 0);
	assert_int_equal(name_index_put(ix, "x.org", true, a, 3, 100), 0);
	assert_true(name_index_has(ix, "x.org", &a[0], 99));
	assert_false(name_index_has(ix, "x.org", &a[0], 100));
	assert_true(name_index_has_under(ix, "org", &a[1], 50));
	/* families are independent; a new answer replaces the old one whole */
	assert_int_equal(name_index_put(ix, "x.org", false, &six, 1, 100), 0);
	assert_int_equal(name_index_put(ix, "x.org", true, &a[1], 1, 200), 0);
	assert_false(name_index_has(ix, "x.org", &a[0], 50));
	assert_true(name_index_has(ix, "x.org", &a[1], 150));
	assert_true(name_index_has(ix, "x.org", &six, 50));
	/* an address may belong to several names */
	assert_int_equal(name_index_put(ix, "y.org", true, &a[1], 1, 200), 0);
	name_index_clear(ix, "x.org", true);
	assert_false(name_index_has(ix, "x.org", &a[1], 50));
	assert_true(name_index_has(ix, "y.org", &a[1], 50));
	/* an empty answer forgets */
	assert_int_equal(name_index_put(ix, "y.org", true, NULL, 0, 200), 0);
	assert_false(name_index_has(ix, "y.org", &a[1], 50));
	name_index_sweep(ix, 100);
	assert_int_equal(name_index_count(ix), 0);
	name_index_free(ix);
}

static void test_bounds(void **state)
{
	struct name_index *ix = name_index_new();
	struct ip_addr a[NAME_INDEX_ADDRS + 5];
	char name[32];

	for (unsigned i = 0; i < NAME_INDEX_ADDRS + 5; i++)
		a[i] = v4((uint8_t)i);
	for (unsigned i = 0; i < NAME_INDEX_MAX + 50; i++) {
		(void)snprintf(name, sizeof(name), "n%u.org", i);
		assert_int_equal(
			name_index_put(ix, name, true, a, NAME_INDEX_ADDRS + 5, 100 + i), 0);
	}
	assert_int_equal(name_index_count(ix), NAME_INDEX_MAX);
	assert_false(name_index_has(ix, "n0.org", &a[0], 0)); /* the first to expire made room */
	assert_true(name_index_has(ix, name, &a[NAME_INDEX_ADDRS - 1], 0));
	assert_false(name_index_has(ix, name, &a[NAME_INDEX_ADDRS], 0));
	name_index_free(ix);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_canon),
		cmocka_unit_test(test_under),
		cmocka_unit_test(test_replace_and_expire),
		cmocka_unit_test(test_bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
