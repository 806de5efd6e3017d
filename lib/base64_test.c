/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base64.h"
#include "lib/num.h"

static void decodes(void **state)
{
	static const struct {
		const char *text, *want;
	} rows[] = {
		{ "", "" },
		{ "Zg==", "f" },
		{ "Zg", "f" },
		{ "Zm8=", "fo" },
		{ "Zm9vYmFy", "foobar" },
		{ "Zm9v\r\n\tYm Fy\n", "foobar" },
		{ "+/+/", "\xfb\xff\xbf" },
	};
	uint8_t out[16];
	size_t n;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(base64_decode(rows[i].text, strlen(rows[i].text), out, &n), 0);
		assert_int_equal(n, strlen(rows[i].want));
		assert_memory_equal(out, rows[i].want, n);
	}
}

static void refuses(void **state)
{
	static const char *const rows[] = { "Z", "Zh==", "Zm9v!", "Z=g=", "Zg===", "Zm9=v",
		"-_-_" };
	uint8_t out[16];
	size_t n = 7;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_int_equal(base64_decode(rows[i], strlen(rows[i]), out, &n), -EBADMSG);
	assert_int_equal(base64_decode("Zg\0\0", 4, out, &n), -EBADMSG);
	assert_int_equal(n, 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(decodes),
		cmocka_unit_test(refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
