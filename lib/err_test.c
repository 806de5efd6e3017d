/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>

#include <string.h>

#include "lib/err.h"

static void test_set(void **state)
{
	struct err err = ERR_INIT;

	assert_int_equal(err_set(&err, ENOENT, "open '%s'", "x"), -ENOENT);
	assert_int_equal(err.code, ENOENT);
	assert_string_equal(err.msg, "open 'x': No such file or directory");
	assert_int_equal(err_set(&err, -EPERM, "kick"), -EPERM);
	assert_int_equal(err.code, EPERM);
	assert_int_equal(err_set(NULL, EPERM, "kick"), -EPERM);
}

static void test_zero_is_a_failure_all_the_same(void **state)
{
	struct err err = ERR_INIT;

	assert_int_equal(err_set(&err, 0, "read"), -EIO);
	assert_int_equal(err.code, EIO);
	assert_int_equal(err_msg(NULL, 0, "read"), -EIO);
}

static void test_msg_and_wrap(void **state)
{
	struct err err = ERR_INIT;

	assert_int_equal(err_msg(&err, EINVAL, "no tag in '%s'", "a:"), -EINVAL);
	assert_string_equal(err.msg, "no tag in 'a:'");
	assert_int_equal(err_wrap(&err, "pull %s", "debian"), -EINVAL);
	assert_string_equal(err.msg, "pull debian: no tag in 'a:'");
	err_clear(&err);
	assert_int_equal(err.code, 0);
	assert_string_equal(err.msg, "");
	assert_int_equal(err_wrap(&err, "more"), -EIO);
	assert_int_equal(err_wrap(NULL, "more"), -EIO);
	err_clear(NULL);
}

static void test_long_messages_are_cut(void **state)
{
	char big[2 * ERR_MSG_MAX];
	struct err err = ERR_INIT;

	memset(big, 'x', sizeof(big));
	big[sizeof(big) - 1] = '\0';
	(void)err_set(&err, EIO, "%s", big);
	assert_int_equal(strlen(err.msg), ERR_MSG_MAX - 1);
	(void)err_wrap(&err, "%s", big);
	assert_int_equal(strlen(err.msg), ERR_MSG_MAX - 1);
	(void)err_msg(&err, EIO, "short");
	(void)err_wrap(&err, "%s", big);
	assert_int_equal(strlen(err.msg), ERR_MSG_MAX - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_set),
		cmocka_unit_test(test_zero_is_a_failure_all_the_same),
		cmocka_unit_test(test_msg_and_wrap),
		cmocka_unit_test(test_long_messages_are_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
