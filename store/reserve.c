/* SPDX-License-Identifier: Apache-2.0 */
#include "store/reserve.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "lib/cleanup.h"

#define RESERVE_DIR   ".reserve"
#define AMPLE_INODES  1024
#define RESERVE_MODE  0600
#define RESERVE_DMODE 0700

static int open_dir(const struct home *home, bool create)
{
	cleanup_fd int db = open(home->db_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (db < 0 || (create && mkdirat(db, RESERVE_DIR, RESERVE_DMODE) < 0 && errno != EEXIST))
		return -1;
	return openat(db, RESERVE_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static void name_of(unsigned i, char ret[static 4])
{
	(void)snprintf(ret, 4, "%u", i % RESERVE_FILES);
}

static bool is_whole(const struct stat *st)
{
	return S_ISREG(st->st_mode) && (uint64_t)st->st_blocks * 512 >= RESERVE_FILE;
}

void reserve_give(const struct home *home)
{
	cleanup_fd int dirfd = open_dir(home, false);
	char name[4];

	/* The last one first: reserve_keep() looks at that to know whether all are there. */
	for (unsigned i = RESERVE_FILES; dirfd >= 0 && i-- > 0;) {
		name_of(i, name);
		(void)unlinkat(dirfd, name, 0);
	}
}

static bool is_ample(int dirfd)
{
	struct statvfs fs;

	/* Some file systems do not count inodes, and say 0. */
	return fstatvfs(dirfd, &fs) == 0 && (uint64_t)fs.f_bavail * fs.f_frsize >= RESERVE_AMPLE &&
	       (!fs.f_files || fs.f_favail >= AMPLE_INODES);
}

/* Half a file would be taken for a whole one by nobody, but would be of no use either. */
static bool make_one(int dirfd, const char *name)
{
	cleanup_fd int fd = openat(
		dirfd, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, RESERVE_MODE);
	struct stat st;

	if (fd < 0)
		return false;
	if (fstat(fd, &st) == 0 && is_whole(&st))
		return true;
	if (posix_fallocate(fd, 0, (off_t)RESERVE_FILE) == 0)
		return true;
	(void)unlinkat(dirfd, name, 0);
	return false;
}

void reserve_keep(const struct home *home, bool ample)
{
	cleanup_fd int dirfd = open_dir(home, true);
	char name[4];
	struct stat st;

	name_of(RESERVE_FILES - 1, name);
	if (dirfd < 0 || (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && is_whole(&st)))
		return;
	if (ample && !is_ample(dirfd))
		return;
	for (unsigned i = 0; i < RESERVE_FILES; i++) {
		name_of(i, name);
		if (!make_one(dirfd, name))
			return;
	}
}
