/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "cli/options.h"

struct target {
	bool flag, other;
	const char *size;
};

static int set_flag(void *t, const char *value, struct err *err)
{
	assert_null(value);
	((struct target *)t)->flag = true;
	return 0;
}

static int set_other(void *t, const char *value, struct err *err)
{
	((struct target *)t)->other = true;
	return 0;
}

static int set_size(void *t, const char *value, struct err *err)
{
	if (strcmp(value, "bad") == 0)
		return err_msg(err, EDOM, "no such size");
	((struct target *)t)->size = value;
	return 0;
}

static const struct option_row rows[] = {
	{ 'f', "flag", NULL, "a flag", set_flag },
	{ 'o', "other", NULL, "another", set_other },
	{ 's', "size", "N", "a size", set_size },
	{ 0 },
};

#define WORDS(...) ((char **)(const char *[]){ "cmd", __VA_ARGS__, NULL })

struct result {
	struct target t;
	const char *args[2];
	int n, rest, rc;
	struct err err;
};

static struct result parse(char **argv)
{
	struct result r = { .err = ERR_INIT };
	int argc = 0;

	while (argv[argc])
		argc++;
	r.rc = options_parse(rows, &r.t, argc, argv, r.args, 1, &r.n, &r.rest, &r.err);
	return r;
}

static void accepts_every_form(void **state)
{
	const char *const forms[][3] = { { "--size", "5" }, { "--size=5" }, { "-s", "5" },
		{ "-s5" }, { "-s=5" }, { "-fs5" } };

	for (unsigned i = 0; i < 6; i++) {
		struct result r = parse(WORDS(forms[i][0], forms[i][1]));

		assert_int_equal(r.rc, 0);
		assert_string_equal(r.t.size, "5");
		assert_int_equal(r.t.flag, i == 5);
	}
}

static void options_stand_anywhere_before_the_dashes(void **state)
{
	struct result r = parse(WORDS("-f", "root", "-o", "--", "-s", "x"));

	assert_int_equal(r.rc, 0);
	assert_true(r.t.flag && r.t.other);
	assert_int_equal(r.n, 1);
	assert_string_equal(r.args[0], "root");
	assert_int_equal(r.rest, 5);
	assert_null(r.t.size);
}

static void expect_error(char **argv, int code, const char *words)
{
	struct result r = parse(argv);

	assert_int_equal(r.rc, -code);
	if (!strstr(r.err.msg, words))
		fail_msg("'%s' does not say '%s'", r.err.msg, words);
}

static void says_what_is_wrong(void **state)
{
	expect_error(WORDS("--bogus"), EINVAL, "unexpected argument '--bogus'");
	expect_error(WORDS("--szie", "1"), EINVAL, "did you mean '--size'?");
	expect_error(WORDS("-x"), EINVAL, "unexpected argument '-x'");
	expect_error(WORDS("-s"), EINVAL, "--size needs a value: N");
	expect_error(WORDS("--flag=1"), EINVAL, "--flag takes no value");
	expect_error(WORDS("--size", "bad"), EDOM, "--size: no such size");
}

static void stops_at_a_word_too_many(void **state)
{
	struct result r = parse(WORDS("-f", "a", "b", "--bogus"));

	assert_int_equal(r.rc, 0);
	assert_int_equal(r.n, 2);
	assert_int_equal(r.rest, 3);
	assert_string_equal(r.args[0], "a");
}

static void help_has_every_row(void **state)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	options_help(rows, f);
	assert_int_equal(fclose(f), 0);
	for (const struct option_row *row = rows; row->name; row++)
		assert_non_null(strstr(text, row->help));
	assert_non_null(strstr(text, "-s, --size N"));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(accepts_every_form),
		cmocka_unit_test(options_stand_anywhere_before_the_dashes),
		cmocka_unit_test(says_what_is_wrong),
		cmocka_unit_test(stops_at_a_word_too_many),
		cmocka_unit_test(help_has_every_row),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
