/* SPDX-License-Identifier: Apache-2.0 */
#include "block/upper.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/ext4.h"
#include "lib/cleanup.h"
#include "lib/num.h"
#include "lib/path.h"

static unsigned journal_blocks(uint64_t size)
{
	if (size < MIB(512))
		return 1024; /* the least there is */
	return size < GIB(64) ? 4096 : 16384;
}

static errcode_t make_dir(ext2_filsys fs, ext2_ino_t ino, const char *name)
{
	struct ext2_inode inode;
	errcode_t rc = ext2fs_mkdir(fs, EXT2_ROOT_INO, ino, name);

	if (!rc)
		rc = ext2fs_read_inode(fs, ino, &inode);
	if (rc)
		return rc;
	inode.i_mode = LINUX_S_IFDIR | 0755; /* whatever the process's umask is */
	return ext2fs_write_inode(fs, ino, &inode);
}

static int make_dirs(void *ctx, ext2_filsys fs, struct err *err)
{
	const char *const *dirs = ctx;
	errcode_t rc = make_dir(fs, EXT2_ROOT_INO, NULL);

	for (unsigned i = 0; !rc && dirs && dirs[i]; i++) {
		ext2_ino_t ino;

		rc = ext2fs_new_inode(fs, EXT2_ROOT_INO, LINUX_S_IFDIR | 0755, 0, &ino);
		if (!rc)
			rc = make_dir(fs, ino, dirs[i]);
	}
	return rc ? ext4_error(err, rc, "directories") : 0;
}

static int check_size(uint64_t size, struct err *err)
{
	if (size < UPPER_MIN || size > UPPER_MAX || size % EXT4_BLOCK)
		return err_msg(err, EINVAL,
			"a writable layer has 16 MiB to 16 TiB in multiples of 4096 bytes, "
			"not %" PRIu64 " bytes",
			size);
	return 0;
}

/* Give the file its name, which nothing may have. */
static int publish(int dir_fd, const char *name, int fd, bool durable, struct err *err)
{
	char path[32];

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (durable && fsync(fd) < 0)
		return err_set(err, errno, "write '%s' to stable storage", name);
	if (linkat(AT_FDCWD, path, dir_fd, name, AT_SYMLINK_FOLLOW) < 0)
		return err_set(err, errno, "create '%s'", name);
	if (durable && fsync(dir_fd) < 0) {
		int code = errno;

		(void)unlinkat(dir_fd, name, 0);
		return err_set(err, code, "write the folder of '%s' to stable storage", name);
	}
	return 0;
}

/* Without a name until it is complete: killed in between, we leave nothing. File systems that
 * cannot do that (overlayfs before Linux 6.1, NFS) get a name that the next attempt takes over. */
static int open_nameless(int dir_fd, const char *part, struct err *err)
{
	int fd = openat(dir_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) {
		(void)unlinkat(dir_fd, part, 0);
		fd = openat(dir_fd, part, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600);
	}
	return fd < 0 ? err_set(err, errno, "create a file for a writable layer") : fd;
}

static int build(
	int dir_fd, const char *name, int fd, const struct upper_config *cfg, struct err *err)
{
	const struct ext4_config ext4 = {
		.size = cfg->size,
		.journal = journal_blocks(cfg->size),
		.sync = cfg->durable,
		.fill = make_dirs,
		.ctx = (void *)cfg->dirs,
	};
	int r;

	if (ftruncate(fd, (off_t)cfg->size) < 0)
		return err_set(err, errno, "make '%s' %" PRIu64 " bytes long", name, cfg->size);
	r = ext4_format(fd, &ext4, err);
	if (r < 0) {
		(void)err_wrap(err, "create '%s'", name);
		return r;
	}
	return publish(dir_fd, name, fd, cfg->durable, err);
}

int upper_create(int dir_fd, const char *name, const struct upper_config *cfg, struct err *err)
{
	char part[NAME_MAX + 1];
	cleanup_fd int fd = -1;
	int r = check_size(cfg->size, err);

	if (r < 0)
		return r;
	if (!path_name_ok(name) || strlen(name) > NAME_MAX - sizeof(".part"))
		return err_msg(err, EINVAL, "'%s' is no name for a file", name);
	(void)snprintf(part, sizeof(part), ".%s.part", name);
	fd = open_nameless(dir_fd, part, err);
	if (fd < 0)
		return fd;
	r = build(dir_fd, name, fd, cfg, err);
	(void)unlinkat(dir_fd, part, 0);
	return r;
}

int upper_grow(int fd, uint64_t size, struct err *err)
{
	struct stat st;
	int r = check_size(size, err);

	if (r < 0)
		return r;
	if (fstat(fd, &st) < 0)
		return err_set(err, errno, "look at the writable layer");
	if (!S_ISREG(st.st_mode))
		return err_msg(err, EINVAL, "the writable layer is no regular file");
	if ((uint64_t)st.st_size >= size)
		return 0;
	if (ftruncate(fd, (off_t)size) < 0)
		return err_set(err, errno, "grow the writable layer to %" PRIu64 " bytes", size);
	return 0;
}
