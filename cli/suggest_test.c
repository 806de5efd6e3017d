/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "cli/cli.h"

static void suggests_what_is_close(void **state)
{
	static const char *const names[] = { "run", "restart", "inspect", NULL };

	assert_string_equal(cli_suggest("rnu", names), "run");
	assert_string_equal(cli_suggest("restrat", names), "restart");
	assert_string_equal(cli_suggest("inspct", names), "inspect");
	assert_null(cli_suggest("bogus", names));
	assert_null(cli_suggest("", names));
	assert_null(cli_suggest("a-word-far-longer-than-any-command-could-be-named", names));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(suggests_what_is_close) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
