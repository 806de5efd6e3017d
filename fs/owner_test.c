/* SPDX-License-Identifier: Apache-2.0 */
/* Ownership in both modes, special files, xattrs, and read-only servers (krun-api.md 4.7,
 * hostile-inputs.md 18 and 19). */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/fs_internal.h"
#include "fs/fs_test_util.h"

#define OVERRIDE "user.containers.override_stat"

static int setup_host(void **state)
{
	static struct tfs t;

	tfs_new(&t, NULL);
	*state = &t;
	return 0;
}

static int setup_xattr(void **state)
{
	static struct tfs t;
	struct fs_config cfg = { .owner = FS_OWNER_XATTR };

	tfs_new(&t, &cfg);
	*state = &t;
	return 0;
}

static int teardown(void **state)
{
	tfs_free(*state);
	return 0;
}

static struct stat host_stat(struct tfs *t, const char *name)
{
	struct stat st;

	assert_int_equal(fstatat(t->root_fd, name, &st, AT_SYMLINK_NOFOLLOW), 0);
	return st;
}

static struct fuse_attr attr_of(struct tfs *t, uint64_t node)
{
	struct fuse_attr attr;

	assert_int_equal(tfs_getattr(t, node, &attr), 0);
	return attr;
}

static int chmod_node(struct tfs *t, uint64_t node, uint32_t mode)
{
	struct fuse_setattr_in in = { .valid = FATTR_MODE, .mode = mode };

	return tfs_do(t, FUSE_SETATTR, node, TFS_ARG(in));
}

static int chown_node(struct tfs *t, uint64_t node, uint32_t uid, uint32_t gid)
{
	struct fuse_setattr_in in = { .valid = FATTR_UID | FATTR_GID, .uid = uid, .gid = gid };

	return tfs_do(t, FUSE_SETATTR, node, TFS_ARG(in));
}

static int mknod_at(struct tfs *t, const char *name, uint32_t mode, uint32_t rdev, uint64_t *node)
{
	struct fuse_mknod_in in = { .mode = mode, .rdev = rdev };
	int rc = tfs_do(t, FUSE_MKNOD, 1, TFS_ARG(in), TFS_STR(name));

	*node = rc == 0 ? load_le64(t->reply) : 0;
	return rc;
}

static void host_path(struct tfs *t, const char *name, char *buf, size_t size)
{
	(void)snprintf(buf, size, "%s/%s", t->path, name);
}

static void host_override(struct tfs *t, const char *name, const char *value)
{
	char path[160];

	host_path(t, name, path, sizeof(path));
	assert_int_equal(lsetxattr(path, OVERRIDE, value, strlen(value), 0), 0);
}

static void assert_override(struct tfs *t, const char *name, const char *want)
{
	char path[160], value[129] = { 0 };

	host_path(t, name, path, sizeof(path));
	assert_true(lgetxattr(path, OVERRIDE, value, sizeof(value) - 1) >= 0);
	assert_string_equal(value, want);
}

static struct owner parse(mode_t real, const char *value)
{
	struct owner o = { .uid = 11, .gid = 22, .mode = real, .rdev = 33 };

	owner_parse(value, strlen(value), &o);
	return o;
}

static void assert_owner(struct owner o, uid_t uid, gid_t gid, mode_t mode)
{
	assert_int_equal(o.uid, uid);
	assert_int_equal(o.gid, gid);
	assert_int_equal(o.mode, mode);
}

static void override_values_are_parsed(void **state)
{
	(void)state;
	assert_owner(parse(S_IFREG | 0600, "1:2:0100755"), 1, 2, S_IFREG | 0755);
	assert_owner(parse(S_IFDIR | 0700, "0:0:0555"), 0, 0, S_IFDIR | 0555); /* no type bits */
	assert_owner(parse(S_IFREG | 0600, "1:2"), 11, 22, S_IFREG | 0600);
	assert_owner(parse(S_IFREG | 0600, ""), 11, 22, S_IFREG | 0600);
	assert_owner(parse(S_IFREG | 0600, "::"), 11, 22, S_IFREG | 0600);
	assert_owner(parse(S_IFREG | 0600, "x:2:0644"), 11, 2, S_IFREG | 0644);
	assert_owner(parse(S_IFREG | 0600, "1:-2:0648"), 1, 22, S_IFREG | 0600);
	assert_owner(parse(S_IFREG | 0600, "4294967296:99999999999999999999:07777"), 11, 22,
		S_IFREG | 07777);
	assert_owner(parse(S_IFREG | 0600, "4294967295:2:06755"), UINT32_MAX, 2, S_IFREG | 06755);
	/* types a host object cannot stand for */
	assert_owner(parse(S_IFREG | 0600, "1:2:040755"), 1, 2, S_IFREG | 0755);
	assert_owner(parse(S_IFDIR | 0700, "1:2:010644"), 1, 2, S_IFDIR | 0644);
	assert_int_equal(parse(S_IFREG | 0600, "1:2:020644:1283").rdev, 1283);
	assert_int_equal(parse(S_IFREG | 0600, "1:2:010644:1283").rdev, 33);
}

