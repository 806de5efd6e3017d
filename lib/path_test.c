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

#include "lib/cleanup.h"
#include "lib/num.h"
#include "lib/path.h"

typedef int open_fn(int, const char *, int, mode_t, int *, struct err *);

/*
 * Below a scratch folder: out/secret lies outside; root/ holds dir/sub/file and symlinks that try
 * every way out. Each case runs on both implementations and must give the same answer.
 */
struct fixture {
	char dir[64];
	int top, root;
};

static void put(int dirfd, const char *path, const char *text)
{
	int fd = openat(dirfd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static void link_to(const struct fixture *f, const char *target, const char *name)
{
	assert_int_equal(symlinkat(target, f->root, name), 0);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	strcpy(f->dir, "/tmp/path_test.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	f->top = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(mkdirat(f->top, "out", 0700), 0);
	assert_int_equal(mkdirat(f->top, "root", 0700), 0);
	f->root = openat(f->top, "root", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(mkdirat(f->root, "dir", 0700), 0);
	assert_int_equal(mkdirat(f->root, "dir/sub", 0700), 0);
	put(f->top, "out/secret", "secret");
	put(f->root, "dir/sub/file", "inside");
	put(f->root, "secret", "decoy");
	link_to(f, "dir/sub/file", "rel");
	link_to(f, "/dir/sub/file", "abs");
	link_to(f, "../out/secret", "escape_rel");
	link_to(f, "../../../../../../secret", "many_dots");
	link_to(f, "loop_b", "loop_a");
	link_to(f, "loop_a", "loop_b");
	link_to(f, "nowhere", "dangling");
	link_to(f, "dir/", "slashed");
	link_to(f, "/", "top");
	link_to(f, "slashed/sub", "two");
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char cmd[128];

	(void)snprintf(cmd, sizeof(cmd), "rm -rf '%s'", f->dir);
	close(f->root);
	close(f->top);
	free(f);
	return system(cmd);
}

static void expect_text(open_fn *fn, int root, const char *path, const char *want)
{
	cleanup_fd int fd = -1;
	struct err err = ERR_INIT;
	char got[32] = { 0 };

	if (fn(root, path, O_RDONLY, 0, &fd, &err) < 0)
		fail_msg("%s: %s", path, err.msg);
	assert_true(read(fd, got, sizeof(got) - 1) >= 0);
	assert_string_equal(got, want);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

static void expect_error(open_fn *fn, int root, const char *path, int flags, int code)
{
	struct err err = ERR_INIT;
	int fd = -7, r = fn(root, path, flags, 0600, &fd, &err);

	if (r != -code)
		fail_msg("%s: got %d, not %d", path, r, -code);
	assert_int_equal(err.code, code);
	assert_int_equal(fd, -7);
}

static void check_lookup(open_fn *fn, const struct fixture *f)
{
	static const char *const inside[] = { "dir/sub/file", "/dir/sub/file", "//dir//./sub/file",
		"../../dir/sub/file", "dir/../dir/sub/../sub/file", "rel", "abs", "top/top/rel",
		"slashed/sub/file", "two/file", "two/../sub/file" };
	static const char *const decoy[] = { "secret", "many_dots", "../secret", "/../secret",
		"dir/../../secret", "top/../secret", "two/../../../secret" };

	for (size_t i = 0; i < ARRAY_LEN(inside); i++)
		expect_text(fn, f->root, inside[i], "inside");
	for (size_t i = 0; i < ARRAY_LEN(decoy); i++)
		expect_text(fn, f->root, decoy[i], "decoy");
	expect_error(fn, f->root, "escape_rel", O_RDONLY, ENOENT);
	expect_error(fn, f->root, "../out/secret", O_RDONLY, ENOENT);
	expect_error(fn, f->root, "loop_a", O_RDONLY, ELOOP);
	expect_error(fn, f->root, "loop_a/x", O_RDONLY, ELOOP);
	expect_error(fn, f->root, "dangling", O_RDONLY, ENOENT);
	expect_error(fn, f->root, "", O_RDONLY, ENOENT);
	expect_error(fn, f->root, "secret/", O_RDONLY, ENOTDIR);
	expect_error(fn, f->root, "secret/x", O_RDONLY, ENOTDIR);
	expect_error(fn, f->root, "secret/..", O_RDONLY, ENOTDIR);
	expect_error(fn, f->root, "rel", O_RDONLY | O_NOFOLLOW, ELOOP);
	expect_error(fn, f->root, "rel", O_RDONLY | O_DIRECTORY, ENOTDIR);
	expect_error(fn, f->root, "rel", O_PATH | O_DIRECTORY, ENOTDIR);
	expect_error(fn, f->top, "out", O_WRONLY, EISDIR);
}

static void check_names(open_fn *fn, const struct fixture *f)
{
	char longer[NAME_MAX + 2], path[PATH_MAX + 1];

	memset(longer, 'n', sizeof(longer));
	longer[sizeof(longer) - 1] = '\0';
	memset(path, '/', sizeof(path));
	path[sizeof(path) - 1] = '\0';
	expect_error(fn, f->root, longer, O_RDONLY, ENAMETOOLONG);
	expect_error(fn, f->root, path, O_RDONLY, ENAMETOOLONG);
}

static void check_directories(open_fn *fn, const struct fixture *f)
{
	static const char *const paths[] = { "/", ".", "..", "top", "dir/..", "dir/../..", "top/" };
	struct stat root, got;

	assert_int_equal(fstat(f->root, &root), 0);
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		cleanup_fd int fd = -1;

		assert_int_equal(fn(f->root, paths[i], O_RDONLY | O_DIRECTORY, 0, &fd, NULL), 0);
		assert_int_equal(fstat(fd, &got), 0);
		assert_int_equal(got.st_ino, root.st_ino);
	}
}

static void check_path_flags(open_fn *fn, const struct fixture *f)
{
	cleanup_fd int link = -1, file = -1;
	struct stat st;

	assert_int_equal(fn(f->root, "rel", O_PATH | O_NOFOLLOW, 0, &link, NULL), 0);
	assert_int_equal(fstat(link, &st), 0);
	assert_true(S_ISLNK(st.st_mode));
	assert_int_equal(fn(f->root, "rel", O_PATH, 0, &file, NULL), 0);
	assert_int_equal(fstat(file, &st), 0);
	assert_true(S_ISREG(st.st_mode));
}

static void check_create(open_fn *fn, const struct fixture *f)
{
	const int flags = O_WRONLY | O_CREAT;
	cleanup_fd int a = -1, b = -1;
	struct stat st;

	/* created where the dangling link points, as open(2) does */
	assert_int_equal(fn(f->root, "dangling", flags, 0640, &a, NULL), 0);
	assert_int_equal(fstatat(f->root, "nowhere", &st, 0), 0);
	assert_int_equal(st.st_mode & 0777, 0640 & ~022);
	expect_error(fn, f->root, "dangling", flags | O_EXCL, EEXIST);
	assert_int_equal(fn(f->root, "/dir/../../new", flags | O_EXCL, 0600, &b, NULL), 0);
	assert_int_equal(fstatat(f->root, "new", &st, 0), 0);
	assert_int_equal(faccessat(f->top, "new", F_OK, 0), -1);
	assert_int_equal(unlinkat(f->root, "new", 0), 0);
	assert_int_equal(unlinkat(f->root, "nowhere", 0), 0);
	expect_error(fn, f->root, "escape_rel", flags, ENOENT);
	expect_error(fn, f->root, ".", flags, EISDIR);
}

static void check_all(open_fn *fn, const struct fixture *f)
{
	check_lookup(fn, f);
	check_names(fn, f);
	check_directories(fn, f);
	check_path_flags(fn, f);
	check_create(fn, f);
}

static void test_kernel(void **state)
{
	umask(022);
	check_all(path_open_beneath, *state);
}

static void test_walk(void **state)
{
	umask(022);
	check_all(path_open_beneath_walk, *state);
}

static unsigned open_fds(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void test_walk_bounds_depth(void **state)
{
	const struct fixture *f = *state;
	unsigned before = open_fds();
	char path[2 * 300 + 1] = "";

	/* d/d/d/...: deeper than the walk is willing to hold open */
	for (int i = 0; i < 300; i++) {
		strcat(path, i ? "/d" : "d");
		if (i < 260)
			assert_int_equal(path_mkdirs_beneath(f->root, path, 0700, NULL), 0);
	}
	expect_error(path_open_beneath_walk, f->root, path, O_RDONLY, ENAMETOOLONG);
	path[2 * 200 - 1] = '\0';
	cleanup_fd int fd = -1;
	assert_int_equal(
		path_open_beneath_walk(f->root, path, O_RDONLY | O_DIRECTORY, 0, &fd, NULL), 0);
	assert_int_equal(open_fds(), before + 1);
}

static void test_mkdirs(void **state)
{
	const struct fixture *f = *state;
	struct stat st;

	umask(022);
	assert_int_equal(path_mkdirs_beneath(f->root, "a/b//c/", 0755, NULL), 0);
	assert_int_equal(path_mkdirs_beneath(f->root, "/a/b/c", 0755, NULL), 0);
	assert_int_equal(fstatat(f->root, "a/b/c", &st, 0), 0);
	assert_true(S_ISDIR(st.st_mode));
	assert_int_equal(st.st_mode & 0777, 0755);
	assert_int_equal(path_mkdirs_beneath(f->root, "two/x", 0755, NULL), 0);
	assert_int_equal(faccessat(f->root, "dir/sub/x", F_OK, 0), 0);
	assert_int_equal(path_mkdirs_beneath(f->root, "../../y/../z", 0755, NULL), 0);
	assert_int_equal(faccessat(f->root, "z", F_OK, 0), 0);
	assert_int_equal(faccessat(f->top, "z", F_OK, 0), -1);
	assert_int_equal(path_mkdirs_beneath(f->root, "/", 0755, NULL), 0);
}

static void test_mkdirs_refuses(void **state)
{
	const struct fixture *f = *state;
	struct err err = ERR_INIT;

	assert_int_equal(path_mkdirs_beneath(f->root, "secret/x", 0755, &err), -ENOTDIR);
	assert_string_equal(err.msg, "make directory 'secret/x': Not a directory");
	assert_int_equal(path_mkdirs_beneath(f->root, "secret", 0755, NULL), -ENOTDIR);
	assert_int_equal(path_mkdirs_beneath(f->root, "loop_a/x", 0755, NULL), -ELOOP);
	assert_int_equal(path_mkdirs_beneath(f->root, "dangling/x", 0755, NULL), -ENOENT);
	assert_int_equal(path_mkdirs_beneath(f->root, "escape_rel/x", 0755, NULL), -ENOENT);
}

static void test_names(void **state)
{
	char name[NAME_MAX + 2];

	memset(name, 'n', sizeof(name));
	name[NAME_MAX + 1] = '\0';
	assert_false(path_name_ok(name));
	name[NAME_MAX] = '\0';
	assert_true(path_name_ok(name));
	assert_true(path_name_ok("a"));
	assert_true(path_name_ok("..."));
	assert_true(path_name_ok(".a"));
	assert_false(path_name_ok(""));
	assert_false(path_name_ok("."));
	assert_false(path_name_ok(".."));
	assert_false(path_name_ok("a/b"));
	assert_false(path_name_ok("/"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_kernel, setup, teardown),
		cmocka_unit_test_setup_teardown(test_walk, setup, teardown),
		cmocka_unit_test_setup_teardown(test_walk_bounds_depth, setup, teardown),
		cmocka_unit_test_setup_teardown(test_mkdirs, setup, teardown),
		cmocka_unit_test_setup_teardown(test_mkdirs_refuses, setup, teardown),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
