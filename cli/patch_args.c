/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/patch_args.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/cleanup.h"

/* ---- arguments ---- */

static int check_path(const char *path, struct err *err)
{
	const char *p = path;

	if (path[0] != '/' || path[strspn(path, "/")] == '\0')
		return err_msg(err, EDOM, "guest path must be absolute and not '/': '%s'", path);
	if (strlen(path) >= PATH_MAX / 2)
		return err_msg(err, EDOM, "guest path is too long: '%.60s...'", path);
	while (*p) {
		size_t len;

		p += strspn(p, "/");
		len = strcspn(p, "/");
		if (len == 2 && p[0] == '.' && p[1] == '.')
			return err_msg(err, EDOM, "guest path may not hold '..': '%s'", path);
		p += len;
	}
	return 0;
}

/* COPY takes what is there. */
static int check_source(struct patch_arg *arg, struct err *err)
{
	struct stat st;

	if (stat(arg->source, &st) < 0)
		return err_msg(err, EDOM, "cannot copy '%s': %s", arg->source, strerror(errno));
	if (arg->kind == PATCH_COPY)
		arg->kind = S_ISDIR(st.st_mode) ? PATCH_COPY_DIR : PATCH_COPY_FILE;
	if (arg->kind == PATCH_COPY_DIR && !S_ISDIR(st.st_mode))
		return err_msg(err, EDOM, "cannot copy '%s': not a folder", arg->source);
	if (arg->kind == PATCH_COPY_FILE && !S_ISREG(st.st_mode))
		return err_msg(err, EDOM, "cannot copy '%s': not a regular file", arg->source);
	return 0;
}

static void release_arg(struct patch_arg *arg)
{
	free(arg->source);
	free(arg->path);
}

static int split(struct patch_arg *arg, const char *spec, struct err *err)
{
	const char *colon = strchr(spec, ':');

	if (arg->kind >= PATCH_MKDIR) {
		arg->path = strdup(spec);
	} else {
		if (!colon || colon == spec)
			return err_msg(err, EDOM, "expected SOURCE:GUEST, not '%s'", spec);
		arg->source = strndup(spec, (size_t)(colon - spec));
		arg->path = strdup(colon + 1);
		if (!arg->source)
			return err_set(err, ENOMEM, "copy patch");
	}
	return arg->path ? check_path(arg->path, err) : err_set(err, ENOMEM, "copy patch");
}

/* By kind first, then as given; what --copy turned out to be does not change its rank. */
static void insert(struct patch_args *args, const struct patch_arg *arg, enum patch_kind rank)
{
	unsigned at = args->n++;

	for (; at > 0 && args->rank[at - 1] > rank; at--) {
		args->v[at] = args->v[at - 1];
		args->rank[at] = args->rank[at - 1];
	}
	args->v[at] = *arg;
	args->rank[at] = rank;
}

int patch_args_add(struct patch_args *args, enum patch_kind kind, const char *spec, struct err *err)
{
	struct patch_arg arg = { .kind = kind };
	int rc;

	if (args->n == PATCH_ARGS_MAX)
		return err_msg(err, EDOM, "more than %d changes to the root", PATCH_ARGS_MAX);
	rc = split(&arg, spec, err);
	if (rc == 0 && arg.source)
		rc = check_source(&arg, err);
	if (rc < 0)
		release_arg(&arg);
	else
		insert(args, &arg, kind);
	return rc;
}

void patch_args_release(struct patch_args *args)
{
	for (unsigned i = 0; i < args->n; i++)
		release_arg(&args->v[i]);
	args->n = 0;
}

/* ---- frames ---- */

static int copy_failed(const struct patch_source *src, int code, struct err *err)
{
	return err_set(err, code, "copy '%s'", src->source);
}

/* A file of the folder @dirfd, or a path of the user's (AT_FDCWD). */
static int begin_file(
	struct patch_source *src, int dirfd, const char *name, struct patch *ret, struct err *err)
{
	int follow = dirfd == AT_FDCWD ? 0 : O_NOFOLLOW;
	cleanup_fd int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | follow);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return copy_failed(src, errno, err);
	if (!S_ISREG(st.st_mode))
		return err_msg(err, EINVAL, "copy '%s': not a regular file", src->source);
	src->fd = take_fd(&fd);
	src->reading = true;
	*ret = (struct patch){
		.op = text_of("file"),
		.path = text_of(src->path),
		.mode = st.st_mode & 07777,
		.more = true,
	};
	return 1;
}

