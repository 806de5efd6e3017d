/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The walk resolves a path the way the kernel does inside a chroot, one component at a time, with
 * every directory on the way held open. Holding them is what makes ".." safe: it pops the stack
 * instead of asking the file system, so a directory that somebody moves out of the root meanwhile
 * leads nowhere new.
 */
#include "lib/path.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/cleanup.h"

#define WALK_MAX_LINKS 40  /* as the kernel's MAXSYMLINKS */
#define WALK_MAX_DEPTH 256 /* descriptors one walk may hold */
#define RACE_RETRIES   64

bool path_name_ok(const char *name)
{
	size_t len = strnlen(name, NAME_MAX + 1);

	if (!len || len > NAME_MAX || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return false;
	return !strchr(name, '/');
}

/*
 * struct walk - resolution in progress
 * @rest: what is left to resolve, owned; @pos: where in it
 * @dir:  open directories from the root (dir[0]) to the current one (dir[depth - 1])
 */
struct walk {
	char *rest;
	size_t pos;
	unsigned links, depth;
	int dir[WALK_MAX_DEPTH];
};

static void walk_release(struct walk *w)
{
	free(w->rest);
	while (w->depth)
		(void)close(w->dir[--w->depth]);
}

static int walk_init(struct walk *w, int rootfd, const char *path)
{
	w->rest = NULL;
	w->pos = w->links = w->depth = 0;
	if (!*path)
		return -ENOENT;
	if (strlen(path) >= PATH_MAX)
		return -ENAMETOOLONG;
	w->dir[0] = openat(rootfd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (w->dir[0] < 0)
		return -errno;
	w->depth = 1;
	w->rest = strdup(path);
	return w->rest ? 0 : -ENOMEM;
}

static int walk_current(const struct walk *w)
{
	return w->dir[w->depth - 1];
}

/*
 * Take the next component into @name. *last: nothing but the name itself follows. A path that ends
 * in a slash has "." as its last component, which demands a directory as the kernel does.
 */
static int walk_next(struct walk *w, char name[NAME_MAX + 1], bool *last)
{
	const char *p = w->rest + w->pos;
	size_t len;

	p += strspn(p, "/");
	len = strcspn(p, "/");
	if (len > NAME_MAX)
		return -ENAMETOOLONG;
	memcpy(name, len ? p : ".", len ? len : 1);
	name[len ? len : 1] = '\0';
	*last = p[len] == '\0';
	w->pos = (size_t)(p + len - w->rest);
	return 0;
}

static void walk_up(struct walk *w)
{
	if (w->depth > 1)
		(void)close(w->dir[--w->depth]);
}

static int walk_enter(struct walk *w, int *fd)
{
	if (w->depth == WALK_MAX_DEPTH)
		return -ENAMETOOLONG;
	w->dir[w->depth++] = take_fd(fd);
	return 0;
}

/* Put the target of symlink @fd in front of the rest; an absolute one restarts at the root. */
static int walk_expand(struct walk *w, int fd)
{
	char target[PATH_MAX];
	const char *rest = w->rest + w->pos;
	ssize_t n;
	char *joined;

	if (++w->links > WALK_MAX_LINKS)
		return -ELOOP;
	n = readlinkat(fd, "", target, sizeof(target));
	if (n < 0)
		return -errno;
	if (n == 0)
		return -ENOENT;
	if ((size_t)n + strlen(rest) >= PATH_MAX)
		return -ENAMETOOLONG;
	joined = malloc((size_t)n + strlen(rest) + 1);
	if (!joined)
		return -ENOMEM;
	memcpy(joined, target, (size_t)n);
	strcpy(joined + n, rest);
	free(w->rest);
	w->rest = joined;
	w->pos = 0;
	while (target[0] == '/' && w->depth > 1)
		walk_up(w);
	return 0;
}

/* Look at @name without following it: *ret_fd is O_PATH. */
static int walk_probe(const struct walk *w, const char *name, int *ret_fd, mode_t *ret_type)
{
	cleanup_fd int fd = openat(walk_current(w), name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	*ret_type = st.st_mode & S_IFMT;
	*ret_fd = take_fd(&fd);
	return 0;
}

/* One component on the way: "." and "..", a directory, or a symlink. */
static int walk_step(struct walk *w, const char *name)
{
	cleanup_fd int fd = -1;
	mode_t type;
	int r;

	if (strcmp(name, ".") == 0)
		return 0;
	if (strcmp(name, "..") == 0) {
		walk_up(w);
		return 0;
	}
	r = walk_probe(w, name, &fd, &type);
	if (r < 0)
		return r;
	if (S_ISLNK(type))
		return walk_expand(w, fd);
	return S_ISDIR(type) ? walk_enter(w, &fd) : -ENOTDIR;
}

/* Return: 1 and *ret_fd; 0 the last component was a symlink and the walk goes on; -errno. */
static int walk_last(struct walk *w, const char *name, int flags, mode_t mode, int *ret_fd)
{
	bool follow = !(flags & O_NOFOLLOW) && !((flags & O_CREAT) && (flags & O_EXCL));
	cleanup_fd int fd = -1;
	mode_t type = 0;
	int r;

	if (strcmp(name, "..") == 0) {
		walk_up(w);
		name = ".";
	}
	r = walk_probe(w, name, &fd, &type);
	if (r < 0 && r != -ENOENT)
		return r;
	if (r == 0 && S_ISLNK(type) && follow)
		return walk_expand(w, fd);
	if (r == 0 && (flags & O_PATH)) {
		if ((flags & O_DIRECTORY) && !S_ISDIR(type))
			return -ENOTDIR;
		*ret_fd = take_fd(&fd);
		return 1;
	}
	*ret_fd = openat(walk_current(w), name, flags | O_NOFOLLOW | O_CLOEXEC, mode);
	if (*ret_fd >= 0)
		return 1;
	/* it became a symlink since we looked: look again, within the budget of links */
	if (errno == ELOOP && follow && ++w->links <= WALK_MAX_LINKS)
		return walk_last(w, name, flags, mode, ret_fd);
	return -errno;
}

static int walk_run(struct walk *w, int flags, mode_t mode, int *ret_fd)
{
	char name[NAME_MAX + 1];
	bool last;
	int r;

	for (;;) {
		r = walk_next(w, name, &last);
		if (r < 0)
			return r;
		r = last ? walk_last(w, name, flags, mode, ret_fd) : walk_step(w, name);
		if (r != 0)
			return r < 0 ? r : 0;
	}
}

int path_open_beneath_walk(
	int rootfd, const char *path, int flags, mode_t mode, int *ret_fd, struct err *err)
{
	struct walk w;
	int fd = -1, r;

	r = walk_init(&w, rootfd, path);
	if (r == 0)
		r = walk_run(&w, flags, mode, &fd);
	walk_release(&w);
	if (r < 0)
		return err_set(err, r, "open '%s'", path);
	*ret_fd = fd;
	return 0;
}

static int try_openat2(int rootfd, const char *path, int flags, mode_t mode)
{
	/* openat2() refuses a mode that open() would ignore; O_TMPFILE contains O_DIRECTORY's bit
	 */
	bool creates = (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE;
	struct open_how how = {
		.flags = (unsigned)flags | O_CLOEXEC,
		.mode = creates ? mode & 07777 : 0,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};

	/* EAGAIN: a rename raced with a ".." and the kernel could not tell whether it was safe */
	for (int i = 0; i < RACE_RETRIES; i++) {
		long fd = syscall(SYS_openat2, rootfd, path, &how, sizeof(how));

		if (fd >= 0)
			return (int)fd;
		if (errno != EAGAIN)
			return -errno;
	}
	return -EAGAIN;
}

int path_open_beneath(
	int rootfd, const char *path, int flags, mode_t mode, int *ret_fd, struct err *err)
{
	int fd = try_openat2(rootfd, path, flags, mode);

	/* EPERM: how old seccomp filters refuse a call they do not know; the walk tells for sure */
	if (fd == -ENOSYS || fd == -EPERM || fd == -EAGAIN)
		return path_open_beneath_walk(rootfd, path, flags, mode, ret_fd, err);
	if (fd < 0)
		return err_set(err, fd, "open '%s'", path);
	*ret_fd = fd;
	return 0;
}

/* Open @prefix as a directory; when it is missing make @name in its parent @dir first. */
static int mkdir_one(
	int rootfd, int dir, const char *prefix, const char *name, mode_t mode, int *ret_fd)
{
	struct err err;
	int r = path_open_beneath(rootfd, prefix, O_PATH | O_DIRECTORY, 0, ret_fd, &err);

	if (r != -ENOENT)
		return r;
	if (mkdirat(dir, name, mode) < 0 && errno != EEXIST)
		return -errno;
	return path_open_beneath(rootfd, prefix, O_PATH | O_DIRECTORY, 0, ret_fd, &err);
}

/* Walks the prefixes of @path (a scratch copy), each opened from the root: containment is then
 * path_open_beneath()'s, and mkdirat() only ever sees one name in a directory already checked. */
static int mkdirs(int rootfd, char *path, mode_t mode)
{
	cleanup_fd int dir = openat(rootfd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	char *p = path;

	if (dir < 0)
		return -errno;
	for (;;) {
		char *name = p + strspn(p, "/"), *end = name + strcspn(name, "/"), saved = *end;
		int next = -1, r;

		if (!*name)
			return 0;
		*end = '\0';
		r = mkdir_one(rootfd, dir, path, name, mode, &next);
		*end = saved;
		if (r < 0)
			return r;
		close_fd(&dir);
		dir = next;
		p = end;
	}
}

int path_mkdirs_beneath(int rootfd, const char *path, mode_t mode, struct err *err)
{
	cleanup_free char *copy = strdup(path);
	int r = copy ? mkdirs(rootfd, copy, mode) : -ENOMEM;

	return r < 0 ? err_set(err, r, "make directory '%s'", path) : 0;
}
