/* SPDX-License-Identifier: Apache-2.0 */
/* A layer's EROFS image back into a tar. */
#include <errno.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "image/erofs.h"
#include "image/layer.h"
#include "image/tar_write.h"
#include "lib/cleanup.h"
#include "lib/num.h"

#define CHUNK	  KIB(256)
#define PATH_LEN  8192
#define DEPTH_MAX 512
#define LINK_MAX  4096

/*
 * struct writer - a layer on its way into a tar
 * @lower: now only links to files of lower layers, and the folders that they are in. They come
 *	   first: whoever unpacks the tar must not have removed or replaced those files yet.
 * @path:  of the entry at hand, @len bytes; it is in @folder, NULL: the root
 * @links: struct first by nid: names of files with several
 */
struct writer {
	struct erofs *e;
	tar_sink_fn *sink;
	void *ctx;
	char path[PATH_LEN];
	size_t len;
	unsigned depth;
	bool lower;
	struct folder *folder;
	void *links;
	uint8_t *chunk;
};

/* struct folder - one that is being listed; @len: of its path; @written: for links in it */
struct folder {
	struct folder *up;
	const struct erofs_inode *in;
	size_t len;
	bool written;
};

struct first {
	uint64_t nid;
	char path[];
};

/* struct marks - what the xattrs of an inode say to us, and what they say to a tar */
struct marks {
	bool opaque, implied;
	char link[LINK_MAX + 1];
	struct buf pax;
};

static int by_nid(const void *a, const void *b)
{
	uint64_t x = ((const struct first *)a)->nid, y = ((const struct first *)b)->nid;

	return x < y ? -1 : x > y;
}

static int on_xattr(void *ctx, const char *name, const void *value, size_t len, struct err *err)
{
	struct marks *m = ctx;
	char key[300];

	if (!strcmp(name, LAYER_XATTR_OPAQUE)) {
		m->opaque = true;
	} else if (!strcmp(name, LAYER_XATTR_IMPLIED)) {
		m->implied = true;
	} else if (!strcmp(name, LAYER_XATTR_LINK)) {
		if (len == 0 || len > LINK_MAX)
			return err_msg(err, EBADMSG, "a layer in the cache has a link to nothing");
		memcpy(m->link, value, len);
		m->link[len] = '\0';
	} else if (!strchr(name, '=')) { /* a name with '=' cannot be written, nor come in */
		(void)snprintf(key, sizeof(key), "SCHILY.xattr.%s", name);
		if (tar_pax_record(&m->pax, key, value, len) < 0)
			return err_set(err, ENOMEM, "read an xattr");
	}
	return 0;
}

/* Another name of a file that is written already? Return: its first name, or NULL. */
static int find_link(
	struct writer *w, const struct erofs_inode *in, const char **ret, struct err *err)
{
	struct first *f, **found;

	*ret = NULL;
	if (in->nlink < 2 || S_ISDIR(in->mode))
		return 0;
	f = malloc(sizeof(*f) + w->len + 1);
	if (!f)
		return err_set(err, ENOMEM, "write a layer");
	f->nid = in->nid;
	memcpy(f->path, w->path, w->len + 1);
	found = tsearch(f, &w->links, by_nid);
	if (!found || *found != f) {
		free(f);
		if (!found)
			return err_set(err, ENOMEM, "write a layer");
		*ret = (*found)->path;
	}
	return 0;
}

static int write_data(struct writer *w, const struct erofs_inode *in, struct err *err)
{
	uint64_t at = 0;

	while (at < in->size) {
		ssize_t n = erofs_read(w->e, in, at, w->chunk, CHUNK, err);
		int rc;

		if (n < 0)
			return (int)n;
		if (n == 0)
			return err_msg(err, EBADMSG, "a file of the layer ends early");
		rc = w->sink(w->ctx, w->chunk, (size_t)n, err);
		if (rc < 0)
			return rc;
		at += (uint64_t)n;
	}
	return tar_write_padding(in->size, w->sink, w->ctx, err);
}

/* ".wh.NAME" beside where NAME would be. */
static int write_marker(
	struct writer *w, const char *dir, size_t dir_len, const char *name, struct err *err)
{
	char path[PATH_LEN + 16];
	struct tar_member m = { .type = '0', .name = path };

	(void)snprintf(path, sizeof(path), "%.*s.wh.%s", (int)dir_len, dir, name);
	return tar_write_header(&m, w->sink, w->ctx, err);
}

static int read_target(
	struct writer *w, const struct erofs_inode *in, char *target, struct err *err)
{
	ssize_t n;

	if (in->size > LINK_MAX)
		return err_msg(err, EBADMSG, "a symbolic link of the layer is too long");
	n = erofs_read(w->e, in, 0, target, in->size, err);
	if (n >= 0)
		target[n] = '\0';
	return n < 0 ? (int)n : 0;
}

static char type_of(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFDIR:
		return '5';
	case S_IFLNK:
		return '2';
	case S_IFCHR:
		return '3';
	case S_IFBLK:
		return '4';
	case S_IFIFO:
		return '6';
	default:
		return '0';
	}
}

/* One member for what is at w->path. */
static int write_member(
	struct writer *w, const struct erofs_inode *in, struct marks *k, struct err *err)
{
	char target[LINK_MAX + 1];
	struct tar_member m = { .type = type_of(in->mode),
		.name = w->path,
		.mode = in->mode,
		.uid = in->uid,
		.gid = in->gid,
		.mtime = in->mtime,
		.mtime_ns = in->mtime_ns,
		.pax = &k->pax };
	int rc = find_link(w, in, &m.link, err);

