/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/log.h"

struct seen {
	unsigned n;
	enum log_level level;
	char line[2048];
};

static void keep(void *ctx, enum log_level level, const char *line)
{
	struct seen *seen = ctx;

	seen->n++;
	seen->level = level;
	(void)snprintf(seen->line, sizeof(seen->line), "%s", line);
}

static int restore(void **state)
{
	log_set_sink(NULL, NULL, LOG_WARN);
	log_set_phase_fd(-1);
	return 0;
}

static void test_levels(void **state)
{
	struct seen seen = { 0 };

	log_set_sink(keep, &seen, LOG_INFO);
	log_debug("not wanted");
	assert_int_equal(seen.n, 0);
	log_info("%d of %s", 3, "x");
	assert_int_equal(seen.n, 1);
	assert_int_equal(seen.level, LOG_INFO);
	assert_string_equal(seen.line, "3 of x");
	log_set_sink(keep, &seen, LOG_OFF);
	log_error("not wanted either");
	assert_int_equal(seen.n, 1);
}

static void test_long_lines_are_cut(void **state)
{
	struct seen seen = { 0 };
	char big[4096];

	memset(big, 'x', sizeof(big));
	big[sizeof(big) - 1] = '\0';
	log_set_sink(keep, &seen, LOG_INFO);
	log_info("%s", big);
	assert_int_equal(strlen(seen.line), 1023);
}

static void test_foreign_words_are_harmless(void **state)
{
	char line[] = "a\x1b[2Jb\tc\nd\x7f\xc2\x9b"
		      "e\xc3\xa9";

	log_clean(line);
	assert_string_equal(line, "a?[2Jb\tc?d???"
				  "e\xc3\xa9");
}

static void test_what_is_no_utf8_is_harmless(void **state)
{
	char line[] = "\x9b"
		      "2J\xf0\x9f\x98\x80\xe0\x82\x9b\xe2\x82";

	log_clean(line);
	assert_string_equal(line, "?2J\xf0\x9f\x98\x80?????");
}

static void test_once(void **state)
{
	struct seen seen = { 0 };
	int warned = 0;

	log_set_sink(keep, &seen, LOG_INFO);
	for (int i = 0; i < 10; i++)
		log_once(warned, LOG_WARN, "bad ring %d", i);
	assert_int_equal(seen.n, 1);
	assert_string_equal(seen.line, "bad ring 0");
}

static void test_phase(void **state)
{
	uint64_t before = clock_mono_ns(), at = 0;
	char line[100] = { 0 };
	int fds[2];

	log_phase("nowhere");
	assert_int_equal(pipe(fds), 0);
	log_set_phase_fd(fds[1]);
	log_phase("kernel");
	assert_true(read(fds[0], line, sizeof(line) - 1) > 0);
	assert_int_equal(sscanf(line, "phase kernel %" SCNu64, &at), 1);
	assert_true(at >= before && at <= clock_mono_ns());
	close(fds[0]);
	close(fds[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_levels, restore),
		cmocka_unit_test_teardown(test_long_lines_are_cut, restore),
		cmocka_unit_test(test_foreign_words_are_harmless),
		cmocka_unit_test(test_what_is_no_utf8_is_harmless),
		cmocka_unit_test_teardown(test_once, restore),
		cmocka_unit_test_teardown(test_phase, restore),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
