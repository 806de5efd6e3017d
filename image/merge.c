/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layers are loaded one after the other and laid over what is there. Hard links to files of lower
 * layers are resolved first, while the lower tree is still as the layer's maker saw it: a layer
 * that renames a file holds a link to its old name and a whiteout of it.
 */
#include "image/merge.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "image/erofs_load.h"
#include "image/erofs_write.h"
#include "image/ext4_write.h"
#include "image/layer.h"
#include "image/tie.h"
#include "lib/cleanup.h"
#include "lib/num.h"

/* All layers together; a million files are about an eighth of it. */
#define MAX_TREE_BYTES GIB(2)

/*
 * struct merge - @base: what the layers so far make together
 * @gone: folders of @base that the layer at hand has removed, kept until it is done: through a link
 *	  it may remove the very folder that is being added to, or one above that
 */
struct merge {
	struct tree base;
	struct tree_inode **gone;
	size_t n_gone, max_gone;
	struct erofs_extra device[MERGE_MAX_LAYERS];
	uint8_t seed[EVP_MAX_MD_SIZE];
};

/* ---- hard links into lower layers ---- */

/* struct links - resolving those of layer @upper */
struct links {
	struct tree *base, *upper;
};

static struct tree_inode *link_target(struct tree *t, const char *path, struct err *err)
{
	struct tree_inode *found;
	int r = tree_walk(t, t->root, path, strlen(path), false, false, &found, err);

	if (r < 0 || tree_is_whiteout(found) || S_ISDIR(found->mode))
		return NULL;
	return found;
}

/* A note may lead to another one in the same layer, even to itself: count the steps. */
static struct tree_inode *resolve(struct links *l, const struct tree_inode *note, struct err *err)
{
	struct tree_inode *found = NULL;

	for (unsigned i = 0; i <= TREE_MAX_SYMLINKS; i++) {
		found = link_target(l->base, note->target, err);
		if (!found)
			found = link_target(l->upper, note->target, err);
		if (!found || !found->link)
			return found;
		note = found;
	}
	return NULL;
}

static int resolve_name(void *ctx, struct tree_inode *dir, struct tree_name *name, struct err *err)
{
	struct links *l = ctx;
	struct tree_inode *note = name ? name->inode : NULL, *found;

	if (!note || !note->link)
		return 0;
	found = resolve(l, note, err);
	if (!found)
		return err_msg(err, EBADMSG,
			"the hard link '%s' leads to '%s', which does not exist", name->name,
			note->target);
	name->inode = tree_ref(found);
	tree_unref(note);
	return 0;
}

/* ---- one layer over the others ---- */

static int lay_over(
	struct merge *m, struct tree_inode *base, struct tree_inode *upper, struct err *err);

static int keep(struct merge *m, struct tree_inode *inode, struct err *err)
{
	struct tree_inode **more;

	if (!S_ISDIR(inode->mode))
		return 0;
	if (m->n_gone == m->max_gone) {
		m->max_gone = m->max_gone ? m->max_gone * 2 : 64;
		more = reallocarray(m->gone, m->max_gone, sizeof(*more));
		if (!more)
			return err_set(err, ENOMEM, "merge layers");
		m->gone = more;
	}
	m->gone[m->n_gone++] = tree_ref(inode);
	return 0;
}

/* What has the name in @base is about to go. */
static int keep_name(
	struct merge *m, struct tree_inode *base, const struct tree_name *name, struct err *err)
{
	struct tree_name *old = tree_find(base, name->name, name->len);

	return old ? keep(m, old->inode, err) : 0;
}

static int keep_children(struct merge *m, struct tree_inode *base, struct err *err)
{
	cleanup_free struct tree_name **names = NULL;
	int r = tree_list(base, &names, err);

	for (uint32_t i = 0; r == 0 && i < base->n_children; i++)
		r = keep(m, names[i]->inode, err);
	return r;
}

static void forget_gone(struct merge *m)
{
	while (m->n_gone)
		tree_unref(m->gone[--m->n_gone]);
	free(m->gone);
	m->gone = NULL;
	m->max_gone = 0;
}

