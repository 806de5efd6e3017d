/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guest/patch.h"
#include "lib/cleanup.h"

struct place {
	char root[64];
	struct patcher patcher;
};

static int set_up(void **state)
{
	struct place *p = calloc(1, sizeof(*p));

	(void)snprintf(p->root, sizeof(p->root), "/tmp/patch-test-XXXXXX");
	if (!mkdtemp(p->root))
		return -1;
	p->patcher = PATCHER_INIT(p->root);
	*state = p;
	return 0;
}

static int tear_down(void **state)
{
	struct place *p = *state;
	char command[128];

	(void)snprintf(command, sizeof(command), "rm -rf %s", p->root);
	patcher_release(&p->patcher);
	if (system(command) != 0)
		return -1;
	free(p);
	return 0;
}

static struct patch patch_of(const char *op, const char *path, const char *data)
{
	return (struct patch){ .op = text_of(op),
		.path = text_of(path),
		.data = { (const uint8_t *)data, data ? strlen(data) : 0 } };
}

static int apply(struct place *p, const struct patch *patch)
{
	return patch_apply(&p->patcher, patch, NULL);
}

static void check_file(struct place *p, const char *path, const char *want, mode_t mode)
{
	char name[256], text[256] = "";
	cleanup_fd int fd = -1;
	struct stat st;

	(void)snprintf(name, sizeof(name), "%s%s", p->root, path);
	fd = open(name, O_RDONLY | O_NOFOLLOW);
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mode & 07777, mode);
	assert_int_equal(read(fd, text, sizeof(text) - 1), strlen(want));
	assert_string_equal(text, want);
}

static void test_files(void **state)
{
	struct place *p = *state;
	struct patch patch = patch_of("file", "/a/b//c", "one");

	patch.mode = 04711;
	assert_int_equal(apply(p, &patch), 0);
	check_file(p, "/a/b/c", "one", 04711);
	assert_int_equal(apply(p, &patch), -EEXIST);
	patch = patch_of("file", "/a/b/c", "two");
	patch.replace = true;
	assert_int_equal(apply(p, &patch), 0);
	check_file(p, "/a/b/c", "two", 0644);
	patch = patch_of("append", "/a/b/c", " three");
	assert_int_equal(apply(p, &patch), 0);
	check_file(p, "/a/b/c", "two three", 0644);
	patch = patch_of("append", "/a/b", "x");
	assert_int_equal(apply(p, &patch), -EISDIR);
	patch = patch_of("append", "/none", "x");
	assert_int_equal(apply(p, &patch), -ENOENT);
	patch = patch_of("file", "/a/b/c/d", "below a file");
	assert_int_equal(apply(p, &patch), -ENOTDIR);
}

static void test_long_file(void **state)
{
	struct place *p = *state;
	struct patch first = patch_of("file", "/f", "ab"), next = patch_of("data", NULL, "cd");
	struct patch other = patch_of("mkdir", "/d", NULL);

	assert_int_equal(apply(p, &next), -EINVAL);
	first.more = next.more = true;
	assert_int_equal(apply(p, &first), 0);
	assert_int_equal(apply(p, &next), 0);
	assert_int_equal(apply(p, &other), -EINVAL);
	next = patch_of("data", NULL, NULL);
	assert_int_equal(apply(p, &next), 0);
	check_file(p, "/f", "abcd", 0644);
	assert_int_equal(apply(p, &other), 0);
}

static struct stat stat_of(struct place *p, const char *path)
{
	char name[256];
	struct stat st;

	(void)snprintf(name, sizeof(name), "%s%s", p->root, path);
	assert_int_equal(stat(name, &st), 0);
	return st;
}

/* What is skipped takes no room, reads as zeros, and counts if nothing comes behind it. */
static void test_holes(void **state)
{
	struct place *p = *state;
	struct patch first = patch_of("file", "/f", "ab"), next = patch_of("data", NULL, "cd");
	struct patch last = patch_of("data", NULL, NULL), short_one = patch_of("file", "/g", "x");

	first.more = next.more = true;
	next.skip = 3;
	assert_int_equal(apply(p, &first), 0);
	assert_int_equal(apply(p, &next), 0);
	next = patch_of("data", NULL, NULL);
	next.more = true;
	next.skip = last.skip = 1LL << 30;
	assert_int_equal(apply(p, &next), 0);
	assert_int_equal(apply(p, &last), 0);
	assert_int_equal(stat_of(p, "/f").st_size, 7 + (2LL << 30));
	assert_true(stat_of(p, "/f").st_blocks * 512 < 1 << 20);
	short_one.skip = 4;
	assert_int_equal(apply(p, &short_one), 0);
	assert_int_equal(stat_of(p, "/g").st_size, 5);
	short_one = patch_of("file", "/h", "");
	short_one.skip = 6;
	assert_int_equal(apply(p, &short_one), 0);
	assert_int_equal(stat_of(p, "/h").st_size, 6);
}

