/* SPDX-License-Identifier: Apache-2.0 */
/* Shares with a limit (images.md 5.6), and single files of the host in one. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/fs_internal.h"
#include "fs/fs_test_util.h"

#define LIMIT 65536

static int setup(void **state)
{
	static struct tfs t;
	struct fs_config cfg = { .quota = LIMIT };

	tfs_new(&t, NULL);
	tfs_host_write(&t, "before", "twelve bytes");
	tfs_restart(&t, &cfg);
	*state = &t;
	return 0;
}

static int teardown(void **state)
{
	tfs_free(*state);
	return 0;
}

struct open_file {
	uint64_t node, fh;
};

static struct open_file create(struct tfs *t, const char *name)
{
	struct open_file f;

	assert_int_equal(tfs_create(t, FUSE_ROOT_ID, name, O_RDWR, 0600, &f.node, &f.fh), 0);
	return f;
}

static int put(struct tfs *t, struct open_file f, uint64_t off, uint32_t len)
{
	struct fuse_write_in in = { .fh = f.fh, .offset = off, .size = len };
	char *data = calloc(1, len);
	int rc = tfs_do(t, FUSE_WRITE, f.node, TFS_ARG(in), TFS_RAW(data, len));

	free(data);
	return rc;
}

static int cut(struct tfs *t, struct open_file f, uint64_t size)
{
	struct fuse_setattr_in in = { .valid = FATTR_SIZE, .size = size };

	return tfs_do(t, FUSE_SETATTR, f.node, TFS_ARG(in));
}

static int drop(struct tfs *t, const char *name)
{
	return tfs_do(t, FUSE_UNLINK, FUSE_ROOT_ID, TFS_STR(name));
}

static void test_growth(void **state)
{
	struct tfs *t = *state;
	struct open_file f = create(t, "f");

	assert_int_equal(put(t, f, 0, 40000), 0);
	assert_int_equal(put(t, f, 0, 40000), 0); /* the same place again */
	assert_int_equal(put(t, f, 40000, 40000), -ENOSPC);
	assert_int_equal(put(t, f, 4096, 8192), 0);
	assert_int_equal(cut(t, f, LIMIT + 1), -ENOSPC);
	assert_int_equal(cut(t, f, 0), 0);
	assert_int_equal(put(t, f, 0, 60000), 0);
}

static void test_space_comes_back(void **state)
{
	struct tfs *t = *state;
	struct open_file f = create(t, "f"), g = create(t, "g");

	assert_int_equal(put(t, f, 0, 60000), 0);
	assert_int_equal(put(t, g, 0, 8192), -ENOSPC);
	assert_int_equal(drop(t, "f"), 0);
	/* Its space is taken as long as it is open. */
	assert_int_equal(put(t, g, 0, 8192), -ENOSPC);
	tfs_release(t, f.node, f.fh);
	tfs_forget(t, f.node, 1);
	assert_int_equal(put(t, g, 0, 8192), 0);
}

/* A client that forgets what it still has open gains nothing by it. */
static void test_forgotten(void **state)
{
	struct tfs *t = *state;
	struct open_file f = create(t, "f"), g = create(t, "g");

	assert_int_equal(put(t, f, 0, 60000), 0);
	assert_int_equal(drop(t, "f"), 0);
	tfs_forget(t, f.node, 1);
	assert_int_equal(put(t, g, 0, 8192), -ENOSPC);
	tfs_release(t, f.node, f.fh);
	assert_int_equal(put(t, g, 0, 8192), 0);
}

static void test_other_ways_to_grow(void **state)
{
	struct tfs *t = *state;
	struct open_file f = create(t, "f"), g = create(t, "g");
	struct fuse_fallocate_in more = { .fh = f.fh, .length = LIMIT + 4096 };
	struct fuse_copy_file_range_in copy = {
		.fh_in = f.fh, .nodeid_out = g.node, .fh_out = g.fh, .len = 40000
	};

	assert_int_equal(tfs_do(t, FUSE_FALLOCATE, f.node, TFS_ARG(more)), -ENOSPC);
	assert_int_equal(put(t, f, 0, 40000), 0);
	assert_int_equal(tfs_do(t, FUSE_COPY_FILE_RANGE, f.node, TFS_ARG(copy)), -ENOSPC);
}

