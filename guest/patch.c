/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Paths are resolved here in the guest, by its kernel: a symlink of the image leads somewhere in
 * the image, never to the host. Only the last component is never followed.
 */
#include "guest/patch.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guest/paths.h"
#include "lib/cleanup.h"
#include "lib/num.h"

#define WALK_FDS 64

void patcher_release(struct patcher *p)
{
	close_fd(&p->fd);
}

/* ---- removing ---- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static int remove_tree(const char *path)
{
	/* Not into what is mounted below: that is not the root file system. */
	if (nftw(path, remove_one, WALK_FDS, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) == 0)
		return 0;
	return errno ? -errno : -EIO;
}

static int op_remove(struct patcher *p, const struct patch *patch)
{
	struct stat st;

	if (lstat(p->path, &st) < 0)
		return -errno;
	return remove_tree(p->path);
}

/* Make way for a new file: other files and links only, a folder is more than "replace" says. */
static int make_way(struct patcher *p, const struct patch *patch)
{
	struct stat st;

	if (lstat(p->path, &st) < 0)
		return errno == ENOENT ? path_make_parents(p->path) : -errno;
	if (!patch->replace)
		return -EEXIST;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	return unlink(p->path) < 0 ? -errno : 0;
}

/* ---- files ---- */

static int write_all(int fd, const struct bytes *data)
{
	for (size_t done = 0; done < data->len;) {
		ssize_t n = write(fd, data->data + done, data->len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		done += (size_t)n;
	}
	return 0;
}

/* What is written next goes behind a hole. */
static int make_hole(struct patcher *p, uint64_t len)
{
	off_t at, end;

	/* There the offset means nothing. */
	if (fcntl(p->fd, F_GETFL) & O_APPEND)
		return -EOPNOTSUPP;
	at = lseek(p->fd, 0, SEEK_CUR);
	if (at < 0)
		return -errno;
	if (__builtin_add_overflow(at, len, &end))
		return -EFBIG;
	/* EINVAL: beyond what the file system can hold */
	if (lseek(p->fd, end, SEEK_SET) < 0)
		return errno == EINVAL ? -EFBIG : -errno;
	p->ends_in_hole = true;
	return 0;
}

/* A hole at the end of a file is nothing but its length. */
static int set_end(struct patcher *p)
{
	off_t end = lseek(p->fd, 0, SEEK_CUR);

	return end < 0 || ftruncate(p->fd, end) < 0 ? -errno : 0;
}

static int add_data(struct patcher *p, const struct patch *patch)
{
	int ret = patch->skip ? make_hole(p, patch->skip) : 0;

	if (ret == 0 && patch->data.len) {
		p->ends_in_hole = false;
		ret = write_all(p->fd, &patch->data);
	}
	return ret == 0 && !patch->more && p->ends_in_hole ? set_end(p) : ret;
}

static int take_data(struct patcher *p, const struct patch *patch)
{
	int ret = add_data(p, patch);

	if (ret == 0 && patch->more)
		return 0;
	/* What could not be written back may be told only now. */
	if (close(p->fd) < 0 && ret == 0)
		ret = -errno;
	p->fd = -1;
	p->ends_in_hole = false;
	return ret;
}

static int op_data(struct patcher *p, const struct patch *patch)
{
	return p->fd < 0 ? -EINVAL : take_data(p, patch);
}

static int op_file(struct patcher *p, const struct patch *patch)
{
	int ret = make_way(p, patch);

	if (ret < 0)
		return ret;
	p->fd = open(p->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (p->fd < 0)
		return -errno;
	if (fchmod(p->fd, patch->mode ? patch->mode & 07777 : 0644) < 0)
		return -errno;
	return take_data(p, patch);
}

static int op_append(struct patcher *p, const struct patch *patch)
{
	struct stat st;

	if (lstat(p->path, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
	p->fd = open(p->path, O_WRONLY | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (p->fd < 0)
		return -errno;
	return take_data(p, patch);
}

/* ---- folders and links ---- */

static int make_dir(struct patcher *p, const struct patch *patch, bool may_exist)
{
	mode_t mode = patch->mode ? patch->mode & 07777 : 0755;
	int ret = path_make_parents(p->path);
	struct stat st;

	if (ret < 0)
		return ret;
	if (mkdir(p->path, mode) == 0)
		return chmod(p->path, mode) < 0 ? -errno : 0; /* whatever the umask is */
	if (errno != EEXIST || !may_exist)
		return -errno;
	if (stat(p->path, &st) < 0)
		return -errno;
	if (!S_ISDIR(st.st_mode))
		return -ENOTDIR;
	return patch->mode && chmod(p->path, mode) < 0 ? -errno : 0;
}

static int op_dir(struct patcher *p, const struct patch *patch)
{
	return make_dir(p, patch, patch->replace);
}

static int op_mkdir(struct patcher *p, const struct patch *patch)
{
	return make_dir(p, patch, true);
}

static int op_symlink(struct patcher *p, const struct patch *patch)
{
	int ret;

	if (patch->target.len == 0 || text_has_nul(patch->target))
		return -EINVAL;
	ret = make_way(p, patch);
	if (ret < 0)
		return ret;
	return symlink(patch->target.s, p->path) < 0 ? -errno : 0;
}

/* ---- frames ---- */

/* struct patch_op - @invalid: what EINVAL means here */
struct patch_op {
	const char *name, *words;
	int (*apply)(struct patcher *p, const struct patch *patch);
	const char *invalid;
};

static const struct patch_op ops[] = {
	{ "file", "create", op_file },
	{ "data", "write", op_data },
	{ "append", "append to", op_append, "it is not a regular file" },
	{ "dir", "create folder", op_dir },
	{ "mkdir", "create folder", op_mkdir },
	{ "symlink", "create link", op_symlink },
	{ "remove", "remove", op_remove },
};

static int failed(const struct patcher *p, const struct patch_op *op, int code, struct err *err)
{
	const char *path = p->path + strlen(p->root);
	const char *why = code == EEXIST   ? "the root file system has it already"
			  : code == EINVAL ? op->invalid
					   : NULL;

	if (why)
		return err_msg(err, code, "patch: %s '%.300s': %s", op->words, path, why);
	return err_set(err, code, "patch: %s '%.300s'", op->words, path);
}

static int set_path(struct patcher *p, struct text path, struct err *err)
{
	size_t len = strlen(p->root);

	(void)snprintf(p->path, sizeof(p->path), "%s", p->root);
	return path_normalize(path, "patch", p->path + len, sizeof(p->path) - len, err);
}

static const struct patch_op *find_op(struct text name)
{
	for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
		if (text_is(name, ops[i].name))
			return &ops[i];
	}
	return NULL;
}

int patch_apply(struct patcher *p, const struct patch *patch, struct err *err)
{
	const struct patch_op *op = find_op(patch->op);
	bool goes_on = op && op->apply == op_data;
	int ret;

	if (goes_on != (p->fd >= 0))
		return err_msg(err, EINVAL, "patch: data of a file out of order");
	p->ended = text_is(patch->op, "end");
	if (p->ended)
		return 0;
	if (!op)
		return err_msg(err, EINVAL, "patch: unknown operation '%.40s'", patch->op.s);
	ret = goes_on ? 0 : set_path(p, patch->path, err);
	if (ret < 0)
		return ret;
	ret = op->apply(p, patch);
	return ret < 0 ? failed(p, op, -ret, err) : 0;
}