static void test_bad_holes(void **state)
{
	static const uint64_t far[] = { INT64_MAX, INT64_MAX + 1ULL, UINT64_MAX };
	struct place *p = *state;
	struct patch data = patch_of("data", NULL, "x"), make = patch_of("file", "/a", "y");
	struct patch add = patch_of("append", "/a", "z");
	char name[16];

	data.skip = 5;
	assert_int_equal(apply(p, &data), -EINVAL);
	assert_int_equal(apply(p, &make), 0);
	for (size_t i = 0; i < sizeof(far) / sizeof(far[0]); i++) {
		(void)snprintf(name, sizeof(name), "/far-%zu", i);
		make = patch_of("file", name, "y");
		make.more = true;
		data.skip = far[i];
		assert_int_equal(apply(p, &make), 0);
		assert_int_equal(apply(p, &data), -EFBIG);
		assert_int_equal(p->patcher.fd, -1);
		assert_int_equal(stat_of(p, name).st_size, 1);
	}
	add.skip = 1;
	assert_int_equal(apply(p, &add), -EOPNOTSUPP);
	check_file(p, "/a", "y", 0644);
	add.skip = 0;
	add.more = true;
	data.skip = 1;
	assert_int_equal(apply(p, &add), 0);
	assert_int_equal(apply(p, &data), -EOPNOTSUPP);
	check_file(p, "/a", "yz", 0644);
}

static void test_folders(void **state)
{
	struct place *p = *state;
	struct patch dir = patch_of("dir", "/x/y", NULL), make = patch_of("mkdir", "/x/y", NULL);
	struct patch gone = patch_of("remove", "/x", NULL), file = patch_of("file", "/x/y/z", "");

	assert_int_equal(apply(p, &dir), 0);
	assert_int_equal(apply(p, &dir), -EEXIST);
	assert_int_equal(apply(p, &make), 0);
	assert_int_equal(apply(p, &file), 0);
	assert_int_equal(apply(p, &gone), 0);
	assert_int_equal(apply(p, &gone), -ENOENT);
	assert_int_equal(apply(p, &make), 0);
}

/* The last component is the link itself, never what it points to. */
static void test_links(void **state)
{
	struct place *p = *state;
	struct patch file = patch_of("file", "/real", "kept"),
		     link = patch_of("symlink", "/l", NULL);
	struct patch over = patch_of("file", "/l", "new"), gone = patch_of("remove", "/l", NULL);
	struct patch add = patch_of("append", "/l", "x");

	link.target = text_of("real");
	assert_int_equal(apply(p, &file), 0);
	assert_int_equal(apply(p, &link), 0);
	assert_int_equal(apply(p, &link), -EEXIST);
	assert_int_equal(apply(p, &add), -EINVAL);
	assert_int_equal(apply(p, &over), -EEXIST);
	assert_int_equal(apply(p, &gone), 0);
	check_file(p, "/real", "kept", 0644);
	assert_int_equal(apply(p, &link), 0);
	over.replace = true;
	assert_int_equal(apply(p, &over), 0);
	check_file(p, "/real", "kept", 0644);
	check_file(p, "/l", "new", 0644);
	link.target = text_of(NULL);
	assert_int_equal(apply(p, &link), -EINVAL);
}

/* On the way links are followed, as the guest's kernel does it; a loop leads nowhere. */
static void test_ways(void **state)
{
	struct place *p = *state;
	struct patch link = patch_of("symlink", "/to", NULL), dir = patch_of("mkdir", "/a/b", NULL);
	struct patch file = patch_of("file", "/to/f", "x"), none = patch_of("file", "/none", "x");
	struct patch add = patch_of("append", "/to", "x");
	struct err err = ERR_INIT;

	assert_int_equal(apply(p, &dir), 0);
	link.target = text_of("a/b");
	assert_int_equal(apply(p, &link), 0);
	assert_int_equal(apply(p, &file), 0);
	check_file(p, "/a/b/f", "x", 0644);
	assert_int_equal(patch_apply(&p->patcher, &add, &err), -EINVAL);
	assert_string_equal(err.msg, "patch: append to '/to': it is not a regular file");
	link.path = text_of("/loop");
	link.target = text_of("loop");
	file.path = text_of("/loop/f");
	assert_int_equal(apply(p, &link), 0);
	assert_int_equal(patch_apply(&p->patcher, &file, &err), -ELOOP);
	assert_non_null(strstr(err.msg, "'/loop/f'"));
	/* A mode without any permission is a mode, if the type says so. */
	none.mode = S_IFREG;
	assert_int_equal(apply(p, &none), 0);
	check_file(p, "/none", "x", 0);
}

static void test_malformed(void **state)
{
	static const char *const bad[] = { "", "relative", "/", "/a/../b", "/." };
	struct place *p = *state;
	struct patch patch;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		patch = patch_of("remove", bad[i], NULL);
		assert_int_equal(apply(p, &patch), -EINVAL);
	}
	patch = patch_of("chroot", "/a", NULL);
	assert_int_equal(apply(p, &patch), -EINVAL);
	assert_false(p->patcher.ended);
	patch = patch_of("end", NULL, NULL);
	assert_int_equal(apply(p, &patch), 0);
	assert_true(p->patcher.ended);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_files),
		CASE(test_long_file),
		CASE(test_holes),
		CASE(test_bad_holes),
		CASE(test_folders),
		CASE(test_links),
		CASE(test_ways),
		CASE(test_malformed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
