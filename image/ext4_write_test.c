/* SPDX-License-Identifier: Apache-2.0 */
/* What the layer tests cannot reach: large folders and the limits. The judge is e2fsck. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "image/ext4_write.h"
#include "lib/cleanup.h"
#include "lib/num.h"

static const uint8_t uuid[16] = "0123456789abcde";

static void start(struct tree *t)
{
	assert_int_equal(tree_init(t, MIB(512), NULL), 0);
	t->root->mode = S_IFDIR | 0755;
}

static struct tree_inode *add(
	struct tree *t, struct tree_inode *dir, const char *name, uint32_t mode)
{
	struct tree_inode *inode;

	assert_int_equal(tree_inode_new(t, mode, &inode, NULL), 0);
	assert_int_equal(tree_put(t, dir, name, strlen(name), inode, NULL), 0);
	return inode;
}

/* Write it, show it to e2fsck, and answer what debugfs says to @question. */
static const char *ask(struct tree *t, const char *question)
{
	static char out[4096];
	cleanup_fd int fd = memfd_create("ext4", MFD_CLOEXEC);
	char cmd[512];
	uint64_t size;
	struct err err = ERR_INIT;
	size_t len;
	FILE *f;

	if (ext4_write(t, NULL, uuid, fd, &size, &err) < 0)
		fail_msg("%s", err.msg);
	(void)snprintf(cmd, sizeof(cmd),
		"PATH=$PATH:/usr/sbin:/sbin; e2fsck -fn /proc/%d/fd/%d 2>&1 && "
		"debugfs -R '%s' /proc/%d/fd/%d 2>&1",
		getpid(), fd, question, getpid(), fd);
	f = popen(cmd, "r");
	assert_non_null(f);
	len = fread(out, 1, sizeof(out) - 1, f);
	out[len] = '\0';
	if (pclose(f) != 0)
		fail_msg("%s", out);
	return out;
}

static void says(const char *out, const char *text)
{
	assert_non_null(out);
	if (!strstr(out, text))
		fail_msg("no '%s' in: %s", text, out);
}

/* @n names of @len bytes in one folder, all of one file. */
static void fill_folder(struct tree *t, unsigned n, int len)
{
	struct tree_inode *dir = add(t, t->root, "large", S_IFDIR | 0755), *file = NULL;
	char name[256];

	for (unsigned i = 0; i < n; i++) {
		(void)snprintf(name, sizeof(name), "%0*u", len, i);
		if (i % 1000 == 0)
			file = add(t, dir, name, S_IFREG | 0644);
		else
			assert_int_equal(
				tree_put(t, dir, name, (size_t)len, tree_ref(file), NULL), 0);
	}
}

static void test_large_folders(void **state)
{
	static const struct {
		unsigned n;
		int len;
		const char *levels;
	} cases[] = { { 203, 12, NULL }, { 204, 12, "Indirect levels: 0" },
		{ 30000, 12, "Indirect levels: 0" }, { 12000, 200, "Indirect levels: 1" } };

	for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
		struct tree t;
		const char *out;

		start(&t);
		fill_folder(&t, cases[i].n, cases[i].len);
		out = ask(&t, "htree_dump /large");
		says(out, cases[i].levels ? cases[i].levels : "Not a hash-indexed directory");
		tree_release(&t);
	}
}

static void test_empty(void **state)
{
	struct tree t;

	start(&t);
	says(ask(&t, "stat /"), "Mode:  0755");
	tree_release(&t);
}

static void test_inodes(void **state)
{
	struct tree_inode *i;
	struct tree t;
	const char *out;

	start(&t);
	i = add(&t, t.root, "n", S_IFBLK | 0600);
	i->rdev = 0x12 | 259 << 8 | 0x345 << 20;
	i->uid = 3000000000;
	i->mtime = 15032385535; /* the last second there is */
	i->mtime_ns = 999999999;
	out = ask(&t, "stat /n");
	says(out, "Device major/minor number: 259:214290");
	says(out, "User: -1294967296");
	says(out, "mtime: 0x7fffffff:ee6b27ff");
	i->mtime = INT64_MAX; /* and no other after it */
	says(ask(&t, "stat /n"), "mtime: 0x7fffffff:ee6b27ff");
	i->mtime = INT64_MIN;
	says(ask(&t, "stat /n"), "mtime: 0x80000000:ee6b27fc");
	tree_release(&t);
}

