/* SPDX-License-Identifier: Apache-2.0 */
/* A client that lies: names, ids, counts, sizes (hostile-inputs.md 16, 17, 19, 20, 21). */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/fs_test_util.h"
#include "lib/num.h"

static const char extra_data[] = "in memory";
static const struct fs_extra extra = { "init.krun", extra_data, sizeof(extra_data) - 1, 0755 };

static int setup(void **state)
{
	static struct tfs t;
	struct fs_config cfg = { .extra = &extra, .n_extra = 1 };

	tfs_new(&t, &cfg);
	*state = &t;
	return 0;
}

static int teardown(void **state)
{
	tfs_free(*state);
	return 0;
}

static int lookup_err(struct tfs *t, uint64_t parent, const char *name)
{
	int rc;

	(void)tfs_lookup(t, parent, name, &rc);
	return rc;
}

static void names_are_checked(void **state)
{
	struct tfs *t = *state;
	char longest[256 + 1] = { 0 };

	memset(longest, 'a', 255);
	assert_int_equal(lookup_err(t, 1, ""), -EINVAL);
	assert_int_equal(lookup_err(t, 1, "."), -EPERM);
	assert_int_equal(lookup_err(t, 1, ".."), -EPERM);
	assert_int_equal(lookup_err(t, 1, "/"), -EPERM);
	assert_int_equal(lookup_err(t, 1, "../etc"), -EPERM);
	assert_int_equal(lookup_err(t, 1, "a/b"), -EPERM);
	assert_int_equal(lookup_err(t, 1, "a\\b"), -ENOENT); /* a legal name */
	assert_int_equal(lookup_err(t, 1, longest), -ENOENT);
	longest[255] = 'a';
	assert_int_equal(lookup_err(t, 1, longest), -ENAMETOOLONG);
	assert_int_equal(tfs_do(t, FUSE_LOOKUP, 1, TFS_RAW("abc", 3)), -EINVAL); /* no NUL */
	assert_int_equal(tfs_do(t, FUSE_LOOKUP, 1, TFS_RAW("", 0)), -EINVAL);
	assert_int_equal(tfs_do(t, FUSE_LOOKUP, 1, TFS_RAW("\0a", 3)), -EINVAL);
}

static void every_naming_operation_checks_names(void **state)
{
	struct tfs *t = *state;
	struct fuse_mkdir_in mkdir_in = { .mode = 0755 };
	struct fuse_mknod_in mknod_in = { .mode = S_IFREG | 0644 };
	struct fuse_create_in create_in = { .flags = O_RDWR, .mode = 0644 };
	struct fuse_rename_in rename_in = { .newdir = 1 };
	struct fuse_rename2_in rename2_in = { .newdir = 1 };
	struct tfs_part bad = TFS_STR("../x"), good = TFS_STR("x");
	uint64_t node;

	assert_int_equal(tfs_do(t, FUSE_MKDIR, 1, TFS_ARG(mkdir_in), bad), -EPERM);
	assert_int_equal(tfs_do(t, FUSE_MKNOD, 1, TFS_ARG(mknod_in), bad), -EPERM);
	assert_int_equal(tfs_do(t, FUSE_CREATE, 1, TFS_ARG(create_in), bad), -EPERM);
	assert_int_equal(tfs_do(t, FUSE_SYMLINK, 1, bad, good), -EPERM);
	assert_int_equal(tfs_do(t, FUSE_UNLINK, 1, bad), -EPERM);
	assert_int_equal(tfs_do(t, FUSE_RMDIR, 1, bad), -EPERM);
	assert_int_equal(tfs_do(t, FUSE_RMDIR, 1, TFS_STR("..")), -EPERM);
	assert_int_equal(tfs_create(t, 1, "x", O_RDWR, 0644, &node, NULL), 0);
	struct fuse_link_in link_in = { .oldnodeid = node };
	assert_int_equal(tfs_do(t, FUSE_LINK, 1, TFS_ARG(link_in), bad), -EPERM);
	assert_int_equal(tfs_do(t, FUSE_RENAME, 1, TFS_ARG(rename_in), good, bad), -EPERM);
	assert_int_equal(tfs_do(t, FUSE_RENAME, 1, TFS_ARG(rename_in), bad, good), -EPERM);
	assert_int_equal(tfs_do(t, FUSE_RENAME2, 1, TFS_ARG(rename2_in), good, bad), -EPERM);
	assert_int_equal(tfs_do(t, FUSE_RENAME, 1, TFS_ARG(rename_in), good), -EINVAL);
}