/* Entries that hold nothing take space of the host as well. */
static void test_names(void **state)
{
	struct fuse_statfs_out out;
	struct tfs *t = *state;
	unsigned n = 0, max;
	uint64_t node;
	char name[16];
	int rc;

	assert_int_equal(tfs_send(t, FUSE_STATFS, FUSE_ROOT_ID, NULL, 0), 0);
	memcpy(&out, t->reply, sizeof(out));
	max = (unsigned)out.st.ffree;
	assert_in_range(max, LIMIT / 1024, 4096);
	do {
		(void)snprintf(name, sizeof(name), "d%u", n);
		rc = tfs_mkdir(t, FUSE_ROOT_ID, name, 0700, &node);
	} while (rc == 0 && ++n <= max);
	assert_int_equal(rc, -ENOSPC);
	assert_int_equal(n, max);
	assert_int_equal(tfs_create(t, FUSE_ROOT_ID, "f", O_RDWR, 0600, &node, &node), -ENOSPC);
	assert_int_equal(tfs_do(t, FUSE_RMDIR, FUSE_ROOT_ID, TFS_STR("d0")), 0);
	assert_int_equal(tfs_mkdir(t, FUSE_ROOT_ID, "again", 0700, &node), 0);
}

static int set_attr(struct tfs *t, uint64_t node, const char *name, uint32_t len)
{
	struct fuse_setxattr_in in = { .size = len };
	char value[4096] = "";
	struct tfs_part part[] = { TFS_ARG(in), TFS_STR(name), TFS_RAW(value, len) };

	return tfs_send(t, FUSE_SETXATTR, node, part, 3);
}

/* Attributes hold data as well; and what they took comes back with them, or with their file. */
static void test_attributes(void **state)
{
	struct tfs *t = *state;
	struct open_file f[40];
	char name[16];
	unsigned n = 0;
	int rc;

	do {
		(void)snprintf(name, sizeof(name), "f%u", n);
		f[n] = create(t, name);
		rc = set_attr(t, f[n].node, "user.a", 3900);
	} while (rc == 0 && ++n < 40);
	assert_int_equal(rc, -ENOSPC);
	assert_int_equal(n, LIMIT / 4096);
	assert_int_equal(put(t, f[0], 0, 4096), -ENOSPC);
	assert_int_equal(tfs_do(t, FUSE_REMOVEXATTR, f[1].node, TFS_STR("user.a")), 0);
	assert_int_equal(set_attr(t, f[2].node, "user.a", 10), 0);
	assert_int_equal(put(t, f[0], 0, 4096), 0);
	assert_int_equal(put(t, f[0], 4096, 4096), -ENOSPC);
	assert_int_equal(drop(t, "f3"), 0);
	tfs_release(t, f[3].node, f[3].fh);
	tfs_forget(t, f[3].node, 1);
	assert_int_equal(put(t, f[0], 4096, 4096), 0);
}

/* Give back no more than was charged: what is written stays counted, whatever is made beside it. */
static void test_nothing_is_given_back_twice(void **state)
{
	struct tfs *t = *state;
	struct open_file big = create(t, "big");
	struct fuse_open_in trunc = { .flags = O_WRONLY | O_TRUNC };

	assert_int_equal(put(t, big, 0, 60000), 0);
	for (unsigned i = 0; i < 64; i++) {
		struct open_file f = create(t, "small");
		struct fuse_link_in link = { .oldnodeid = f.node };

		assert_int_equal(put(t, f, 0, 1), 0);
		assert_int_equal(
			tfs_do(t, FUSE_LINK, FUSE_ROOT_ID, TFS_ARG(link), TFS_STR("l")), 0);
		assert_int_equal(tfs_do(t, FUSE_OPEN, f.node, TFS_ARG(trunc)), 0);
		tfs_release(t, f.node, load_le64(t->reply));
		assert_int_equal(cut(t, f, 0), 0);
		assert_int_equal(drop(t, "l"), 0);
		assert_int_equal(drop(t, "small"), 0);
		tfs_release(t, f.node, f.fh);
		tfs_forget(t, f.node, 2);
	}
	assert_int_equal(put(t, big, 60000, 8192), -ENOSPC);
}