/* A directory as it comes from a layer, fit to be a result: nothing below it to hide. */
static int strip(void *ctx, struct tree_inode *dir, struct err *err)
{
	cleanup_free struct tree_name **names = NULL;
	int r = tree_list(dir, &names, err);

	if (r < 0)
		return r;
	dir->opaque = dir->implied = false;
	for (uint32_t i = 0, n = dir->n_children; r == 0 && i < n; i++) {
		struct tree_inode *inode = names[i]->inode;

		if (tree_is_whiteout(inode))
			tree_unlink(dir, names[i]->name, names[i]->len);
		else if (S_ISDIR(inode->mode))
			r = strip(ctx, inode, err);
	}
	return r;
}

/* The directory of @base that @upper describes further, or NULL if it replaces what is there. */
static struct tree_inode *same_dir(struct merge *m, struct tree_inode *base,
	const struct tree_name *name, const struct tree_inode *upper)
{
	struct tree_name *old = tree_find(base, name->name, name->len);
	struct tree_inode *dir;

	if (!old)
		return NULL;
	if (S_ISDIR(old->inode->mode))
		return old->inode;
	/* Members below a symbolic link of a lower layer are what it points at: /lib to /usr/lib.
	 */
	if (!S_ISLNK(old->inode->mode) || !upper->implied || upper->opaque ||
		tree_walk(&m->base, base, name->name, name->len, true, false, &dir, NULL) < 0)
		return NULL;
	return S_ISDIR(dir->mode) ? dir : NULL;
}

static int lay_name(
	struct merge *m, struct tree_inode *base, struct tree_name *name, struct err *err)
{
	struct tree_inode *upper = name->inode, *dir = NULL;
	int r;

	if (S_ISDIR(upper->mode))
		dir = same_dir(m, base, name, upper);
	if (dir)
		return lay_over(m, dir, upper, err);
	r = keep_name(m, base, name, err);
	if (r == 0 && tree_is_whiteout(upper)) {
		tree_unlink(base, name->name, name->len);
		return 0;
	}
	if (r == 0 && S_ISDIR(upper->mode))
		r = strip(m, upper, err);
	return r < 0 ? r : tree_put(&m->base, base, name->name, name->len, tree_ref(upper), err);
}

static void take_attributes(struct tree_inode *base, struct tree_inode *upper)
{
	struct tree_xattr *xattrs = base->xattrs;

	base->mode = upper->mode;
	base->uid = upper->uid;
	base->gid = upper->gid;
	base->mtime = upper->mtime;
	base->mtime_ns = upper->mtime_ns;
	base->xattrs = upper->xattrs;
	upper->xattrs = xattrs;
}

static int lay_over(
	struct merge *m, struct tree_inode *base, struct tree_inode *upper, struct err *err)
{
	cleanup_free struct tree_name **names = NULL;
	int r = tree_list(upper, &names, err);

	if (r < 0)
		return r;
	if (upper->opaque) {
		r = keep_children(m, base, err);
		if (r < 0)
			return r;
		tree_remove_children(base);
	}
	if (!upper->implied)
		take_attributes(base, upper);
	for (uint32_t i = 0, n = upper->n_children; r == 0 && i < n; i++)
		r = lay_name(m, base, names[i], err);
	return r;
}

static int add_tree(struct merge *m, struct tree *upper, struct err *err)
{
	struct links l = { .base = &m->base, .upper = upper };
	int r = tree_each(upper, resolve_name, &l, err);

	if (r == 0)
		r = lay_over(m, m->base.root, upper->root, err);
	forget_gone(m);
	return r;
}

static int add_layer(struct merge *m, unsigned i, int fd, EVP_MD_CTX *md, struct err *err)
{
	cleanup_erofs struct erofs *e = NULL;
	char tag[SHA256_TEXT_MAX];
	struct tree upper;
	int r = erofs_open(fd, NULL, 0, &e, err);

	if (r < 0)
		return r;
	m->device[i].blocks = erofs_blocks(e);
	r = tie_tag(fd, tag, err);
	if (r < 0)
		return r;
	memcpy(m->device[i].tag, tag, sizeof(m->device[i].tag));
	if (EVP_DigestUpdate(md, tag, strlen(tag)) != 1)
		return err_msg(err, EIO, "the SHA-256 implementation failed");
	r = tree_init(&upper, MAX_TREE_BYTES - m->base.used, err);
	if (r < 0)
		return r;
	r = erofs_load(e, (uint16_t)(i + 1), &upper, err);
	m->base.used += upper.used;
	if (r == 0)
		r = add_tree(m, &upper, err);
	tree_release(&upper);
	return r;
}