static void device_numbers_survive_the_wire(void **state)
{
	(void)state;
	assert_int_equal(rdev_to_wire(8, 1), 0x801);
	assert_int_equal(rdev_from_wire(0x801), 0x801);
	uint32_t wire = rdev_to_wire(259, 0x12345);
	assert_int_equal(
		rdev_to_wire((wire >> 8) & 0xfff, (wire & 0xff) | ((wire >> 12) & ~0xffU)), wire);
}

static void xattr_mode_leaves_the_host_owner(void **state)
{
	struct tfs *t = *state;
	uint64_t file, dir;

	t->uid = 1000;
	t->gid = 1001;
	assert_int_equal(tfs_create(t, 1, "f", O_RDWR, 04751, &file, NULL), 0);
	assert_int_equal(tfs_mkdir(t, 1, "d", 0500, &dir), 0);
	assert_override(t, "f", "1000:1001:0104751");
	assert_override(t, "d", "1000:1001:040500");
	struct stat st = host_stat(t, "f");
	assert_int_equal(st.st_uid, geteuid());
	assert_int_equal(st.st_mode, S_IFREG | 0751); /* never setuid */
	assert_int_equal(host_stat(t, "d").st_mode, S_IFDIR | 0700);
	struct fuse_attr a = attr_of(t, file);
	assert_int_equal(a.uid, 1000);
	assert_int_equal(a.gid, 1001);
	assert_int_equal(a.mode, S_IFREG | 04751);

	assert_int_equal(chmod_node(t, file, 06777), 0);
	assert_int_equal(host_stat(t, "f").st_mode, S_IFREG | 0751);
	assert_int_equal(attr_of(t, file).mode, S_IFREG | 06777);
	assert_int_equal(chown_node(t, file, 5, 6), 0); /* clears setuid and setgid */
	assert_override(t, "f", "5:6:0100777");
}

static void xattr_mode_inherits_the_group_of_setgid_directories(void **state)
{
	struct tfs *t = *state;
	uint64_t dir, node;

	assert_int_equal(tfs_mkdir(t, 1, "d", 0755, &dir), 0);
	assert_int_equal(chown_node(t, dir, 7, 8), 0);
	assert_int_equal(chmod_node(t, dir, 02755), 0);
	assert_int_equal(tfs_mkdir(t, dir, "sub", 0755, &node), 0);
	assert_int_equal(attr_of(t, node).gid, 8);
	assert_int_equal(attr_of(t, node).mode, S_IFDIR | 02755);
	assert_int_equal(tfs_create(t, dir, "f", O_RDWR, 0644, &node, NULL), 0);
	assert_int_equal(attr_of(t, node).gid, 8);
	assert_int_equal(attr_of(t, node).mode, S_IFREG | 0644);
}

static void xattr_mode_special_files_are_plain_on_the_host(void **state)
{
	static const uint32_t types[] = { S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK };
	struct tfs *t = *state;
	uint64_t node;

	for (unsigned i = 0; i < ARRAY_LEN(types); i++) {
		char name[2] = { (char)('a' + i), 0 };
		assert_int_equal(mknod_at(t, name, types[i] | 0666, 0x801, &node), 0);
		assert_int_equal(host_stat(t, name).st_mode, S_IFREG | 0600);
		assert_int_equal(attr_of(t, node).mode, types[i] | 0666);
		bool dev = types[i] == S_IFCHR || types[i] == S_IFBLK;
		assert_int_equal(attr_of(t, node).rdev, dev ? 0x801 : 0);
	}
	assert_int_equal(mknod_at(t, "bad", S_IFDIR | 0755, 0, &node), -EINVAL);
	assert_int_equal(mknod_at(t, "bad", 0170000 | 0755, 0, &node), -EINVAL);
	assert_int_equal(faccessat(t->root_fd, "bad", F_OK, 0), -1);
}