static void ids_never_issued_find_nothing(void **state)
{
	struct tfs *t = *state;
	static const uint64_t ids[] = { 0, 3, 64, 65, 1ULL << 32 | 1, UINT32_MAX, UINT64_MAX };
	struct fuse_read_in read_in = { .size = 100 };
	struct fuse_attr attr;

	for (unsigned i = 0; i < ARRAY_LEN(ids); i++) {
		read_in.fh = ids[i];
		assert_int_equal(tfs_getattr(t, ids[i], &attr), -ESTALE);
		assert_int_equal(lookup_err(t, ids[i], "x"), -ESTALE);
		assert_int_equal(tfs_do(t, FUSE_READ, 1, TFS_ARG(read_in)), -EBADF);
		tfs_forget(t, ids[i], 1);
		tfs_release(t, 1, ids[i]);
	}
}

static void forgotten_ids_are_not_recycled(void **state)
{
	struct tfs *t = *state;
	struct fuse_attr attr;

	tfs_host_write(t, "a", "");
	tfs_host_write(t, "b", "");
	uint64_t a = tfs_lookup(t, 1, "a", NULL);
	assert_true(a > 2);
	tfs_forget(t, a, 1);
	assert_int_equal(tfs_getattr(t, a, &attr), -ESTALE);
	uint64_t b = tfs_lookup(t, 1, "b", NULL);
	assert_true(b != a);
	assert_int_equal(tfs_getattr(t, a, &attr), -ESTALE);
	assert_int_equal(tfs_getattr(t, b, &attr), 0);
}

static void forget_counts_are_guarded(void **state)
{
	struct tfs *t = *state;
	struct fuse_attr attr;

	tfs_host_write(t, "a", "");
	uint64_t a = tfs_lookup(t, 1, "a", NULL);
	assert_int_equal(tfs_lookup(t, 1, "a", NULL), a);
	tfs_forget(t, a, 1);
	assert_int_equal(tfs_getattr(t, a, &attr), 0);
	tfs_forget(t, a, UINT64_MAX); /* one was left */
	assert_int_equal(tfs_getattr(t, a, &attr), -ESTALE);
	tfs_forget(t, a, 1);
	tfs_forget(t, 1, UINT64_MAX); /* the root stays */
	assert_int_equal(tfs_getattr(t, 1, &attr), 0);
	tfs_forget(t, 2, UINT64_MAX); /* so does the entry in memory */
	assert_int_equal(tfs_getattr(t, 2, &attr), 0);
}

static void batch_forget_trusts_no_count(void **state)
{
	struct tfs *t = *state;
	struct fuse_batch_forget_in in = { .count = UINT32_MAX };
	struct fuse_attr attr;

	tfs_host_write(t, "a", "");
	uint64_t a = tfs_lookup(t, 1, "a", NULL);
	struct fuse_forget_one one[2] = { { a, 1 }, { a, 5 } };
	assert_int_equal(tfs_do(t, FUSE_BATCH_FORGET, 0, TFS_ARG(in), TFS_ARG(one)), 1);
	assert_int_equal(tfs_getattr(t, a, &attr), -ESTALE);
	assert_int_equal(tfs_do(t, FUSE_BATCH_FORGET, 0, TFS_ARG(in)), 1);
	assert_int_equal(tfs_do(t, FUSE_BATCH_FORGET, 0, TFS_RAW("xyz", 3)), 1);
}