/* A client that makes us count all the time gets no more of it than a share of the time. */
static void test_counts_are_rationed(void **state)
{
	struct tfs *t = *state;
	struct quota *q = t->fs->quota;
	struct open_file f = create(t, "f");

	assert_int_equal(put(t, f, 0, 60000), 0);
	assert_int_equal(
		unlinkat(t->root_fd, "f", 0), 0); /* as if the host did it: nobody is told */
	tfs_release(t, f.node, f.fh);
	tfs_forget(t, f.node, 1);
	f = create(t, "g");
	quota_set_time(q, -1000000000000);
	assert_int_equal(put(t, f, 0, 60000), -ENOSPC);
	quota_set_time(q, 1);
	assert_int_equal(put(t, f, 0, 60000), 0);
}

/* Folders too deep to be counted: neither a way round the limit nor the end of all writing. */
static void test_deep_folders(void **state)
{
	struct tfs *t = *state;
	uint64_t dir = FUSE_ROOT_ID;
	struct open_file f, deep;

	for (unsigned i = 0; i < 520; i++)
		assert_int_equal(tfs_mkdir(t, dir, "d", 0700, &dir), 0);
	assert_int_equal(tfs_create(t, dir, "deep", O_RDWR, 0600, &deep.node, &deep.fh), 0);
	assert_int_equal(put(t, deep, 0, 40000), 0);
	f = create(t, "f");
	assert_int_equal(put(t, f, 0, 40000), -ENOSPC);
	assert_int_equal(put(t, f, 0, 20000), 0);
	assert_int_equal(put(t, f, 20000, 20000), -ENOSPC);
	assert_int_equal(cut(t, deep, 0), 0);
	assert_int_equal(put(t, f, 20000, 20000), 0);
}

static void test_statfs(void **state)
{
	struct tfs *t = *state;
	struct open_file f = create(t, "f");
	struct fuse_statfs_out out;

	assert_int_equal(put(t, f, 0, 32768), 0);
	assert_int_equal(tfs_send(t, FUSE_STATFS, FUSE_ROOT_ID, NULL, 0), 0);
	memcpy(&out, t->reply, sizeof(out));
	assert_int_equal(out.st.bsize, 4096);
	assert_int_equal(out.st.bfree, (LIMIT - 32768) / 4096);
	assert_true(out.st.blocks >= LIMIT / 4096);
}

/* A file of the host among the entries: written in place, its name out of reach. */
static void test_bound_file(void **state)
{
	struct tfs *t = *state;
	struct fs_extra extra = { .name = "bound", .bound = true };
	struct fs_config cfg = { .extra = &extra, .n_extra = 1 };
	char path[] = "/tmp/fs_bound_XXXXXX", text[8] = "";
	struct open_file f;
	struct fuse_attr attr;

	extra.fd = mkstemp(path);
	assert_true(extra.fd >= 0);
	assert_int_equal(write(extra.fd, "abc", 3), 3);
	tfs_restart(t, &cfg);
	f.node = tfs_lookup(t, FUSE_ROOT_ID, "bound", NULL);
	assert_int_not_equal(f.node, 0);
	assert_int_equal(tfs_getattr(t, f.node, &attr), 0);
	assert_int_equal(attr.size, 3);
	assert_int_equal(tfs_open(t, f.node, O_RDWR, false, &f.fh), 0);
	assert_int_equal(put(t, f, 3, 2), 0);
	assert_int_equal(pread(extra.fd, text, sizeof(text), 0), 5);
	assert_int_equal(drop(t, "bound"), -EPERM);
	tfs_release(t, f.node, f.fh);
	(void)close(extra.fd);
	(void)unlink(path);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_growth),
		CASE(test_names),
		CASE(test_space_comes_back),
		CASE(test_forgotten),
		CASE(test_other_ways_to_grow),
		CASE(test_attributes),
		CASE(test_nothing_is_given_back_twice),
		CASE(test_counts_are_rationed),
		CASE(test_deep_folders),
		CASE(test_statfs),
		CASE(test_bound_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
