/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deleting a tree that a guest may have made: as deep as it likes, with links that point anywhere.
 *
 * The tree becomes one folder below @dirfd first. What that folder holds is deleted entry by entry;
 * a folder among them is emptied by moving its folders up, next to it, and deleting the rest. So
 * there is no recursion, at most three descriptors are open, and no path is ever longer than one
 * name below a folder that is open.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "store/internal.h"

/* A sub-folder, never through a link. Folders that a guest made unreadable are its owner's still.
 */
static int open_dir(int dirfd, const char *name, DIR **ret)
{
	struct open_how how = { .flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
		.resolve = RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS };
	long fd = syscall(SYS_openat2, dirfd, name, &how, sizeof(how));

	if (fd < 0 && (errno == ENOSYS || errno == EPERM))
		fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && errno == EACCES) {
		/* On Linux fchmodat() follows links, but a link is not a folder that refused us. */
		if (fchmodat(dirfd, name, S_IRWXU, 0) == 0)
			fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	}
	if (fd < 0)
		return -errno;
	*ret = fdopendir((int)fd);
	if (!*ret) {
		int saved = errno;

		(void)close((int)fd);
		return -saved;
	}
	return 0;
}

static bool dots(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static int move_to(int dirfd, const char *name, int topfd, const char *to)
{
	if (renameat(dirfd, name, topfd, to) == 0 || errno == ENOENT)
		return 0;
	/* A folder may be read and emptied, but not moved, without write permission on itself. */
	if (errno == EACCES && fchmodat(dirfd, name, S_IRWXU, 0) == 0 &&
		renameat(dirfd, name, topfd, to) == 0)
		return 0;
	return -errno;
}

/* Names that the guest gave may be in the way; there is an end to them. */
static int move_up(int dirfd, const char *name, int topfd, uint64_t *counter)
{
	char to[32];
	int rc;

	do {
		(void)snprintf(to, sizeof(to), "moved-%llu", (unsigned long long)(*counter)++);
		rc = move_to(dirfd, name, topfd, to);
	} while (rc == -ENOTEMPTY || rc == -EEXIST || rc == -ENOTDIR);
	return rc;
}

/* Delete what is in @d, or move it up if it is a folder with something in it. */
static int empty_dir(DIR *d, int topfd, uint64_t *counter, bool *ret_moved)
{
	int fd = dirfd(d);

	for (;;) {
		struct dirent *e;
		int rc;

		errno = 0;
		e = readdir(d);
		if (!e)
			return -errno;
		if (dots(e->d_name) || unlinkat(fd, e->d_name, 0) == 0 || errno == ENOENT)
			continue;
		if (errno == EACCES || errno == EPERM) /* of a folder too, on some file systems */
			(void)fchmod(fd, S_IRWXU);
		if (unlinkat(fd, e->d_name, AT_REMOVEDIR) == 0 || unlinkat(fd, e->d_name, 0) == 0)
			continue;
		if (errno != EISDIR && errno != ENOTEMPTY && errno != EEXIST)
			return -errno;
		rc = move_up(fd, e->d_name, topfd, counter);
		if (rc < 0)
			return rc;
		*ret_moved = true;
	}
}

/* One pass over the top folder; folders that were moved into it meanwhile are for the next. */
static int pass(int topfd, uint64_t *counter, bool *ret_again)
{
	cleanup_dir DIR *top = NULL;
	struct dirent *e;
	int rc = open_dir(topfd, ".", &top);

	if (rc < 0)
		return rc;
	while ((errno = 0, e = readdir(top))) {
		cleanup_dir DIR *d = NULL;

		if (dots(e->d_name) || unlinkat(topfd, e->d_name, 0) == 0 || errno == ENOENT)
			continue;
		if (unlinkat(topfd, e->d_name, AT_REMOVEDIR) == 0)
			continue;
		rc = open_dir(topfd, e->d_name, &d);
		if (rc < 0)
			return rc;
		rc = empty_dir(d, topfd, counter, ret_again);
		if (rc < 0)
			return rc;
		if (unlinkat(topfd, e->d_name, AT_REMOVEDIR) < 0 && errno != ENOENT)
			return -errno;
	}
	return -errno;
}

int tree_remove(int dirfd_, const char *name, struct err *err)
{
	cleanup_dir DIR *top = NULL;
	uint64_t counter = 0;
	bool again;
	int rc;

	if (unlinkat(dirfd_, name, 0) == 0 || errno == ENOENT)
		return 0;
	rc = open_dir(dirfd_, name, &top);
	if (rc < 0)
		return err_set(err, rc, "delete '%s'", name);
	(void)fchmod(dirfd(top), S_IRWXU); /* which the guest may have taken from us */
	do {
		again = false;
		rc = pass(dirfd(top), &counter, &again);
	} while (rc == 0 && again);
	if (rc < 0)
		return err_set(err, rc, "delete what is in '%s'", name);
	if (unlinkat(dirfd_, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		return err_set(err, errno, "delete '%s'", name);
	return 0;
}