static void xattr_mode_reads_foreign_records(void **state)
{
	struct tfs *t = *state;
	char longest[200];

	tfs_host_write(t, "a", "");
	host_override(t, "a", "0:0:0555");
	uint64_t node = tfs_lookup(t, 1, "a", NULL);
	assert_int_equal(attr_of(t, node).mode, S_IFREG | 0555);
	memset(longest, '1', sizeof(longest));
	longest[sizeof(longest) - 1] = 0;
	host_override(t, "a", longest); /* too long to be one: the real values */
	assert_int_equal(attr_of(t, node).uid, geteuid());
	assert_int_equal(attr_of(t, node).mode, S_IFREG | 0644);
}

static void xattr_mode_symlinks_have_owners_too(void **state)
{
	struct tfs *t = *state;

	t->uid = t->gid = 1000;
	assert_int_equal(tfs_do(t, FUSE_SYMLINK, 1, TFS_STR("s"), TFS_STR("/target")), 0);
	uint64_t node = load_le64(t->reply);
	assert_int_equal(attr_of(t, node).uid, 1000);
	assert_int_equal(chown_node(t, node, 5, 6), 0);
	assert_int_equal(attr_of(t, node).uid, 5);
	assert_int_equal(attr_of(t, node).gid, 6);
}

static void xattr_mode_keeps_the_guests_names_apart(void **state)
{
	struct tfs *t = *state;
	struct fuse_setxattr_in set = { .size = 1 };
	struct fuse_getxattr_in get = { .size = 4096 };
	char path[160], value[8];
	uint64_t node;

	assert_int_equal(tfs_create(t, 1, "f", O_RDWR, 0644, &node, NULL), 0);
	struct tfs_part one = TFS_RAW("1", 1);
	assert_int_equal(tfs_do(t, FUSE_SETXATTR, node, TFS_ARG(set), TFS_STR("user.a"), one), 0);
	assert_int_equal(
		tfs_do(t, FUSE_SETXATTR, node, TFS_ARG(set), TFS_STR("security.capability"), one),
		0);
	assert_int_equal(
		tfs_do(t, FUSE_SETXATTR, node, TFS_ARG(set), TFS_STR("trusted.t"), one), 0);
	assert_int_equal(
		tfs_do(t, FUSE_SETXATTR, node, TFS_ARG(set), TFS_STR(OVERRIDE), one), -EPERM);
	assert_int_equal(tfs_do(t, FUSE_REMOVEXATTR, node, TFS_STR(OVERRIDE)), -EPERM);
	assert_int_equal(tfs_do(t, FUSE_GETXATTR, node, TFS_ARG(get), TFS_STR(OVERRIDE)), -ENODATA);
	assert_int_equal(tfs_do(t, FUSE_SETXATTR, node, TFS_ARG(set),
				 TFS_STR("system.posix_acl_access"), one),
		-EOPNOTSUPP);
	host_path(t, "f", path, sizeof(path));
	assert_int_equal(getxattr(path, "security.capability", value, sizeof(value)), -1);
	assert_int_equal(getxattr(path, "trusted.t", value, sizeof(value)), -1);

	assert_int_equal(tfs_do(t, FUSE_LISTXATTR, node, TFS_ARG(get)), 0);
	size_t len = strlen("user.a") + strlen("security.capability") + strlen("trusted.t") + 3;
	assert_int_equal(t->reply_len, len);
	get.size = 0;
	assert_int_equal(tfs_do(t, FUSE_LISTXATTR, node, TFS_ARG(get)), 0);
	assert_int_equal(load_le32(t->reply), len);
	get.size = (uint32_t)len - 1;
	assert_int_equal(tfs_do(t, FUSE_LISTXATTR, node, TFS_ARG(get)), -ERANGE);
}