static void handles_belong_to_their_node(void **state)
{
	struct tfs *t = *state;
	struct fuse_read_in in = { .size = 10 };
	uint64_t a, b, dir_fh;

	assert_int_equal(tfs_create(t, 1, "a", O_RDWR, 0644, &a, &in.fh), 0);
	assert_int_equal(tfs_create(t, 1, "b", O_RDWR, 0644, &b, NULL), 0);
	assert_int_equal(tfs_do(t, FUSE_READ, a, TFS_ARG(in)), 0);
	assert_int_equal(tfs_do(t, FUSE_READ, b, TFS_ARG(in)), -EBADF);
	assert_int_equal(tfs_do(t, FUSE_READDIR, 1, TFS_ARG(in)), -EBADF);
	assert_int_equal(tfs_open(t, 1, O_RDONLY, true, &dir_fh), 0);
	uint64_t fh = in.fh;
	in.fh = dir_fh;
	assert_int_equal(tfs_do(t, FUSE_READ, 1, TFS_ARG(in)), -EBADF);
	tfs_release(t, a, fh);
	tfs_release(t, a, fh);
	in.fh = fh;
	assert_int_equal(tfs_do(t, FUSE_READ, a, TFS_ARG(in)), -EBADF);
}

/* A symlink is an object, never a way: neither a lookup nor a creation follows it. */
static void symlinks_lead_nowhere(void **state)
{
	struct tfs *t = *state;
	struct fuse_create_in in = { .flags = O_RDWR, .mode = 0644 };
	struct fuse_attr attr;
	uint64_t fh;

	assert_int_equal(symlinkat("/etc", t->root_fd, "etc"), 0);
	assert_int_equal(symlinkat("/etc/hostname", t->root_fd, "file"), 0);
	uint64_t dir = tfs_lookup(t, 1, "etc", NULL), file = tfs_lookup(t, 1, "file", NULL);
	assert_int_equal(tfs_getattr(t, dir, &attr), 0);
	assert_true(S_ISLNK(attr.mode));
	assert_int_equal(lookup_err(t, dir, "passwd"), -ENOTDIR);
	assert_int_equal(tfs_open(t, dir, O_RDONLY, true, &fh), -ENOTDIR);
	assert_int_equal(tfs_open(t, file, O_RDONLY, false, &fh), -ELOOP);
	in.flags |= O_TRUNC;
	assert_int_equal(tfs_do(t, FUSE_CREATE, 1, TFS_ARG(in), TFS_STR("file")), -ELOOP);
	assert_int_equal(tfs_do(t, FUSE_READLINK, file, TFS_RAW("", 0)), 0);
	assert_int_equal(t->reply_len, strlen("/etc/hostname"));
	struct fuse_setattr_in set = { .valid = FATTR_SIZE };
	assert_int_equal(tfs_do(t, FUSE_SETATTR, file, TFS_ARG(set)), -EINVAL);
}

static void a_directory_swapped_for_a_symlink_stays_itself(void **state)
{
	struct tfs *t = *state;
	uint64_t dir, node;

	assert_int_equal(tfs_mkdir(t, 1, "d", 0755, &dir), 0);
	assert_int_equal(renameat(t->root_fd, "d", t->root_fd, "moved"), 0);
	assert_int_equal(symlinkat("/tmp", t->root_fd, "d"), 0);
	assert_int_equal(tfs_create(t, dir, "f", O_RDWR, 0644, &node, NULL), 0);
	assert_int_equal(faccessat(t->root_fd, "moved/f", F_OK, 0), 0);
}

static void truncated_requests_are_refused(void **state)
{
	struct tfs *t = *state;
	static const uint8_t zeros[200];

	for (uint32_t op = 0; op < 60; op++) {
		for (size_t len = 0; len < 24; len += 3) {
			int rc = tfs_do(t, op, 1, TFS_RAW(zeros, len));
			assert_true(rc <= 1);
		}
	}
	assert_int_equal(tfs_init(t, FUSE_MINOR_MAX, UINT64_MAX), 0);
	assert_int_equal(tfs_do(t, FUSE_READ, 1, TFS_RAW(zeros, 39)), -EINVAL);
	assert_int_equal(tfs_do(t, 4711, 1, TFS_RAW(zeros, 100)), -ENOSYS);
	assert_int_equal(tfs_do(t, UINT32_MAX, 1, TFS_RAW(zeros, 100)), -ENOSYS);
}