	if (rc < 0)
		return rc;
	if (k->link[0])
		m.link = k->link;
	if (m.link) {
		m.type = '1';
		m.pax = NULL; /* the first name has them */
	} else if (S_ISLNK(in->mode)) {
		rc = read_target(w, in, target, err);
		m.link = target;
	} else if (S_ISCHR(in->mode) || S_ISBLK(in->mode)) {
		m.major = major(in->rdev);
		m.minor = minor(in->rdev);
	}
	if (m.type == '0')
		m.size = in->size;
	rc = rc ? rc : tar_write_header(&m, w->sink, w->ctx, err);
	return rc == 0 && m.type == '0' ? write_data(w, in, err) : rc;
}

static int write_tree(struct writer *w, const struct erofs_inode *in, struct err *err);

static int on_name(void *ctx, const char *name, uint64_t nid, struct err *err)
{
	struct writer *w = ctx;
	struct erofs_inode in;
	size_t dir_len = w->len;
	int rc = erofs_get(w->e, nid, &in, err);

	if (rc < 0)
		return rc;
	if (S_ISCHR(in.mode) && in.rdev == 0)
		return w->lower ? 0 : write_marker(w, w->path, dir_len, name, err);
	if (dir_len + strlen(name) + 2 > sizeof(w->path))
		return err_msg(err, ENAMETOOLONG, "a path of the layer is too long");
	w->len += (size_t)sprintf(w->path + dir_len, "%s%s", name, S_ISDIR(in.mode) ? "/" : "");
	rc = write_tree(w, &in, err);
	w->len = dir_len;
	w->path[dir_len] = '\0';
	return rc;
}

static int write_folder(struct writer *w, const struct folder *f, struct err *err)
{
	struct marks k = { .opaque = false };
	char next = w->path[f->len];
	int rc = erofs_xattrs(w->e, f->in, on_xattr, &k, err);

	w->path[f->len] = '\0';
	if (rc == 0 && !k.implied)
		rc = write_member(w, f->in, &k, err);
	w->path[f->len] = next;
	buf_release(&k.pax);
	return rc;
}

/* Where something else has the name of a folder so far, nothing can be put into it before it. */
static int write_folders(struct writer *w, struct folder *f, struct err *err)
{
	int rc;

	if (!f || f->written)
		return 0;
	rc = write_folders(w, f->up, err);
	f->written = true;
	return rc ? rc : write_folder(w, f, err);
}

static int write_below(struct writer *w, const struct erofs_inode *in, struct err *err)
{
	struct folder here = { .up = w->folder, .in = in, .len = w->len };
	int rc;

	if (++w->depth > DEPTH_MAX)
		return err_msg(err, ELOOP, "the layer is nested too deeply");
	w->folder = &here;
	rc = erofs_list(w->e, in, on_name, w, err);
	w->folder = here.up;
	w->depth--;
	return rc;
}

static int write_tree(struct writer *w, const struct erofs_inode *in, struct err *err)
{
	struct marks k = { .opaque = false };
	int rc = erofs_xattrs(w->e, in, on_xattr, &k, err);

	if (rc == 0 && !k.implied && w->lower == (k.link[0] != '\0')) {
		rc = w->lower ? write_folders(w, w->folder, err) : 0;
		rc = rc ? rc : write_member(w, in, &k, err);
	}
	buf_release(&k.pax);
	if (rc < 0 || !S_ISDIR(in->mode))
		return rc;
	if (k.opaque && !w->lower)
		rc = write_marker(w, w->path, w->len, ".wh..opq", err);
	return rc ? rc : write_below(w, in, err);
}

/* The root is "./" as a member, and nothing at all in front of what is in it. */
static int write_root(struct writer *w, const struct erofs_inode *root, struct err *err)
{
	struct marks k = { .opaque = false };
	int rc = erofs_xattrs(w->e, root, on_xattr, &k, err);

	if (rc == 0 && !k.implied) {
		memcpy(w->path, "./", 3);
		rc = write_member(w, root, &k, err);
		w->path[0] = '\0';
	}
	buf_release(&k.pax);
	return rc == 0 && k.opaque ? write_marker(w, "", 0, ".wh..opq", err) : rc;
}

static int write_all(struct writer *w, struct err *err)
{
	struct erofs_inode root;
	int rc = erofs_get(w->e, erofs_root(w->e), &root, err);

	w->lower = true;
	rc = rc ? rc : erofs_list(w->e, &root, on_name, w, err);
	w->lower = false;
	rc = rc ? rc : write_root(w, &root, err);
	return rc ? rc : erofs_list(w->e, &root, on_name, w, err);
}

int layer_to_tar(int fd, tar_sink_fn *sink, void *ctx, struct err *err)
{
	cleanup_erofs struct erofs *e = NULL;
	cleanup_free uint8_t *chunk = malloc(CHUNK);
	cleanup_free struct writer *w = calloc(1, sizeof(*w));
	int rc;

	if (!chunk || !w)
		return err_set(err, ENOMEM, "write a layer");
	rc = erofs_open(fd, NULL, 0, &e, err);
	if (rc < 0)
		return rc;
	*w = (struct writer){ .e = e, .sink = sink, .ctx = ctx, .chunk = chunk };
	rc = write_all(w, err);
	rc = rc ? rc : tar_write_end(sink, ctx, err);
	tdestroy(w->links, free);
	return rc;
}