/* What a write without CAP_FSETID takes away. */
static void write_kill(struct tfs *t, const char *name)
{
	struct fuse_write_in in = { .size = 1, .write_flags = FUSE_WRITE_KILL_SUIDGID };
	uint64_t node;

	assert_int_equal(tfs_create(t, 1, name, O_RDWR, 0755, &node, &in.fh), 0);
	assert_int_equal(chmod_node(t, node, 06755), 0);
	in.write_flags = 0;
	assert_int_equal(tfs_do(t, FUSE_WRITE, node, TFS_ARG(in), TFS_RAW("x", 1)), 0);
	assert_int_equal(attr_of(t, node).mode, S_IFREG | 06755);
	in.write_flags = FUSE_WRITE_KILL_SUIDGID;
	assert_int_equal(tfs_do(t, FUSE_WRITE, node, TFS_ARG(in), TFS_RAW("x", 1)), 0);
	assert_int_equal(attr_of(t, node).mode, S_IFREG | 0755);
	assert_int_equal(chmod_node(t, node, 02644), 0); /* setgid without x is locking, it stays */
	assert_int_equal(tfs_do(t, FUSE_WRITE, node, TFS_ARG(in), TFS_RAW("x", 1)), 0);
	assert_int_equal(attr_of(t, node).mode, S_IFREG | 02644);
	assert_int_equal(chmod_node(t, node, 04755), 0);
	struct fuse_setattr_in cut = { .valid = FATTR_SIZE | FATTR_KILL_SUIDGID };
	assert_int_equal(tfs_do(t, FUSE_SETATTR, node, TFS_ARG(cut)), 0);
	assert_int_equal(attr_of(t, node).mode, S_IFREG | 0755);
	assert_int_equal(chmod_node(t, node, 04755), 0);
	struct fuse_open_in open_in = { O_RDWR | O_TRUNC, FUSE_OPEN_KILL_SUIDGID };
	assert_int_equal(tfs_do(t, FUSE_OPEN, node, TFS_ARG(open_in)), 0);
	assert_int_equal(attr_of(t, node).mode, S_IFREG | 0755);
}

static void unprivileged_writes_kill_setuid(void **state)
{
	write_kill(*state, "f");
}

static void host_mode_gives_files_to_the_requester(void **state)
{
	struct tfs *t = *state;
	uint64_t node;

	if (geteuid() != 0)
		skip(); /* giving files away needs root */
	t->uid = 1000;
	t->gid = 1001;
	assert_int_equal(tfs_create(t, 1, "f", O_RDWR, 06755, &node, NULL), 0);
	assert_int_equal(host_stat(t, "f").st_uid, 1000);
	assert_int_equal(host_stat(t, "f").st_gid, 1001);
	assert_int_equal(host_stat(t, "f").st_mode, S_IFREG | 06755);
	assert_int_equal(fchown(t->root_fd, 0, 77), 0);
	assert_int_equal(fchmod(t->root_fd, 02777), 0);
	assert_int_equal(tfs_mkdir(t, 1, "d", 0755, &node), 0);
	assert_int_equal(host_stat(t, "d").st_gid, 77);
	assert_int_equal(host_stat(t, "d").st_mode, S_IFDIR | 02755);
}

static void host_mode_special_files(void **state)
{
	struct tfs *t = *state;
	uint64_t node, fh;

	assert_int_equal(mknod_at(t, "fifo", S_IFIFO | 0666, 0, &node), 0);
	assert_int_equal(host_stat(t, "fifo").st_mode, S_IFIFO | 0666);
	assert_int_equal(tfs_open(t, node, O_RDONLY, false, &fh), -ENXIO); /* would block */
	assert_int_equal(mknod_at(t, "sock", S_IFSOCK | 0666, 0, &node), 0);
	assert_int_equal(tfs_open(t, node, O_RDWR, false, &fh), -ENXIO);
	assert_int_equal(mknod_at(t, "blk", S_IFBLK | 0666, 0x801, &node), -EPERM);
	assert_int_equal(mknod_at(t, "chr", S_IFCHR | 0666, 0x103, &node), -EPERM);
	assert_int_equal(faccessat(t->root_fd, "blk", F_OK, 0), -1);
	if (geteuid() != 0)
		return;
	assert_int_equal(mknod_at(t, "whiteout", S_IFCHR | 0600, 0, &node), 0);
	assert_int_equal(tfs_open(t, node, O_RDONLY, false, &fh), -ENXIO);
	assert_int_equal(mknodat(t->root_fd, "null", S_IFCHR | 0666, 0x103), 0);
	node = tfs_lookup(t, 1, "null", NULL); /* the host's own */
	assert_int_equal(attr_of(t, node).rdev, 0x103);
	assert_int_equal(tfs_open(t, node, O_RDWR, false, &fh), -ENXIO);
}

