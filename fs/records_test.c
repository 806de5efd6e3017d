/* SPDX-License-Identifier: Apache-2.0 */
/* How owners and modes are kept where a mount says so (images.md 5.2). */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/fs_internal.h"
#include "fs/fs_test_util.h"

#define OVERRIDE "user.containers.override_stat"

static int setup(void **state)
{
	static struct tfs t;

	tfs_new(&t, NULL);
	tfs_host_write(&t, "there", "target");
	*state = &t;
	return 0;
}

static int teardown(void **state)
{
	tfs_free(*state);
	return 0;
}

static void serve(struct tfs *t, struct fs_records records)
{
	struct fs_config cfg = { .owner = FS_OWNER_XATTR, .records = records };

	tfs_restart(t, &cfg);
	t->uid = 1000;
	t->gid = 1001;
}

static void put_record(struct tfs *t, const char *name, const void *value, size_t len)
{
	char path[160];

	(void)snprintf(path, sizeof(path), "%s/%s", t->path, name);
	assert_int_equal(lsetxattr(path, OVERRIDE, value, len, 0), 0);
}

static void put_packed(struct tfs *t, const char *name, uint32_t uid, uint32_t gid, uint32_t mode)
{
	uint8_t value[20] = { 1 };

	store_le32(value + 4, uid);
	store_le32(value + 8, gid);
	store_le32(value + 12, mode);
	put_record(t, name, value, sizeof(value));
}

static struct fuse_attr attr_of(struct tfs *t, const char *name)
{
	struct fuse_attr attr;

	assert_int_equal(tfs_getattr(t, tfs_lookup(t, 1, name, NULL), &attr), 0);
	return attr;
}

static void packed_records_are_20_bytes(void **state)
{
	struct tfs *t = *state;
	uint8_t value[32];
	char path[160];
	uint64_t node;

	serve(t, (struct fs_records){ .packed = true });
	assert_int_equal(tfs_create(t, 1, "f", O_RDWR, 04751, &node, NULL), 0);
	(void)snprintf(path, sizeof(path), "%s/f", t->path);
	assert_int_equal(lgetxattr(path, OVERRIDE, value, sizeof(value)), 20);
	assert_int_equal(load_le32(value), 1);
	assert_int_equal(load_le32(value + 4), 1000);
	assert_int_equal(load_le32(value + 8), 1001);
	assert_int_equal(load_le32(value + 12), S_IFREG | 04751);
	assert_int_equal(load_le32(value + 16), 0);
	put_packed(t, "there", 3, 4, S_IFCHR | 0640);
	value[0] = 1;
	assert_int_equal(attr_of(t, "there").uid, 3);
	assert_int_equal(attr_of(t, "there").mode, S_IFCHR | 0640);
}

static void files_can_stand_for_links(void **state)
{
	struct tfs *t = *state;
	uint64_t node;

	serve(t, (struct fs_records){ .packed = true });
	node = tfs_lookup(t, 1, "there", NULL);
	assert_int_equal(tfs_send(t, FUSE_READLINK, node, NULL, 0), -EINVAL);
	put_packed(t, "there", 3, 4, S_IFLNK | 0777);
	assert_int_equal(attr_of(t, "there").mode, S_IFLNK | 0777);
	assert_int_equal(tfs_send(t, FUSE_READLINK, node, NULL, 0), 0);
	assert_int_equal(t->reply_len, strlen("target"));
	assert_memory_equal(t->reply, "target", strlen("target"));
}

static mode_t host_mode(struct tfs *t, const char *name)
{
	struct stat st;

	assert_int_equal(fstatat(t->root_fd, name, &st, AT_SYMLINK_NOFOLLOW), 0);
	return st.st_mode & 07777;
}

