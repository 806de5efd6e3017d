/* SPDX-License-Identifier: Apache-2.0 */
#include "image/erofs_load.h"

#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "image/layer.h"
#include "lib/cleanup.h"
#include "lib/num.h"

/*
 * struct loader - one erofs_load()
 * @seen: inodes by nid (tsearch): those with several names, to find them again, and directories,
 *	  which must not come twice: a loop would never end, and a lattice not before the sun does
 * @dir, @nid: of the directory being listed
 */
struct loader {
	struct erofs *e;
	struct tree *t;
	uint16_t device;
	void *seen;
	struct tree_inode *dir;
};

static int by_nid(const void *a, const void *b)
{
	const struct tree_inode *x = a, *y = b;

	return x->nid < y->nid ? -1 : x->nid > y->nid;
}

static struct tree_inode *find_seen(const struct loader *l, uint64_t nid)
{
	struct tree_inode key = { .nid = nid };
	void *node = tfind(&key, &l->seen, by_nid);

	return node ? *(struct tree_inode **)node : NULL;
}

/* The tree owns the inode; it outlives the index, which nothing leaves while the tree grows. */
static int remember(struct loader *l, struct tree_inode *inode, struct err *err)
{
	int r = tree_charge(l->t, 32, err);

	if (r < 0)
		return r;
	return tsearch(inode, &l->seen, by_nid) ? 0 : err_set(err, ENOMEM, "load EROFS image");
}

/* struct xattr_sink - where one inode's xattrs go */
struct xattr_sink {
	struct tree *t;
	struct tree_inode *inode;
};

static int load_note(struct xattr_sink *s, const void *value, size_t len, struct err *err)
{
	cleanup_free char *target = strndup(value, len);

	if (!target)
		return err_set(err, ENOMEM, "load EROFS image");
	if (!S_ISREG(s->inode->mode) || s->inode->size || s->inode->link || strlen(target) != len)
		return err_msg(err, EBADMSG, "EROFS image is damaged: a wrong note of a hard link");
	s->inode->link = true;
	return tree_set_target(s->t, s->inode, target, err);
}

static int load_xattr(void *ctx, const char *name, const void *value, size_t len, struct err *err)
{
	struct xattr_sink *s = ctx;
	int r;

	if (!strcmp(name, LAYER_XATTR_OPAQUE))
		s->inode->opaque = true;
	else if (!strcmp(name, LAYER_XATTR_IMPLIED))
		s->inode->implied = true;
	else if (!strcmp(name, LAYER_XATTR_LINK))
		return load_note(s, value, len, err);
	else {
		r = tree_set_xattr(s->t, s->inode, name, value, len, err);
		return MIN_OF(r, 0);
	}
	return 0;
}