static void header_length_must_fit(void **state)
{
	struct tfs *t = *state;
	struct fuse_in_header hdr = { .opcode = FUSE_GETATTR, .nodeid = 1, .unique = 7 };
	static const uint32_t lens[] = { 0, 39, 41, UINT32_MAX };
	uint8_t out[200];
	struct iovec in_iov = { &hdr, sizeof(hdr) }, out_iov = { out, sizeof(out) };
	struct fuse_out_header oh;

	for (unsigned i = 0; i < ARRAY_LEN(lens); i++) {
		hdr.len = lens[i];
		assert_int_equal(fs_server_handle(t->fs, &in_iov, 1, &out_iov, 1), sizeof(oh));
		memcpy(&oh, out, sizeof(oh));
		assert_int_equal(oh.error, -EINVAL);
		assert_int_equal(oh.unique, 7);
	}
	in_iov.iov_len = 39;
	assert_int_equal(fs_server_handle(t->fs, &in_iov, 1, &out_iov, 1), -EBADMSG);
	in_iov.iov_len = sizeof(hdr);
	out_iov.iov_len = 15;
	assert_int_equal(fs_server_handle(t->fs, &in_iov, 1, &out_iov, 1), -EBADMSG);
	assert_int_equal(fs_server_handle(t->fs, NULL, 0, NULL, 0), -EBADMSG);
}

static void a_write_claims_more_than_it_sends(void **state)
{
	struct tfs *t = *state;
	struct fuse_write_in in = { .size = 4096 };
	struct fuse_attr attr;
	uint64_t node;

	assert_int_equal(tfs_create(t, 1, "w", O_RDWR, 0644, &node, &in.fh), 0);
	assert_int_equal(tfs_do(t, FUSE_WRITE, node, TFS_ARG(in), TFS_RAW("abc", 3)), -EINVAL);
	in.size = UINT32_MAX;
	assert_int_equal(tfs_do(t, FUSE_WRITE, node, TFS_ARG(in), TFS_RAW("abc", 3)), -EINVAL);
	in.size = 3;
	in.offset = INT64_MAX;
	assert_int_equal(tfs_do(t, FUSE_WRITE, node, TFS_ARG(in), TFS_RAW("abc", 3)), -EFBIG);
	in.offset = UINT64_MAX;
	assert_int_equal(tfs_do(t, FUSE_WRITE, node, TFS_ARG(in), TFS_RAW("abc", 3)), -EFBIG);
	in.offset = 1;
	assert_int_equal(tfs_do(t, FUSE_WRITE, node, TFS_ARG(in), TFS_RAW("abc", 3)), 0);
	assert_int_equal(tfs_getattr(t, node, &attr), 0);
	assert_int_equal(attr.size, 4);
}

static void replies_stay_in_their_room(void **state)
{
	struct tfs *t = *state;
	struct fuse_read_in in = { .size = UINT32_MAX };
	uint64_t node;

	tfs_host_write(t, "f", "0123456789");
	node = tfs_lookup(t, 1, "f", NULL);
	assert_int_equal(tfs_open(t, node, O_RDONLY, false, &in.fh), 0);
	for (t->room = 16; t->room < 16 + 12; t->room++) {
		assert_int_equal(tfs_do(t, FUSE_READ, node, TFS_ARG(in)), 0);
		assert_int_equal(t->reply_len, MIN_OF(t->room - 16, 10));
		assert_memory_equal(t->reply, "0123456789", t->reply_len);
	}
	t->room = 16 + sizeof(struct fuse_entry_out) - 1;
	assert_int_equal(lookup_err(t, 1, "f"), -EIO);
	struct fuse_mkdir_in mkdir_in = { .mode = 0755 };
	assert_int_equal(tfs_do(t, FUSE_MKDIR, 1, TFS_ARG(mkdir_in), TFS_STR("d")), -EIO);
	assert_int_equal(faccessat(t->root_fd, "d", F_OK, 0), -1);
	t->room = 15;
	assert_int_equal(lookup_err(t, 1, "f"), -EBADMSG);
}