/* One large value, several that are too much together only, and names of one file. */
static void make_large_xattrs(struct tree *t)
{
	static char value[UINT16_MAX];
	struct tree_inode *i;
	char name[128];

	for (size_t n = 0; n < sizeof(value); n++)
		value[n] = (char)('a' + n % 26);
	start(t);
	i = add(t, t->root, "x", S_IFREG | 0644);
	assert_int_equal(tree_set_xattr(t, i, "user.a", value, sizeof(value), NULL), 0);
	assert_int_equal(tree_set_xattr(t, i, "trusted.b", value + 3, 5000, NULL), 0);
	assert_int_equal(tree_put(t, t->root, "x2", 2, tree_ref(i), NULL), 0);
	i = add(t, t->root, "y", S_IFDIR | 0755);
	for (unsigned n = 0; n < 5; n++) {
		(void)snprintf(name, sizeof(name), "user.%u", n);
		assert_int_equal(tree_set_xattr(t, i, name, value + n, 1500, NULL), 0);
	}
	/* A value that leaves no room for what comes after it. */
	i = add(t, i, "z", S_IFREG | 0644);
	for (unsigned n = 0; n < 5; n++) {
		(void)snprintf(name, sizeof(name), "user.%0100u", n);
		assert_int_equal(tree_set_xattr(t, i, name, value, 4000 - 990 * n, NULL), 0);
	}
}

static void write_to(struct tree *t, int fd)
{
	struct err err = ERR_INIT;
	uint64_t size;

	if (ext4_write(t, NULL, uuid, fd, &size, &err) < 0)
		fail_msg("%s", err.msg);
}

static void test_large_xattrs(void **state)
{
	cleanup_fd int one = memfd_create("one", MFD_CLOEXEC);
	cleanup_fd int two = memfd_create("two", MFD_CLOEXEC);
	const char *out;
	struct tree t;
	char cmd[128];

	start(&t);
	assert_null(strstr(ask(&t, "features"), "ea_inode"));
	tree_release(&t);
	make_large_xattrs(&t);
	says(ask(&t, "features"), "ea_inode");
	out = ask(&t, "ea_list /x2");
	says(out, "user.a (65535)");
	says(out, "trusted.b (5000)");
	out = ask(&t, "ea_list /y");
	says(out, "user.0 (1500)");
	says(out, "user.4 (1500)");
	out = ask(&t, "ea_list /y/z");
	says(out, "0 (4000)");
	says(out, "4 (40)");
	/* The same bytes each time. */
	write_to(&t, one);
	write_to(&t, two);
	(void)snprintf(cmd, sizeof(cmd), "cmp /proc/%d/fd/%d /proc/%d/fd/%d", getpid(), one,
		getpid(), two);
	assert_int_equal(system(cmd), 0);
	tree_release(&t);
}

static void refused(struct tree *t, const char *why)
{
	cleanup_fd int fd = memfd_create("ext4", MFD_CLOEXEC);
	struct err err = ERR_INIT;
	uint64_t size;

	assert_int_equal(ext4_write(t, NULL, uuid, fd, &size, &err), -E2BIG);
	assert_non_null(strstr(err.msg, why));
	tree_release(t);
}

static void test_what_ext4_cannot_say(void **state)
{
	static char large[5000];
	struct tree_inode *i;
	struct tree t;

	start(&t);
	i = add(&t, t.root, "x", S_IFREG | 0644);
	for (unsigned n = 0; n < 20; n++) {
		char name[256];

		(void)snprintf(name, sizeof(name), "user.%0240u", n);
		assert_int_equal(tree_set_xattr(&t, i, name, large, 1, NULL), 0);
	}
	refused(&t, "'x' has more extended attributes");

	start(&t);
	i = add(&t, t.root, "s", S_IFLNK | 0777);
	memset(large, 'l', 4096);
	assert_int_equal(tree_set_target(&t, i, large, NULL), 0);
	i->size = 4096;
	refused(&t, "symbolic link 's'");

	start(&t);
	i = add(&t, t.root, "s", S_IFLNK | 0777);
	assert_int_equal(tree_set_target(&t, i, "short", NULL), 0);
	i->size = 5;
	assert_int_equal(tree_set_xattr(&t, i, "trusted.a", large, 5000, NULL), 0);
	refused(&t, "symbolic link 's' has more extended attributes");

	start(&t);
	fill_folder(&t, 1, 10);
	i = tree_find(tree_find(t.root, "large", 5)->inode, "0000000000", 10)->inode;
	for (unsigned n = 0; n < 65000; n++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "%u", n);
		assert_int_equal(tree_put(&t, t.root, name, strlen(name), tree_ref(i), NULL), 0);
	}
	refused(&t, "65001 names");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_large_folders),
		cmocka_unit_test(test_inodes),
		cmocka_unit_test(test_large_xattrs),
		cmocka_unit_test(test_what_ext4_cannot_say),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