static void modes_are_the_hosts_business_or_not(void **state)
{
	struct fuse_setattr_in in = { .valid = FATTR_MODE, .mode = S_IFREG | 06754 };
	struct tfs *t = *state;
	uint64_t node;

	serve(t, (struct fs_records){ .perms = FS_PERMS_PRIVATE });
	assert_int_equal(tfs_create(t, 1, "p", O_RDWR, 0777, &node, NULL), 0);
	assert_int_equal(tfs_do(t, FUSE_SETATTR, node, TFS_ARG(in)), 0);
	assert_int_equal(host_mode(t, "p"), 0600);
	assert_int_equal(tfs_mkdir(t, 1, "pd", 0777, &node), 0);
	assert_int_equal(host_mode(t, "pd"), 0700);
	serve(t, (struct fs_records){ .perms = FS_PERMS_MIRROR });
	assert_int_equal(tfs_create(t, 1, "m", O_RDWR, 0044, &node, NULL), 0);
	assert_int_equal(host_mode(t, "m"), 0644);
	assert_int_equal(tfs_do(t, FUSE_SETATTR, node, TFS_ARG(in)), 0);
	assert_int_equal(host_mode(t, "m"), 0754);
	assert_int_equal(attr_of(t, "m").mode, S_IFREG | 06754);
	/* What is a device for the guest is nobody's program here. */
	struct fuse_mknod_in dev = { .mode = S_IFCHR | 0600, .rdev = 0x103 };
	assert_int_equal(tfs_do(t, FUSE_MKNOD, 1, TFS_ARG(dev), TFS_STR("c")), 0);
	node = load_le64(t->reply);
	assert_int_equal(tfs_do(t, FUSE_SETATTR, node, TFS_ARG(in)), 0);
	assert_int_equal(host_mode(t, "c"), 0600);
	assert_int_equal(attr_of(t, "c").mode, S_IFCHR | 06754);
}

static void owners_are_mapped_where_nothing_is_recorded(void **state)
{
	struct tfs *t = *state;
	struct fs_records map = { .has_ids = true, .uid = 70, .gid = 71 };
	uint64_t node;

	assert_int_equal(symlinkat("there", t->root_fd, "link"), 0);
	serve(t, map);
	assert_int_equal(attr_of(t, "there").uid, 70);
	assert_int_equal(attr_of(t, "there").gid, 71);
	assert_int_equal(attr_of(t, "link").uid, 70);
	assert_int_equal(tfs_create(t, 1, "f", O_RDWR, 0600, &node, NULL), 0);
	assert_int_equal(attr_of(t, "f").uid, 1000);
	if (geteuid() == 0) {
		assert_int_equal(fchownat(t->root_fd, "there", 5, 5, 0), 0);
		assert_int_equal(attr_of(t, "there").uid, 65534);
		assert_int_equal(attr_of(t, "there").gid, 65534);
	}
	/* A first chmod keeps what was shown, and records it. */
	struct fuse_setattr_in in = { .valid = FATTR_MODE, .mode = 0600 };
	node = tfs_lookup(t, 1, "f", NULL);
	assert_int_equal(tfs_do(t, FUSE_SETATTR, node, TFS_ARG(in)), 0);
	assert_int_equal(attr_of(t, "f").uid, 1000);
}

static void broken_records_are_errors_if_they_count(void **state)
{
	static const enum fs_record_need need[] = { FS_RECORD_IF_POSSIBLE, FS_RECORD_TO_WRITE,
		FS_RECORD_ALWAYS };
	static const char *const values[] = { "", "\2\0\0\0aaaabbbbccccdddd", "1:2",
		("0123456789012345678901234567890123456789012345678901234567890123456789"
		 "0123456789012345678901234567890123456789012345678901234567890123456789") };
	struct tfs *t = *state;

	for (unsigned i = 0; i < ARRAY_LEN(need); i++) {
		serve(t, (struct fs_records){ .need = need[i] });
		for (unsigned v = 0; v < ARRAY_LEN(values); v++) {
			int err = 0;

			put_record(t, "there", values[v], v == 1 ? 20 : strlen(values[v]));
			(void)tfs_lookup(t, 1, "there", &err);
			assert_int_equal(err, need[i] == FS_RECORD_IF_POSSIBLE ? 0 : -EIO);
		}
	}
}

static void tells_whether_records_can_be_kept(void **state)
{
	struct tfs *t = *state;
	int proc = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);

	assert_int_equal(fs_takes_records(t->root_fd, false), 0);
	assert_int_equal(fs_takes_records(t->root_fd, true), 0);
	assert_int_equal(flistxattr(t->root_fd, NULL, 0), 0); /* no trace of the try */
	assert_true(fs_takes_records(proc, false) < 0);
	(void)close(proc);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(packed_records_are_20_bytes),
		CASE(files_can_stand_for_links),
		CASE(modes_are_the_hosts_business_or_not),
		CASE(owners_are_mapped_where_nothing_is_recorded),
		CASE(broken_records_are_errors_if_they_count),
		CASE(tells_whether_records_can_be_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