/* References handed out by a READDIRPLUS reply whose entries all take 160 bytes. */
static unsigned references_in_reply(const struct tfs *t)
{
	unsigned n = 0;

	for (size_t pos = 0; pos < t->reply_len; pos += 160)
		n += load_le64(t->reply + pos) != 0;
	return n;
}

/* READDIRPLUS takes a reference for every entry it hands out, and for no other. */
static void readdirplus_counts_only_what_fits(void **state)
{
	struct tfs *t = *state;
	struct fuse_read_in in = { 0 };
	struct fuse_attr attr;
	unsigned given = 0;

	tfs_host_write(t, "abcdefgh", "");
	assert_int_equal(tfs_open(t, 1, O_RDONLY, true, &in.fh), 0);
	unsigned before = tfs_open_fds();
	for (in.size = 0; in.size < 160; in.size++) { /* "." alone takes 160 bytes */
		int rc = tfs_do(t, FUSE_READDIRPLUS, 1, TFS_ARG(in));
		assert_int_equal(rc, -EINVAL);
	}
	for (unsigned i = 0; i < 20; i++) { /* too small for the third entry */
		in.size = 160 + 160 + 159;
		in.offset = 0;
		assert_int_equal(tfs_do(t, FUSE_READDIRPLUS, 1, TFS_ARG(in)), 0);
		assert_int_equal(t->reply_len, 2 * 160);
		given += references_in_reply(t);
	}
	in.size = 4096;
	in.offset = 0;
	assert_int_equal(tfs_do(t, FUSE_READDIRPLUS, 1, TFS_ARG(in)), 0);
	given += references_in_reply(t);
	uint64_t node = tfs_lookup(t, 1, "abcdefgh", NULL);
	tfs_forget(t, node, given);
	assert_int_equal(tfs_getattr(t, node, &attr), 0); /* the LOOKUP's */
	tfs_forget(t, node, 1);
	assert_int_equal(tfs_getattr(t, node, &attr), -ESTALE);
	assert_true(tfs_open_fds() <= before + 1);
}

static void entries_in_memory_are_read_only(void **state)
{
	struct tfs *t = *state;
	struct fuse_read_in in = { .size = 100, .offset = 3 };
	struct fuse_setattr_in set = { .valid = FATTR_SIZE };
	struct fuse_rename_in rename_in = { .newdir = 1 };
	struct fuse_link_in link_in = { .oldnodeid = 2 };
	uint64_t fh, dir;

	tfs_host_write(t, "init.krun", "the host's, hidden");
	tfs_host_write(t, "x", "");
	assert_int_equal(tfs_lookup(t, 1, "init.krun", NULL), 2);
	assert_int_equal(tfs_open(t, 2, O_RDWR, false, &fh), -EACCES);
	assert_int_equal(tfs_open(t, 2, O_RDONLY | O_TRUNC, false, &fh), -EACCES);
	assert_int_equal(tfs_open(t, 2, O_RDONLY, false, &in.fh), 0);
	assert_int_equal(tfs_do(t, FUSE_READ, 2, TFS_ARG(in)), 0);
	assert_int_equal(t->reply_len, strlen(extra_data) - 3);
	assert_memory_equal(t->reply, extra_data + 3, t->reply_len);
	in.offset = UINT64_MAX;
	assert_int_equal(tfs_do(t, FUSE_READ, 2, TFS_ARG(in)), 0);
	assert_int_equal(t->reply_len, 0);
	assert_int_equal(tfs_do(t, FUSE_SETATTR, 2, TFS_ARG(set)), -EPERM);
	assert_int_equal(tfs_do(t, FUSE_UNLINK, 1, TFS_STR("init.krun")), -EPERM);
	assert_int_equal(tfs_do(t, FUSE_LINK, 1, TFS_ARG(link_in), TFS_STR("y")), -EPERM);
	assert_int_equal(
		tfs_do(t, FUSE_RENAME, 1, TFS_ARG(rename_in), TFS_STR("x"), TFS_STR("init.krun")),
		-EPERM);
	assert_int_equal(
		tfs_do(t, FUSE_RENAME, 1, TFS_ARG(rename_in), TFS_STR("init.krun"), TFS_STR("x")),
		-EPERM);
	assert_int_equal(tfs_mkdir(t, 1, "init.krun", 0755, &dir), -EEXIST);
	assert_int_equal(tfs_mkdir(t, 1, "sub", 0755, &dir), 0);
	assert_int_equal(lookup_err(t, dir, "init.krun"), -ENOENT); /* the root's only */
}