static void host_mode_xattr_names(void **state)
{
	static const struct {
		const char *name;
		int want;
	} rows[] = {
		{ "user.x", 0 },
		{ "trusted.overlay.redirect", -EOPNOTSUPP },
		{ "security.selinux", -EOPNOTSUPP },
		{ "system.posix_acl_access", -EOPNOTSUPP },
		{ "junk", -EOPNOTSUPP },
		{ "", -EINVAL },
	};
	struct tfs *t = *state;
	struct fuse_setxattr_in set = { .size = 1 };
	uint64_t node;

	assert_int_equal(tfs_create(t, 1, "f", O_RDWR, 0644, &node, NULL), 0);
	for (unsigned i = 0; i < ARRAY_LEN(rows); i++)
		assert_int_equal(tfs_do(t, FUSE_SETXATTR, node, TFS_ARG(set), TFS_STR(rows[i].name),
					 TFS_RAW("1", 1)),
			rows[i].want);
}

static void xattr_sizes_are_bounded(void **state)
{
	struct tfs *t = *state;
	struct fuse_setxattr_in set = { .size = 65537 };
	struct fuse_getxattr_in get = { .size = UINT32_MAX };
	char name[300] = "user.";
	uint64_t node;

	assert_int_equal(tfs_create(t, 1, "f", O_RDWR, 0644, &node, NULL), 0);
	struct tfs_part x = TFS_STR("user.x"), one = TFS_RAW("1", 1);
	assert_int_equal(tfs_do(t, FUSE_SETXATTR, node, TFS_ARG(set), x, one), -E2BIG);
	set.size = 2; /* more than is there */
	assert_int_equal(tfs_do(t, FUSE_SETXATTR, node, TFS_ARG(set), x, one), -EINVAL);
	set.size = 1;
	memset(name + 5, 'x', sizeof(name) - 6);
	assert_int_equal(tfs_do(t, FUSE_SETXATTR, node, TFS_ARG(set), TFS_STR(name), one), -ERANGE);
	assert_int_equal(tfs_do(t, FUSE_SETXATTR, node, TFS_ARG(set), x, one), 0);
	assert_int_equal(tfs_do(t, FUSE_GETXATTR, node, TFS_ARG(get), x), 0);
	assert_int_equal(t->reply_len, 1);
	t->room = 16;
	assert_int_equal(tfs_do(t, FUSE_GETXATTR, node, TFS_ARG(get), x), -ERANGE);
	assert_int_equal(tfs_do(t, FUSE_LISTXATTR, node, TFS_ARG(get)), -ERANGE);
	t->room = 65536;
	assert_int_equal(tfs_do(t, FUSE_REMOVEXATTR, node, x), 0);
	assert_int_equal(tfs_do(t, FUSE_REMOVEXATTR, node, x), -ENODATA);
}

static void open_drops_the_cache_of_changing_files(void **state)
{
	struct tfs *t = *state;
	struct fuse_open_in in = { O_RDONLY, 0 };

	tfs_host_write(t, "f", "a");
	uint64_t node = tfs_lookup(t, 1, "f", NULL);
	for (unsigned i = 0; i < 2; i++) { /* changed just now: the next change may look the same */
		assert_int_equal(tfs_do(t, FUSE_OPEN, node, TFS_ARG(in)), 0);
		assert_int_equal(load_le32(t->reply + 8) & FOPEN_KEEP_CACHE, 0);
	}
}

