/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "lib/tail.h"

static void keeps_the_last_lines(void **state)
{
	struct tail t = { 0 };
	char out[64];

	assert_int_equal(tail_lines(&t, 3, " | ", out, sizeof(out)), 0);
	assert_string_equal(out, "");
	tail_add(&t, "one\ntwo\n\nthree\nfo", 17);
	tail_add(&t, "ur\n", 3);
	tail_lines(&t, 2, " | ", out, sizeof(out));
	assert_string_equal(out, "three | four");
	tail_lines(&t, 99, "; ", out, sizeof(out));
	assert_string_equal(out, "one; two; three; four");
	tail_lines(&t, 99, "; ", out, 12);
	assert_string_equal(out, "three; four");
	tail_lines(&t, 99, "; ", out, 11);
	assert_string_equal(out, "four");
	tail_lines(&t, 99, "; ", out, 3);
	assert_string_equal(out, "ur");
}

static void forgets_what_does_not_fit(void **state)
{
	struct tail t = { 0 };
	char big[3 * TAIL_MAX], out[TAIL_MAX + 16];

	memset(big, 'x', sizeof(big));
	tail_add(&t, "old\n", 4);
	tail_add(&t, big, sizeof(big));
	tail_add(&t, "\nnew", 4);
	assert_int_equal(tail_lines(&t, 99, "\n", out, sizeof(out)), TAIL_MAX);
	assert_string_equal(out + TAIL_MAX - 4, "\nnew");
	assert_null(strstr(out, "old"));
}

static void finds_the_last_line_with_a_word(void **state)
{
	static const char said[] = "[1] panic: a\n[2] panic: \x1b[1mb\r\nbye\n";
	struct tail t = { 0 };
	char out[16];

	assert_int_equal(tail_line_with(&t, "panic", out, sizeof(out)), 0);
	tail_add(&t, said, sizeof(said) - 1);
	assert_int_equal(tail_line_with(&t, "panic", out, sizeof(out)), 8);
	assert_string_equal(out, "panic: b");
	assert_int_equal(tail_line_with(&t, "bye", out, 3), 2);
	assert_string_equal(out, "by");
	assert_int_equal(tail_line_with(&t, "never", out, sizeof(out)), 0);
	assert_string_equal(out, "");
}

static void drops_terminal_control(void **state)
{
	static const char evil[] = "\x1b[31mred\x1b[0m\a \xc3\xa9\tx\r\n\x1b]0;t";
	struct tail t = { 0 };
	char out[64];

	tail_add(&t, evil, sizeof(evil) - 1);
	tail_lines(&t, 9, "|", out, sizeof(out));
	assert_string_equal(out, "red ?? x|0;t");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keeps_the_last_lines),
		cmocka_unit_test(forgets_what_does_not_fit),
		cmocka_unit_test(finds_the_last_line_with_a_word),
		cmocka_unit_test(drops_terminal_control),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