/* Below the root they hide what the host has there, be it nothing or a link, and are not listed. */
static void entries_in_memory_below_the_root(void **state)
{
	static const struct fs_extra in_etc[] = {
		{ "hosts", extra_data, sizeof(extra_data) - 1, 0644, "etc" },
		{ "other", extra_data, sizeof(extra_data) - 1, 0644, "no/such/folder" },
	};
	struct tfs *t = *state;
	struct fs_config cfg = { .extra = in_etc, .n_extra = 2 };
	uint64_t etc, dir;

	assert_int_equal(tfs_mkdir(t, 1, "etc", 0755, &etc), 0);
	assert_int_equal(symlinkat("/etc/passwd", t->root_fd, "etc/hosts"), 0);
	tfs_restart(t, &cfg);
	etc = tfs_lookup(t, 1, "etc", NULL);
	assert_int_equal(tfs_lookup(t, etc, "hosts", NULL), 2);
	assert_int_equal(lookup_err(t, 1, "hosts"), -ENOENT);
	assert_int_equal(lookup_err(t, 1, "other"), -ENOENT);
	assert_int_equal(lookup_err(t, etc, "other"), -ENOENT);
	assert_int_equal(tfs_do(t, FUSE_UNLINK, etc, TFS_STR("hosts")), -EPERM);
	assert_int_equal(tfs_mkdir(t, etc, "hosts", 0755, &dir), -EEXIST);
	assert_int_equal(faccessat(t->root_fd, "etc/hosts", F_OK, AT_SYMLINK_NOFOLLOW), 0);
}

/* With the cap on nodes reached: names are still listed, opening and closing still work. */
static void node_cap_is_a_clean_error(void **state)
{
	struct tfs *t = *state;
	struct fs_config cfg = { .max_nodes = 4, .max_open = 2 };
	struct fuse_read_in in = { .size = 4096 };
	struct fuse_direntplus first;
	uint64_t fh[3];

	for (char name[2] = "a"; name[0] <= 'h'; name[0]++)
		tfs_host_write(t, name, "");
	tfs_restart(t, &cfg);
	uint64_t a = tfs_lookup(t, 1, "a", NULL), b = tfs_lookup(t, 1, "b", NULL);
	assert_true(tfs_lookup(t, 1, "c", NULL) && a && b);
	assert_int_equal(lookup_err(t, 1, "d"), -ENFILE);
	assert_int_equal(tfs_open(t, 1, O_RDONLY, true, &in.fh), 0);
	assert_int_equal(tfs_do(t, FUSE_READDIRPLUS, 1, TFS_ARG(in)), 0);
	assert_true(t->reply_len >= 10 * 160); /* all of them, and the dots */
	memcpy(&first, t->reply, sizeof(first));
	assert_int_equal(tfs_open(t, a, O_RDONLY, false, &fh[0]), 0);
	assert_int_equal(tfs_open(t, b, O_RDONLY, false, &fh[1]), -ENFILE);
	tfs_release(t, a, fh[0]);
	assert_int_equal(tfs_open(t, b, O_RDONLY, false, &fh[1]), 0);
	tfs_release(t, b, fh[1]);
	tfs_forget(t, a, UINT64_MAX);
	assert_int_equal(lookup_err(t, 1, "d"), 0);
}

