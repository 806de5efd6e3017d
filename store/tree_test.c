/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <sys/resource.h>

#include "store/test_util.h"

static void removes_files_folders_and_nothing(void **state)
{
	struct scratch *s = *state;
	struct err err = ERR_INIT;

	assert_int_equal(mkdirat(s->fd, "t", 0700), 0);
	assert_int_equal(mkdirat(s->fd, "t/a", 0700), 0);
	assert_int_equal(mkdirat(s->fd, "t/a/b", 0700), 0);
	put_file(s->fd, "t/a/b/f", "x", 1);
	put_file(s->fd, "t/g", "x", 1);
	put_file(s->fd, "file", "x", 1);
	assert_int_equal(tree_remove(s->fd, "t", &err), 0);
	assert_false(exists(s->fd, "t"));
	assert_int_equal(tree_remove(s->fd, "file", &err), 0);
	assert_false(exists(s->fd, "file"));
	assert_int_equal(tree_remove(s->fd, "nothing", &err), 0);
}

static void never_follows_a_link(void **state)
{
	struct scratch *s = *state;
	struct err err = ERR_INIT;

	assert_int_equal(mkdirat(s->fd, "kept", 0700), 0);
	put_file(s->fd, "kept/file", "x", 1);
	assert_int_equal(mkdirat(s->fd, "t", 0700), 0);
	assert_int_equal(symlinkat("../kept", s->fd, "t/up"), 0);
	assert_int_equal(symlinkat("/", s->fd, "t/root"), 0);
	assert_int_equal(symlinkat("kept", s->fd, "link"), 0);
	assert_int_equal(tree_remove(s->fd, "t", &err), 0);
	assert_int_equal(tree_remove(s->fd, "link", &err), 0);
	assert_false(exists(s->fd, "link"));
	assert_true(exists(s->fd, "kept/file"));
}

/* As deep as no path may be long, with names that are in the way, and few descriptors allowed. */
static void removes_what_is_very_deep(void **state)
{
	struct scratch *s = *state;
	struct rlimit old, low;
	struct err err = ERR_INIT;
	int fd = -1, next;

	assert_int_equal(mkdirat(s->fd, "t", 0700), 0);
	assert_int_equal(mkdirat(s->fd, "t/moved-0", 0700), 0);
	put_file(s->fd, "t/moved-0/moved-0", "x", 1);
	put_file(s->fd, "t/moved-1", "x", 1);
	fd = openat(s->fd, "t", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (unsigned i = 0; i < 3000; i++) {
		assert_int_equal(mkdirat(fd, "moved-2", 0700), 0);
		put_file(fd, "f", "x", 1);
		next = openat(fd, "moved-2", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		assert_true(next >= 0);
		close(fd);
		fd = next;
	}
	close(fd);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	low = old;
	low.rlim_cur = 32;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	assert_int_equal(tree_remove(s->fd, "t", &err), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_false(exists(s->fd, "t"));
}

static void removes_what_cannot_be_read(void **state)
{
	struct scratch *s = *state;
	struct err err = ERR_INIT;

	assert_int_equal(mkdirat(s->fd, "t", 0700), 0);
	assert_int_equal(mkdirat(s->fd, "t/a", 0700), 0);
	assert_int_equal(mkdirat(s->fd, "t/a/b", 0700), 0);
	put_file(s->fd, "t/a/b/f", "x", 1);
	assert_int_equal(fchmodat(s->fd, "t/a/b", 0, 0), 0);
	assert_int_equal(fchmodat(s->fd, "t/a", 0500, 0), 0);
	assert_int_equal(fchmodat(s->fd, "t", 0500, 0), 0);
	assert_int_equal(tree_remove(s->fd, "t", &err), 0);
	assert_false(exists(s->fd, "t"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		scratch_test(removes_files_folders_and_nothing),
		scratch_test(never_follows_a_link),
		scratch_test(removes_what_is_very_deep),
		scratch_test(removes_what_cannot_be_read),
	};

	return cmocka_run_group_tests_name("store_tree", tests, NULL, NULL);
}
