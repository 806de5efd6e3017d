/* SPDX-License-Identifier: Apache-2.0 */
/* The plan of mounts: order and refusals. Mounting itself takes a machine. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

#include <cmocka.h>

#include "guest/mounts.h"
#include "lib/cleanup.h"
#include "lib/num.h"

static int plan_of(
	const char *const *paths, size_t n, struct mount_plan_entry **ret, struct err *err)
{
	struct dir_mount dirs[8];
	struct bootstrap boot = { .dir_mounts = { dirs, n } };

	assert_true(n <= ARRAY_LEN(dirs));
	for (size_t i = 0; i < n; i++)
		dirs[i] =
			(struct dir_mount){ text_of("tag"), text_of(paths[i]), { .nodev = true } };
	return mounts_plan(&boot, ret, err);
}

static void test_order(void **state)
{
	static const char *const paths[] = { "/b/c/d", "/z", "//b///c/", "/a/./b" };
	static const char *const want[] = { "/z", "/a/b", "/b/c", "/b/c/d" };
	cleanup_free struct mount_plan_entry *plan = NULL;

	assert_int_equal(plan_of(paths, 4, &plan, NULL), 4);
	for (size_t i = 0; i < ARRAY_LEN(want); i++) {
		assert_string_equal(plan[i].path, want[i]);
		assert_string_equal(plan[i].type, "virtiofs");
		assert_int_equal(plan[i].flags, MS_RELATIME | MS_NODEV);
	}
}

static void check_refused(const char *path, const char *reason)
{
	const char *const paths[] = { "/fine", path };
	struct mount_plan_entry *plan = NULL;
	struct err err = ERR_INIT;

	assert_int_equal(plan_of(paths, 2, &plan, &err), -EINVAL);
	assert_null(plan);
	if (!strstr(err.msg, reason))
		fail_msg("'%s': got '%s', want '%s'", path, err.msg, reason);
}

static void test_refused(void **state)
{
	check_refused("", "not an absolute path");
	check_refused("relative", "not an absolute path");
	check_refused("/", "the root itself");
	check_refused("/./", "the root itself");
	check_refused("/a/../b", "'..' in the path");
	check_refused("/a/..", "'..' in the path");
	check_refused("/fine/", "two mounts on '/fine'");
}

static void test_long_path(void **state)
{
	char path[5000];

	memset(path, 'x', sizeof(path) - 1);
	path[0] = '/';
	path[sizeof(path) - 1] = '\0';
	check_refused(path, "path too long");
}

static void test_tmpfs(void **state)
{
	struct tmpfs_mount tmps[] = { { text_of("/tmp"), 0, 0, { 0 } },
		{ text_of("/var/cache"), 64, 0, { .noexec = true } },
		{ text_of("/x"), 0, 01700, { .readonly = true } } };
	struct bootstrap boot = { .tmpfs_mounts = { tmps, 3 } };
	cleanup_free struct mount_plan_entry *plan = NULL;

	assert_int_equal(mounts_plan(&boot, &plan, NULL), 3);
	assert_string_equal(plan[0].data, "mode=1777");
	assert_string_equal(plan[1].data, "mode=1700");
	assert_int_equal(plan[1].flags, MS_RELATIME | MS_RDONLY);
	assert_string_equal(plan[2].data, "size=67108864,mode=755");
	assert_int_equal(plan[2].flags, MS_RELATIME | MS_NOEXEC);
}

static void test_none(void **state)
{
	struct bootstrap boot = { 0 };
	struct mount_plan_entry *plan = NULL;

	assert_int_equal(mounts_plan(&boot, &plan, NULL), 0);
	assert_null(plan);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_long_path),
		cmocka_unit_test(test_tmpfs),
		cmocka_unit_test(test_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
