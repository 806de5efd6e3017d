/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guest/workdir.h"

/* All paths are below a folder of the test's own, which is the working directory. */
static int enter_folder(void **state)
{
	char path[] = "/tmp/workdir-test-XXXXXX";

	(void)umask(022);
	if (!mkdtemp(path) || chdir(path) < 0)
		return -1;
	*state = strdup(path);
	return *state ? 0 : -1;
}

static int leave_folder(void **state)
{
	char cmd[64];

	(void)snprintf(cmd, sizeof(cmd), "rm -r %s", (char *)*state);
	free(*state);
	return chdir("/") < 0 || system(cmd) != 0 ? -1 : 0;
}

static void made(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	assert_true(S_ISDIR(st.st_mode));
	assert_int_equal(st.st_mode & 07777, 0755);
	assert_int_equal(st.st_uid, geteuid());
}

static void makes_what_is_missing(void **state)
{
	char path[PATH_MAX];

	(void)snprintf(path, sizeof(path), "%s//abs/./b/c//", (char *)*state);
	assert_int_equal(workdir_make(path), 0);
	made("abs");
	made("abs/b/c");
	assert_int_equal(workdir_make(path), 0);
	assert_int_equal(workdir_make("rel/x/../y"), 0);
	made("rel/y");
	assert_int_equal(chmod("rel", 0700), 0);
	assert_int_equal(workdir_make("rel/z"), 0);
	made("rel/z");
	assert_int_equal(chmod("rel", 0755), 0); /* it was left as it was; now made() likes it */
	made("rel");
	assert_int_equal(workdir_make("/"), 0);
	assert_int_equal(workdir_make(""), 0);
}

/* To folders, to other links, to what is missing itself; relative ones count from where they are.
 */
static void follows_links(void **state)
{
	char target[PATH_MAX];

	assert_int_equal(workdir_make("real/sub"), 0);
	assert_int_equal(symlink("../real/new", "real/one"), 0);
	assert_int_equal(workdir_make("real/one/deep"), 0);
	made("real/new/deep");
	(void)snprintf(target, sizeof(target), "%s/real/two", (char *)*state);
	assert_int_equal(symlink("sub/three/", "real/two"), 0);
	assert_int_equal(symlink(target, "abs-link"), 0);
	assert_int_equal(workdir_make("abs-link/end"), 0);
	made("real/sub/three/end");
	assert_int_equal(symlink("gone", "last"), 0);
	assert_int_equal(workdir_make("last"), 0);
	made("gone");
}

static void says_what_is_in_the_way(void **state)
{
	char path[PATH_MAX + 1];
	int fd = open("file", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	(void)close(fd);
	assert_int_equal(workdir_make("file/x"), -ENOTDIR);
	assert_int_equal(symlink("loop/x", "loop"), 0);
	assert_int_equal(workdir_make("loop/y"), -ELOOP);
	assert_int_equal(symlink("/proc/self/no-such-file", "proc"), 0);
	assert_int_equal(workdir_make("proc/y"), -ENOENT);
	memset(path, 'a', PATH_MAX);
	path[PATH_MAX] = '\0';
	assert_int_equal(workdir_make(path), -ENAMETOOLONG);
	path[300] = '\0';
	assert_int_equal(workdir_make(path), -ENAMETOOLONG);
}

/* What a link leads to and what comes behind it do not fit into one path. */
static void bounds_what_links_add(void **state)
{
	char target[PATH_MAX], path[PATH_MAX];
	size_t len = 0;

	while (len + 250 < 3000)
		len += (size_t)snprintf(target + len, sizeof(target) - len, "%0200d/", 0);
	assert_int_equal(symlink(target, "long"), 0);
	len = (size_t)snprintf(path, sizeof(path), "long");
	while (len + 250 < 3000)
		len += (size_t)snprintf(path + len, sizeof(path) - len, "/%0200d", 0);
	assert_int_equal(workdir_make(path), -ENAMETOOLONG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(makes_what_is_missing, enter_folder, leave_folder),
		cmocka_unit_test_setup_teardown(follows_links, enter_folder, leave_folder),
		cmocka_unit_test_setup_teardown(
			says_what_is_in_the_way, enter_folder, leave_folder),
		cmocka_unit_test_setup_teardown(bounds_what_links_add, enter_folder, leave_folder),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