static int load_extents(
	struct loader *l, const struct erofs_inode *i, struct tree_inode *inode, struct err *err)
{
	inode->device = l->device;
	for (uint64_t off = 0; off < i->size;) {
		struct erofs_extent x;
		int r = erofs_map(l->e, i, off, &x, err);

		if (r < 0)
			return r;
		if (x.pos % EROFS_BLOCK)
			return err_msg(err, EBADMSG,
				"EROFS image is not a layer: it has inline data of files");
		off = x.logical + x.len;
		if (x.hole)
			continue;
		r = tree_add_extent(l->t, inode,
			(struct tree_extent){ .block = (uint32_t)(x.logical / EROFS_BLOCK),
				.addr = (uint32_t)(x.pos / EROFS_BLOCK),
				.count = (uint32_t)(ALIGN_UP(x.len, (uint64_t)EROFS_BLOCK) /
						    EROFS_BLOCK) },
			err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int load_target(
	struct loader *l, const struct erofs_inode *i, struct tree_inode *inode, struct err *err)
{
	char target[EROFS_BLOCK + 1];
	ssize_t n = erofs_read(l->e, i, 0, target, EROFS_BLOCK, err);

	if (n < 0)
		return (int)n;
	target[n] = '\0';
	if (strlen(target) != (size_t)n)
		return err_msg(err, EBADMSG, "EROFS image is damaged: a wrong symbolic link");
	return tree_set_target(l->t, inode, target, err);
}

static int fill_inode(
	struct loader *l, const struct erofs_inode *i, struct tree_inode *inode, struct err *err)
{
	struct xattr_sink s = { .t = l->t, .inode = inode };
	unsigned maj = major(i->rdev), min = minor(i->rdev);

	inode->mode = i->mode;
	inode->size = S_ISDIR(i->mode) ? 0 : i->size;
	inode->nid = i->nid;
	inode->mtime = i->mtime;
	inode->mtime_ns = i->mtime_ns;
	inode->uid = i->uid;
	inode->gid = i->gid;
	inode->rdev = (min & 0xff) | maj << 8 | (min & ~0xffU) << 12;
	inode->implied = false;
	return erofs_xattrs(l->e, i, load_xattr, &s, err);
}

static int load_inode(
	struct loader *l, const struct erofs_inode *i, struct tree_inode *inode, struct err *err)
{
	int r = fill_inode(l, i, inode, err);

	if (r == 0 && S_ISREG(i->mode) && !inode->link)
		r = load_extents(l, i, inode, err);
	if (r == 0 && S_ISLNK(i->mode))
		r = load_target(l, i, inode, err);
	if (r == 0 && (S_ISDIR(i->mode) || i->nlink > 1))
		r = remember(l, inode, err);
	return r;
}

static int load_dir(
	struct loader *l, const struct erofs_inode *i, struct tree_inode *dir, struct err *err);

/* @inode's reference is the caller's until the tree has it. */
static int load_new(struct loader *l, const char *name, uint64_t nid, struct err *err)
{
	struct tree_inode *dir = l->dir, *inode;
	struct erofs_inode i;
	int r = erofs_get(l->e, nid, &i, err);

	if (r == 0)
		r = tree_inode_new(l->t, i.mode, &inode, err);
	if (r < 0)
		return r;
	/* Into the tree first, so that one owner is left whatever fails after. */
	r = tree_put(l->t, dir, name, strlen(name), inode, err);
	if (r == 0)
		r = load_inode(l, &i, inode, err);
	if (r < 0 || !S_ISDIR(i.mode))
		return r;
	r = load_dir(l, &i, inode, err);
	l->dir = dir;
	return r;
}

static int load_name(void *ctx, const char *name, uint64_t nid, struct err *err)
{
	struct loader *l = ctx;
	struct tree_inode *known = find_seen(l, nid);
	int r;

	if (known && S_ISDIR(known->mode))
		r = err_msg(err, EBADMSG, "EROFS image is damaged: a directory in two places");
	else if (known)
		r = tree_put(l->t, l->dir, name, strlen(name), tree_ref(known), err);
	else
		r = load_new(l, name, nid, err);
	return r;
}

static int load_dir(
	struct loader *l, const struct erofs_inode *i, struct tree_inode *dir, struct err *err)
{
	l->dir = dir;
	return erofs_list(l->e, i, load_name, l, err);
}

static void forget(void *node)
{
}

int erofs_load(struct erofs *e, uint16_t device, struct tree *t, struct err *err)
{
	struct loader l = { .e = e, .t = t, .device = device };
	struct erofs_inode root;
	int r;

	if (erofs_devices(e))
		return err_msg(err, EBADMSG, "EROFS image is not a layer: it needs other devices");
	r = erofs_get(e, erofs_root(e), &root, err);
	if (r == 0 && !S_ISDIR(root.mode))
		r = err_msg(err, EBADMSG, "EROFS image is damaged: its root is not a directory");
	if (r == 0)
		r = load_inode(&l, &root, t->root, err);
	if (r == 0)
		r = load_dir(&l, &root, t->root, err);
	tdestroy(l.seen, forget);
	return r;
}