/* @kind keeps the two sorts of image of the same layers apart. */
static int add_layers(
	struct merge *m, const int *fds, unsigned n, const char *kind, struct err *err)
{
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	int r = 0;

	if (!md || EVP_DigestInit_ex(md, EVP_sha256(), NULL) != 1 ||
		EVP_DigestUpdate(md, kind, strlen(kind)) != 1)
		r = err_set(err, ENOMEM, "merge layers");
	for (unsigned i = 0; r == 0 && i < n; i++) {
		r = add_layer(m, i, fds[i], md, err);
		if (r < 0)
			(void)err_wrap(err, "layer %u", i + 1);
	}
	if (r == 0 && EVP_DigestFinal_ex(md, m->seed, NULL) != 1)
		r = err_msg(err, EIO, "the SHA-256 implementation failed");
	EVP_MD_CTX_free(md);
	if (r < 0)
		return r;
	m->base.root->implied = false;
	return 0;
}

/* ---- results ---- */

static void fill_result(const struct erofs_written *w, struct merge_result *ret)
{
	*ret = (struct merge_result){ .size = w->size,
		.total_size = w->size,
		.inodes = w->inodes,
		.file_bytes = w->file_bytes };
}

static int merge_begin(struct merge **ret, unsigned n, int out_fd, struct out *o, struct err *err)
{
	struct merge *m;
	int r;

	if (!n || n > MERGE_MAX_LAYERS)
		return err_msg(
			err, EINVAL, "an image has 1 to %u layers, not %u", MERGE_MAX_LAYERS, n);
	r = out_init(o, out_fd, err);
	if (r < 0)
		return r;
	m = calloc(1, sizeof(*m));
	if (!m)
		return err_set(err, ENOMEM, "merge layers");
	*ret = m;
	return tree_init(&m->base, MAX_TREE_BYTES, err);
}

static void merge_end(struct merge *m, struct out *o)
{
	out_release(o);
	if (m)
		tree_release(&m->base);
	free(m);
}

int merge_layers(
	const int *erofs_fd, unsigned n, int out_fd, struct merge_result *ret, struct err *err)
{
	struct merge *m = NULL;
	struct erofs_params p = { .compact = true, .n_devices = n };
	struct out o = { .fd = -1 };
	struct erofs_written w;
	int r = merge_begin(&m, n, out_fd, &o, err);

	if (r == 0)
		r = add_layers(m, erofs_fd, n, "merged", err);
	if (r == 0) {
		p.devices = m->device;
		memcpy(p.seed, m->seed, sizeof(p.seed));
		r = erofs_write(&m->base, &o, &p, &w, err);
	}
	if (r == 0) {
		fill_result(&w, ret);
		for (unsigned i = 0; i < n; i++)
			ret->total_size += (uint64_t)m->device[i].blocks * EROFS_BLOCK;
	}
	merge_end(m, &o);
	return r;
}

/* ---- the flat one ---- */

int merge_flat(
	const int *erofs_fd, unsigned n, int out_fd, struct merge_result *ret, struct err *err)
{
	struct merge *m = NULL;
	struct out o = { .fd = -1 };
	struct merge_result res = { 0 };
	uint8_t uuid[16];
	int r = merge_begin(&m, n, out_fd, &o, err);

	if (r == 0)
		r = add_layers(m, erofs_fd, n, "flat", err);
	if (r == 0)
		r = tree_count(&m->base, &res.inodes, &res.file_bytes, err);
	if (r == 0) {
		memcpy(uuid, m->seed, sizeof(uuid));
		uuid[6] = (uint8_t)((uuid[6] & 0x0f) | 0x80); /* RFC 9562, version 8 */
		uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
		r = ext4_write(&m->base, erofs_fd, uuid, out_fd, &res.size, err);
	}
	if (r == 0) {
		res.total_size = res.size;
		*ret = res;
	}
	merge_end(m, &o);
	return r;
}