static int go_on_with_file(struct patch_source *src, struct patch *ret, struct err *err)
{
	ssize_t n = read(src->fd, src->chunk, sizeof(src->chunk));

	if (n < 0)
		return copy_failed(src, errno, err);
	if (n == 0) {
		src->reading = false;
		close_fd(&src->fd);
	}
	*ret = (struct patch){
		.op = text_of("data"),
		.data = { src->chunk, (size_t)n },
		.more = n > 0,
	};
	return 1;
}

static int begin_folder(
	struct patch_source *src, int dirfd, const char *name, struct patch *ret, struct err *err)
{
	int follow = dirfd == AT_FDCWD ? 0 : O_NOFOLLOW;
	cleanup_fd int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | follow);
	struct stat st;
	DIR *dir;

	if (src->depth == PATCH_DEPTH_MAX)
		return copy_failed(src, ELOOP, err);
	if (fd < 0 || fstat(fd, &st) < 0)
		return copy_failed(src, errno, err);
	dir = fdopendir(fd);
	if (!dir)
		return copy_failed(src, errno, err);
	(void)take_fd(&fd);
	src->dir[src->depth] = dir;
	src->path_len[src->depth++] = strlen(src->path);
	*ret = (struct patch){
		.op = text_of("dir"),
		.path = text_of(src->path),
		.mode = st.st_mode & 07777,
	};
	return 1;
}

static int make_link(
	struct patch_source *src, int dirfd, const char *name, struct patch *ret, struct err *err)
{
	ssize_t n = readlinkat(dirfd, name, src->target, sizeof(src->target) - 1);

	if (n <= 0)
		return copy_failed(src, n < 0 ? errno : EINVAL, err);
	src->target[n] = '\0';
	*ret = (struct patch){
		.op = text_of("symlink"),
		.path = text_of(src->path),
		.target = text_of(src->target),
	};
	return 1;
}

static int take_entry(
	struct patch_source *src, const char *name, struct patch *ret, struct err *err)
{
	int at = dirfd(src->dir[src->depth - 1]);
	size_t len = src->path_len[src->depth - 1];
	struct stat st;

	if (len + strlen(name) + 2 > sizeof(src->path))
		return copy_failed(src, ENAMETOOLONG, err);
	(void)snprintf(src->path + len, sizeof(src->path) - len, "/%s", name);
	(void)snprintf(src->source, sizeof(src->source), "%s", src->path);
	if (fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return copy_failed(src, errno, err);
	switch (st.st_mode & S_IFMT) {
	case S_IFDIR:
		return begin_folder(src, at, name, ret, err);
	case S_IFREG:
		return begin_file(src, at, name, ret, err);
	case S_IFLNK:
		return make_link(src, at, name, ret, err);
	}
	return err_msg(
		err, EINVAL, "copy '%s': neither a file nor a folder nor a link", src->source);
}

/* Return: as patch_source_next(); 0: the folder has no more entries */
static int go_on_with_folder(struct patch_source *src, struct patch *ret, struct err *err)
{
	struct dirent *e;

	errno = 0;
	while ((e = readdir(src->dir[src->depth - 1]))) {
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			return take_entry(src, e->d_name, ret, err);
		errno = 0;
	}
	if (errno)
		return copy_failed(src, errno, err);
	(void)closedir(src->dir[--src->depth]);
	return 0;
}

static int begin(
	struct patch_source *src, const struct patch_arg *arg, struct patch *ret, struct err *err)
{
	(void)snprintf(src->path, sizeof(src->path), "%s", arg->path);
	(void)snprintf(src->source, sizeof(src->source), "%s", arg->source ? arg->source : "");
	switch (arg->kind) {
	case PATCH_COPY:
	case PATCH_COPY_FILE:
		return begin_file(src, AT_FDCWD, arg->source, ret, err);
	case PATCH_COPY_DIR:
		return begin_folder(src, AT_FDCWD, arg->source, ret, err);
	case PATCH_MKDIR:
	case PATCH_REMOVE:
		break;
	}
	*ret = (struct patch){
		.op = text_of(arg->kind == PATCH_MKDIR ? "mkdir" : "remove"),
		.path = text_of(src->path),
	};
	return 1;
}

int patch_source_next(void *ctx, struct patch *ret, struct err *err)
{
	struct patch_source *src = ctx;
	int rc = 0;

	if (src->reading)
		return go_on_with_file(src, ret, err);
	while (rc == 0 && src->depth > 0)
		rc = go_on_with_folder(src, ret, err);
	if (rc != 0 || src->at == src->args->n)
		return rc;
	return begin(src, &src->args->v[src->at++], ret, err);
}

void patch_source_release(struct patch_source *src)
{
	if (src->reading)
		close_fd(&src->fd);
	src->reading = false;
	while (src->depth > 0)
		(void)closedir(src->dir[--src->depth]);
}
