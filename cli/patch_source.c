/* SPDX-License-Identifier: Apache-2.0 */
/* From changes to the root file system to the frames that carry them. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/patch_args.h"
#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/num.h"

/* For the agent 0 is no mode; with the type it is one. */
static uint32_t mode_of(const struct patch_source *src, mode_t there)
{
	/* What lies in a folder has no mode of its own in the patch. */
	mode_t mode = src->arg->has_mode && src->depth == 0 ? src->arg->mode : there & 07777;

	return mode ? mode : S_IFREG;
}

static int copy_failed(const struct patch_source *src, int code, struct err *err)
{
	return err_set(err, code, "copy '%s'", src->source);
}

/*
 * No more is copied than a file had when it was opened, so that one that grows has an end, but from
 * those that have contents and yet no size, such as those of /proc.
 */
static void begin_reading(struct patch_source *src, uint64_t size)
{
	src->reading = true;
	src->pos = 0;
	src->size = size ? size : INT64_MAX;
	src->data_end = size ? 0 : src->size;
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
	begin_reading(src, (uint64_t)st.st_size);
	*ret = (struct patch){
		.op = text_of("file"),
		.path = text_of(src->path),
		.mode = mode_of(src, st.st_mode),
		.replace = src->arg->replace,
		.more = true,
	};
	return 1;
}

/* Return: where the next data is, which goes up to src->data_end; at the latest the end */
static uint64_t begin_part(struct patch_source *src)
{
	uint64_t at = src->pos;

	if (at < src->data_end)
		return at;
	if (!io_next_data(src->fd, at, src->size, &at, &src->data_end))
		return src->data_end = src->size;
	return at - src->pos < sizeof(src->chunk) ? src->pos : at;
}

/*
 * A hole that is shorter than a chunk counts as data: its zeros cost less than a frame, and an
 * extent in the guest, for every few blocks. No more is looked at than fills a chunk.
 */
static void extend_part(struct patch_source *src, uint64_t at)
{
	uint64_t next, next_end;

	while (src->data_end - at < sizeof(src->chunk) &&
		io_next_data(src->fd, src->data_end, src->size, &next, &next_end) &&
		next - src->data_end < sizeof(src->chunk))
		src->data_end = next_end;
}

/* Return: 0, where to read, and it is the file's offset; -errno */
static int find_data(struct patch_source *src, uint64_t *ret_at)
{
	uint64_t at = src->pos;

	if (src->data_end - at < sizeof(src->chunk)) {
		at = begin_part(src);
		extend_part(src, at);
		/* ESPIPE: it can only be read on, and its holes cannot be told. */
		if (lseek(src->fd, (off_t)at, SEEK_SET) < 0 && errno != ESPIPE)
			return -errno;
	}
	*ret_at = at;
	return 0;
}

static int go_on_with_file(struct patch_source *src, struct patch *ret, struct err *err)
{
	uint64_t at = 0;
	ssize_t n = find_data(src, &at);

	if (n == 0)
		n = io_read(src->fd, src->chunk, MIN_OF(sizeof(src->chunk), src->data_end - at));
	if (n < 0)
		return copy_failed(src, (int)-n, err);
	if (n == 0) {
		src->reading = false;
		close_fd(&src->fd);
	}
	*ret = (struct patch){
		.op = text_of("data"),
		.data = { src->chunk, (size_t)n },
		.more = n > 0,
		.skip = at - src->pos,
	};
	src->pos = at + (uint64_t)n;
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
	*ret = (struct patch){
		.op = text_of("dir"),
		.path = text_of(src->path),
		.mode = mode_of(src, st.st_mode),
		.replace = src->arg->replace,
	};
	src->dir[src->depth] = dir;
	src->path_len[src->depth++] = strlen(src->path);
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
		.replace = src->arg->replace,
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

/* ---- what is in the patch itself ---- */

static int begin_plain(struct patch_source *src, const char *op, struct patch *ret)
{
	*ret = (struct patch){
		.op = text_of(op),
		.path = text_of(src->path),
		.mode = src->arg->has_mode ? mode_of(src, 0) : 0,
		.replace = src->arg->replace,
	};
	if (src->arg->kind == PATCH_SYMLINK)
		ret->target = text_of(src->arg->source);
	return 1;
}

static int begin_content(struct patch_source *src, const char *op, struct patch *ret)
{
	(void)begin_plain(src, op, ret);
	ret->more = true;
	src->content = src->arg->content;
	src->content_len = src->arg->len;
	return 1;
}

static int go_on_with_content(struct patch_source *src, struct patch *ret)
{
	size_t n = MIN_OF(src->content_len, sizeof(src->chunk));

	*ret = (struct patch){
		.op = text_of("data"),
		.data = { (const uint8_t *)src->content, n },
		.more = n < src->content_len,
	};
	src->content = ret->more ? src->content + n : NULL;
	src->content_len -= n;
	return 1;
}

/* ---- all of them ---- */

static int begin(struct patch_source *src, struct patch *ret, struct err *err)
{
	const struct patch_arg *arg = src->arg;

	(void)snprintf(src->path, sizeof(src->path), "%s", arg->path);
	(void)snprintf(src->source, sizeof(src->source), "%s", arg->source ? arg->source : "");
	switch (arg->kind) {
	case PATCH_COPY:
	case PATCH_COPY_FILE:
		return begin_file(src, AT_FDCWD, arg->source, ret, err);
	case PATCH_COPY_DIR:
		return begin_folder(src, AT_FDCWD, arg->source, ret, err);
	case PATCH_WRITE:
		return begin_content(src, "file", ret);
	case PATCH_APPEND:
		return begin_content(src, "append", ret);
	case PATCH_SYMLINK:
		return begin_plain(src, "symlink", ret);
	case PATCH_MKDIR:
		return begin_plain(src, "mkdir", ret);
	case PATCH_REMOVE:
		break;
	}
	return begin_plain(src, "remove", ret);
}

int patch_source_next(void *ctx, struct patch *ret, struct err *err)
{
	struct patch_source *src = ctx;
	int rc = 0;

	if (src->reading)
		return go_on_with_file(src, ret, err);
	if (src->content)
		return go_on_with_content(src, ret);
	while (rc == 0 && src->depth > 0)
		rc = go_on_with_folder(src, ret, err);
	if (rc != 0 || src->at == src->args->n)
		return rc;
	src->arg = &src->args->v[src->at++];
	return begin(src, ret, err);
}

void patch_source_release(struct patch_source *src)
{
	if (src->reading)
		close_fd(&src->fd);
	src->reading = false;
	while (src->depth > 0)
		(void)closedir(src->dir[--src->depth]);
}