static void running_out_of_descriptors_is_a_clean_error(void **state)
{
	struct tfs *t = *state;
	struct fuse_read_in in = { .size = 4096 };
	struct rlimit old, low;
	uint64_t a, fh;

	tfs_host_write(t, "a", "");
	tfs_host_write(t, "b", "");
	a = tfs_lookup(t, 1, "a", NULL);
	assert_int_equal(tfs_open(t, 1, O_RDONLY, true, &in.fh), 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	low = (struct rlimit){ 3, old.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	int open_err = tfs_open(t, a, O_RDONLY, false, &fh);
	int look_err = lookup_err(t, 1, "b");
	int list_err = tfs_do(t, FUSE_READDIRPLUS, 1, TFS_ARG(in));
	size_t listed = t->reply_len;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(open_err, -ENFILE);
	assert_int_equal(look_err, -ENFILE);
	assert_int_equal(list_err, 0);
	assert_int_equal(listed, 4 * 160);
	assert_int_equal(tfs_open(t, a, O_RDONLY, false, &fh), 0);
}

/* More objects than descriptors: each is opened again by name, wherever the client moved it. */
static void closed_nodes_are_opened_again(void **state)
{
	struct tfs *t = *state;
	struct fs_config cfg = { .max_fds = 4 };
	struct fuse_rename_in rename_in = { .newdir = 1 };
	struct fuse_attr attr;
	uint64_t dir, node[20], other;
	char name[] = "a";

	tfs_restart(t, &cfg);
	unsigned before = tfs_open_fds();
	assert_int_equal(tfs_mkdir(t, 1, "d", 0755, &dir), 0);
	for (unsigned i = 0; i < ARRAY_LEN(node); i++, name[0]++)
		assert_int_equal(tfs_create(t, dir, name, O_RDWR, 0640 + i, &node[i], NULL), 0);
	assert_true(tfs_open_fds() <= before + 4);
	assert_int_equal(
		tfs_do(t, FUSE_RENAME, 1, TFS_ARG(rename_in), TFS_STR("d"), TFS_STR("e")), 0);
	rename_in.newdir = dir;
	assert_int_equal(
		tfs_do(t, FUSE_RENAME, dir, TFS_ARG(rename_in), TFS_STR("a"), TFS_STR("Z")), 0);
	for (unsigned i = 0; i < ARRAY_LEN(node); i++) {
		assert_int_equal(tfs_getattr(t, node[i], &attr), 0);
		assert_int_equal(attr.mode, S_IFREG | (0640 + i));
	}
	/* replaced and removed ones live on; the host's doings are noticed */
	assert_int_equal(
		tfs_do(t, FUSE_RENAME, dir, TFS_ARG(rename_in), TFS_STR("Z"), TFS_STR("b")), 0);
	assert_int_equal(tfs_do(t, FUSE_UNLINK, dir, TFS_STR("c")), 0);
	assert_int_equal(renameat(t->root_fd, "e/d", t->root_fd, "elsewhere"), 0);
	tfs_host_write(t, "e/d", "another file of that name");
	for (unsigned i = 4; i < ARRAY_LEN(node); i++)
		assert_int_equal(tfs_getattr(t, node[i], &attr), 0);
	assert_int_equal(tfs_getattr(t, node[0], &attr), 0);
	assert_int_equal(attr.nlink, 1);
	assert_int_equal(tfs_getattr(t, node[1], &attr), 0);
	assert_int_equal(attr.nlink, 0);
	assert_int_equal(tfs_getattr(t, node[2], &attr), 0);
	assert_int_equal(attr.nlink, 0);
	assert_int_equal(tfs_getattr(t, node[3], &attr), -ESTALE);
	other = tfs_lookup(t, dir, "d", NULL);
	assert_true(other && other != node[3]);
	assert_int_equal(tfs_lookup(t, 1, "elsewhere", NULL), node[3]);
	assert_int_equal(tfs_getattr(t, node[3], &attr), 0);
}

static void reset_forgets_everything(void **state)
{
	struct tfs *t = *state;
	unsigned before = tfs_open_fds();
	struct fuse_attr attr;
	uint64_t a, fh;

	assert_int_equal(tfs_create(t, 1, "a", O_RDWR, 0644, &a, &fh), 0);
	assert_int_equal(tfs_do(t, FUSE_DESTROY, 0, TFS_RAW("", 0)), 0);
	assert_int_equal(tfs_open_fds(), before);
	assert_int_equal(tfs_getattr(t, 1, &attr), -EIO); /* not before INIT */
	assert_int_equal(tfs_init(t, FUSE_MINOR_MAX, 0), 0);
	assert_int_equal(tfs_getattr(t, a, &attr), -ESTALE);
	assert_int_equal(tfs_getattr(t, 1, &attr), 0);
}

static void versions_are_negotiated(void **state)
{
	struct tfs *t = *state;
	struct fuse_init_in in = { .major = 6, .minor = 31 };
	struct fuse_init_out out;

	assert_int_equal(tfs_do(t, FUSE_INIT, 0, TFS_ARG(in)), -EPROTO);
	in.major = 8;
	assert_int_equal(tfs_do(t, FUSE_INIT, 0, TFS_ARG(in)), 0);
	memcpy(&out, t->reply, sizeof(out));
	assert_int_equal(out.major, 7);
	assert_int_equal(tfs_init(t, 26, 0), -EPROTO);
	assert_int_equal(tfs_init(t, 99, UINT64_MAX), 0);
	memcpy(&out, t->reply, sizeof(out));
	assert_int_equal(out.minor, FUSE_MINOR_MAX);
	assert_int_equal(out.max_write, 1 << 20);
	assert_int_equal(out.max_pages, 256);
	assert_false(out.flags & (FUSE_POSIX_ACL | FUSE_WRITEBACK_CACHE | FUSE_POSIX_LOCKS));
	assert_int_equal(tfs_init(t, 31, FUSE_ASYNC_READ), 0);
	memcpy(&out, t->reply, sizeof(out));
	assert_int_equal(out.flags, FUSE_ASYNC_READ);
	assert_int_equal(out.minor, 31);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

static void kernel_file_systems_are_refused(void **state)
{
	static struct tfs own; /* of the new namespace */
	struct fs_config cfg = { 0 };
	char proc[80], other[80];
	int err = 0;

	if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
		skip();
	tfs_new(&own, &cfg);
	(void)snprintf(proc, sizeof(proc), "%s/proc", own.path);
	(void)snprintf(other, sizeof(other), "%s/other", own.path);
	assert_int_equal(mkdir(proc, 0755), 0);
	assert_int_equal(mkdir(other, 0755), 0);
	assert_int_equal(mount("/proc/sys", proc, NULL, MS_BIND, NULL), 0);
	assert_int_equal(mount("tmpfs", other, "tmpfs", 0, NULL), 0);
	assert_int_equal(tfs_lookup(&own, 1, "proc", &err), 0);
	assert_int_equal(err, -EACCES);
	assert_int_not_equal(tfs_lookup(&own, 1, "other", &err), 0);
	(void)umount2(proc, MNT_DETACH);
	(void)umount2(other, MNT_DETACH);
	tfs_free(&own);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(names_are_checked), TEST(every_naming_operation_checks_names),
		TEST(ids_never_issued_find_nothing), TEST(forgotten_ids_are_not_recycled),
		TEST(forget_counts_are_guarded), TEST(batch_forget_trusts_no_count),
		TEST(handles_belong_to_their_node), TEST(symlinks_lead_nowhere),
		TEST(a_directory_swapped_for_a_symlink_stays_itself),
		TEST(truncated_requests_are_refused), TEST(header_length_must_fit),
		TEST(a_write_claims_more_than_it_sends), TEST(replies_stay_in_their_room),
		TEST(readdirplus_counts_only_what_fits), TEST(entries_in_memory_are_read_only),
		TEST(entries_in_memory_below_the_root), TEST(node_cap_is_a_clean_error),
		TEST(running_out_of_descriptors_is_a_clean_error),
		TEST(closed_nodes_are_opened_again), TEST(reset_forgets_everything),
		TEST(versions_are_negotiated),
		TEST(kernel_file_systems_are_refused), /* last: in a mount namespace of its own */
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
