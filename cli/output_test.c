/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"
#include "cli/output.h"
#include "lib/num.h"

/* The command line's, which the test program has not. */
int cli_error(const char *fmt, ...)
{
	return EXIT_FAILED;
}

static void sizes(void **state)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} cases[] = { { 0, "0 B" }, { 1023, "1023 B" }, { 1024, "1 KiB" }, { 1536, "1.5 KiB" },
		{ MIB(512), "512 MiB" }, { GIB(4), "4 GiB" }, { MIB(1536), "1.5 GiB" },
		{ UINT64_MAX, "16777216.0 TiB" } };
	char text[OUTPUT_TEXT_MAX];

	for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
		output_size(cases[i].bytes, text);
		assert_string_equal(text, cases[i].text);
	}
}

static void times(void **state)
{
	char text[OUTPUT_TEXT_MAX];

	assert_int_equal(setenv("TZ", "UTC-2", 1), 0);
	tzset();
	output_time("2026-11-21 21:45:40.104954182", text);
	assert_string_equal(text, "2026-11-21 23:45:40");
	output_time("2026-11-21T21:45:40Z", text);
	assert_string_equal(text, "2026-11-21 23:45:40");
	output_time(NULL, text);
	assert_string_equal(text, "-");
	output_time("yesterday", text);
	assert_string_equal(text, "-");
	output_rfc3339("2026-11-21 21:45:40.104954182", text);
	assert_string_equal(text, "2026-11-21T21:45:40.104954182+00:00");
	output_rfc3339("2026-11-21T21:45:40Z", text);
	assert_string_equal(text, "2026-11-21T21:45:40Z");
	output_rfc3339(NULL, text);
	assert_string_equal(text, "");
}

static void digests(void **state)
{
	char text[OUTPUT_TEXT_MAX];

	output_short_digest("sha256:0123456789abcdef0123456789abcdef", text);
	assert_string_equal(text, "sha256:0123456789ab");
	output_short_digest("", text);
	assert_string_equal(text, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes),
		cmocka_unit_test(times),
		cmocka_unit_test(digests),
	};

	return cmocka_run_group_tests_name("cli_output", tests, NULL, NULL);
}