static void read_only_refuses_every_change(void **state)
{
	struct tfs *t = *state;
	struct fs_config cfg = { .read_only = true };
	struct fuse_mkdir_in mkdir_in = { 0 };
	struct fuse_mknod_in mknod_in = { .mode = S_IFREG };
	struct fuse_create_in create_in = { .flags = O_RDWR };
	struct fuse_rename2_in rename_in = { .newdir = 1 };
	struct fuse_link_in link_in = { .oldnodeid = 1 };
	struct fuse_setattr_in set = { 0 };
	struct fuse_setxattr_in setx = { .size = 1 };
	struct fuse_write_in write_in = { .size = 1 };
	struct fuse_fallocate_in falloc = { .length = 1 };
	struct fuse_copy_file_range_in copy = { .nodeid_out = 1, .len = 1 };
	struct fuse_ioctl_in ioctl_in = { .cmd = 0x7603 };
	struct tfs_part f = TFS_STR("f"), x = TFS_STR("x");
	uint64_t fh;

	tfs_host_write(t, "f", "abc");
	tfs_restart(t, &cfg);
	uint64_t node = tfs_lookup(t, 1, "f", NULL);
	assert_int_equal(tfs_open(t, node, O_RDWR, false, &fh), -EROFS);
	assert_int_equal(tfs_open(t, node, O_WRONLY, false, &fh), -EROFS);
	assert_int_equal(tfs_open(t, node, O_RDONLY | O_TRUNC, false, &fh), -EROFS);
	assert_int_equal(tfs_open(t, node, O_RDONLY, false, &fh), 0);
	write_in.fh = falloc.fh = copy.fh_in = copy.fh_out = fh;
	set.valid = FATTR_SIZE | FATTR_FH;
	set.fh = fh;
	assert_int_equal(tfs_do(t, FUSE_SETATTR, node, TFS_ARG(set)), -EROFS);
	assert_int_equal(tfs_do(t, FUSE_WRITE, node, TFS_ARG(write_in), TFS_RAW("x", 1)), -EROFS);
	assert_int_equal(tfs_do(t, FUSE_FALLOCATE, node, TFS_ARG(falloc)), -EROFS);
	assert_int_equal(tfs_do(t, FUSE_COPY_FILE_RANGE, node, TFS_ARG(copy)), -EROFS);
	assert_int_equal(tfs_do(t, FUSE_MKDIR, 1, TFS_ARG(mkdir_in), x), -EROFS);
	assert_int_equal(tfs_do(t, FUSE_MKNOD, 1, TFS_ARG(mknod_in), x), -EROFS);
	assert_int_equal(tfs_do(t, FUSE_CREATE, 1, TFS_ARG(create_in), x), -EROFS);
	assert_int_equal(tfs_do(t, FUSE_TMPFILE, 1, TFS_ARG(create_in), x), -EROFS);
	assert_int_equal(tfs_do(t, FUSE_SYMLINK, 1, x, f), -EROFS);
	assert_int_equal(tfs_do(t, FUSE_LINK, 1, TFS_ARG(link_in), x), -EROFS);
	assert_int_equal(tfs_do(t, FUSE_UNLINK, 1, f), -EROFS);
	assert_int_equal(tfs_do(t, FUSE_RMDIR, 1, f), -EROFS);
	assert_int_equal(tfs_do(t, FUSE_RENAME, 1, TFS_RAW("\1\0\0\0\0\0\0\0", 8), f, x), -EROFS);
	assert_int_equal(tfs_do(t, FUSE_RENAME2, 1, TFS_ARG(rename_in), f, x), -EROFS);
	assert_int_equal(
		tfs_do(t, FUSE_SETXATTR, node, TFS_ARG(setx), TFS_STR("user.a"), TFS_RAW("1", 1)),
		-EROFS);
	assert_int_equal(tfs_do(t, FUSE_REMOVEXATTR, node, TFS_STR("user.a")), -EROFS);
	assert_int_equal(tfs_do(t, FUSE_IOCTL, node, TFS_ARG(ioctl_in)), -ENOTTY);
	assert_int_equal(tfs_do(t, FUSE_SETUPMAPPING, node, TFS_ARG(copy)), -ENOSYS);
	assert_int_equal(host_stat(t, "f").st_size, 3);
}

#define HOST(f)	 cmocka_unit_test_setup_teardown(f, setup_host, teardown)
#define XATTR(f) cmocka_unit_test_setup_teardown(f, setup_xattr, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(override_values_are_parsed),
		cmocka_unit_test(device_numbers_survive_the_wire),
		XATTR(xattr_mode_leaves_the_host_owner),
		XATTR(xattr_mode_inherits_the_group_of_setgid_directories),
		XATTR(xattr_mode_special_files_are_plain_on_the_host),
		XATTR(xattr_mode_reads_foreign_records),
		XATTR(xattr_mode_symlinks_have_owners_too),
		XATTR(xattr_mode_keeps_the_guests_names_apart),
		XATTR(unprivileged_writes_kill_setuid),
		HOST(unprivileged_writes_kill_setuid),
		HOST(host_mode_gives_files_to_the_requester),
		HOST(host_mode_special_files),
		HOST(host_mode_xattr_names),
		HOST(xattr_sizes_are_bounded),
		HOST(open_drops_the_cache_of_changing_files),
		HOST(read_only_refuses_every_change),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
