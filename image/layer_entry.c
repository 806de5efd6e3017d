/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Members of an archive into a tree. Paths are resolved in the tree and nowhere else: a symbolic
 * link can lead only to another place in the layer, and ".." in a member's path is refused.
 *
 * Members act in the order they come, as if they were unpacked; whiteouts act on lower layers only.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "image/layer_internal.h"
#include "lib/num.h"

#define WHITEOUT     ".wh."
#define WHITEOUT_ALL ".wh..wh..opq"
/* What AUFS kept for itself; not part of the file system. */
#define WHITEOUT_AUFS ".wh..wh."

#define BLOCK 4096U

int layer_tree_init(
	struct layer_tree *lt, int out_fd, const struct layer_limits *limits, struct err *err)
{
	int r;

	lt->limits = *limits;
	lt->path = malloc(limits->max_path + 1U);
	lt->target = malloc(limits->max_path + 1U);
	lt->parent_path = malloc(limits->max_path + 1U);
	if (!lt->path || !lt->target || !lt->parent_path)
		return err_set(err, ENOMEM, "unpack layer");
	r = tree_init(&lt->tree, limits->max_meta_bytes, err);
	if (r < 0)
		return r;
	r = out_init(&lt->out, out_fd, err);
	if (r < 0)
		return r;
	lt->out.pos = BLOCK; /* the first one is the superblock's */
	return 0;
}

void layer_tree_release(struct layer_tree *lt)
{
	tree_release(&lt->tree);
	out_release(&lt->out);
	free(lt->path);
	free(lt->target);
	free(lt->parent_path);
}

/* ---- paths ---- */

static int bad_path(const char *path, int code, const char *why, struct err *err)
{
	return err_msg(err, code, "'%s': %s", path, why);
}

/* @dst has room for max_path + 1 bytes; the reader has checked the length of @path. */
static int clean_path(
	const struct layer_tree *lt, const char *path, char *dst, size_t *ret_len, struct err *err)
{
	size_t n = 0;
	unsigned depth = 0;

	for (const char *s = path; *s;) {
		size_t len = strcspn(s, "/");

		if (len == 2 && !memcmp(s, "..", 2))
			return bad_path(path, EBADMSG, "'..' in a path of an archive", err);
		if (len > 255)
			return bad_path(path, ENAMETOOLONG, "a name is longer than 255 bytes", err);
		if (len && !(len == 1 && *s == '.')) {
			if (++depth > lt->limits.max_depth)
				return bad_path(path, E2BIG, "too many directories in a path", err);
			if (n)
				dst[n++] = '/';
			memcpy(dst + n, s, len);
			n += len;
		}
		s += len;
		s += *s == '/';
	}
	dst[n] = '\0';
	*ret_len = n;
	return 0;
}

static int walk_error(const char *path, int r, struct err *err)
{
	if (r == -ENOTDIR)
		return bad_path(path, EBADMSG, "lies below something that is not a directory", err);
	if (r == -ELOOP)
		return bad_path(path, EBADMSG, "too many symbolic links on the way", err);
	return r;
}

/*
 * The directory in which the member at lt->path lies, made if needed, and the member's name. Errors
 * are for walk_error().
 */
static int find_parent(
	struct layer_tree *lt, struct tree_inode **ret, const char **ret_name, struct err *err)
{
	char *slash = strrchr(lt->path, '/');
	size_t len = slash ? (size_t)(slash - lt->path) : 0;
	int r;

	*ret_name = slash ? slash + 1 : lt->path;
	if (lt->parent && lt->parent_as_of == lt->tree.replaced &&
		!strncmp(lt->parent_path, lt->path, len) && !lt->parent_path[len]) {
		*ret = lt->parent;
		return 0;
	}
	lt->parent = NULL;
	r = tree_walk(&lt->tree, lt->tree.root, lt->path, len, true, true, ret, err);
	if (r == 0 && !S_ISDIR((*ret)->mode))
		r = -ENOTDIR;
	if (r < 0)
		return r;
	memcpy(lt->parent_path, lt->path, len);
	lt->parent_path[len] = '\0';
	lt->parent = *ret;
	lt->parent_as_of = lt->tree.replaced;
	return 0;
}

/* ---- attributes ---- */

static bool is_ours(const char *name)
{
	return !strncmp(name, "trusted.overlay.", 16) || !strncmp(name, "trusted.msb.", 12);
}

static int set_xattrs(
	struct layer_tree *lt, struct tree_inode *inode, const struct tar_entry *e, struct err *err)
{
	tree_clear_xattrs(inode);
	for (size_t i = 0; i < e->n_xattrs; i++) {
		const struct tar_xattr *x = &e->xattrs[i];
		int r = is_ours(x->name)
				? 1
				: tree_set_xattr(&lt->tree, inode, x->name, x->value, x->len, err);

		if (r < 0)
			return r;
		lt->dropped += r == 1;
	}
	return 0;
}

static int set_attributes(
	struct layer_tree *lt, struct tree_inode *inode, const struct tar_entry *e, struct err *err)
{
	inode->mode = (inode->mode & S_IFMT) | e->mode;
	inode->uid = e->uid;
	inode->gid = e->gid;
	inode->mtime = e->mtime;
	inode->mtime_ns = e->mtime_ns;
	inode->implied = false;
	return set_xattrs(lt, inode, e, err);
}

/* A new file with the member's attributes; the caller owns the reference. */
static int new_inode(struct layer_tree *lt, uint32_t type, const struct tar_entry *e,
	struct tree_inode **ret, struct err *err)
{
	struct tree_inode *inode;
	int r = tree_inode_new(&lt->tree, type, &inode, err);

	if (r < 0)
		return r;
	r = set_attributes(lt, inode, e, err);
	if (r < 0) {
		tree_unref(inode);
		return r;
	}
	*ret = inode;
	return 0;
}

/* Takes over @inode. */
static int put(struct layer_tree *lt, struct tree_inode *dir, const char *name,
	struct tree_inode *inode, struct err *err)
{
	return tree_put(&lt->tree, dir, name, strlen(name), inode, err);
}

/* ---- members by type ---- */

static int add_root(struct layer_tree *lt, const struct tar_entry *e, struct err *err)
{
	if (e->type != TAR_DIR)
		return bad_path(e->path, EBADMSG, "the root of a layer must be a directory", err);
	return set_attributes(lt, lt->tree.root, e, err);
}

static int add_dir(struct layer_tree *lt, struct tree_inode *parent, const char *name,
	const struct tar_entry *e, struct err *err)
{
	struct tree_name *old = tree_find(parent, name, strlen(name));
	struct tree_inode *inode;
	int r;

	if (old && S_ISDIR(old->inode->mode))
		return set_attributes(lt, old->inode, e, err);
	r = new_inode(lt, S_IFDIR, e, &inode, err);
	if (r < 0)
		return r;
	/* Whatever was here, a whiteout included, has hidden the lower layers' directory. */
	inode->opaque = old != NULL;
	return put(lt, parent, name, inode, err);
}

/* Whole blocks for every piece of data, one behind the other; pieces may share a block. */
static int place_sparse(
	struct layer_tree *lt, struct tree_inode *inode, const struct tar_entry *e, struct err *err)
{
	uint64_t addr = lt->out.pos / BLOCK, end = 0;

	for (size_t i = 0; i < e->n_map; i++) {
		uint64_t from = MAX_OF(e->map[i].off / BLOCK, end);
		struct tree_extent x = { .block = (uint32_t)from, .addr = (uint32_t)addr };
		int r;

		end = (e->map[i].off + e->map[i].len + BLOCK - 1) / BLOCK;
		x.count = (uint32_t)(end - from);
		addr += x.count;
		r = x.count ? tree_add_extent(&lt->tree, inode, x, err) : 0;
		if (r < 0)
			return r;
	}
	lt->map = e->map;
	lt->n_map = e->n_map;
	lt->map_done = 0;
	lt->extent = 0;
	return 0;
}

static int place_data(
	struct layer_tree *lt, struct tree_inode *inode, const struct tar_entry *e, struct err *err)
{
	struct tree_extent x;
	int r = out_seek(&lt->out, ALIGN_UP(lt->out.pos, (uint64_t)BLOCK), err);

	if (r < 0)
		return r;
	/* 32 bits for the file's blocks and the image's; the last address means "none". */
	if (lt->out.pos / BLOCK + e->size / BLOCK + e->n_map + 2 >= UINT32_MAX)
		return bad_path(e->path, E2BIG, "the layer is larger than EROFS can address", err);
	lt->map = NULL;
	if (e->map)
		return place_sparse(lt, inode, e, err);
	x = (struct tree_extent){ .addr = (uint32_t)(lt->out.pos / BLOCK),
		.count = (uint32_t)((e->size + BLOCK - 1) / BLOCK) };
	return x.count ? tree_add_extent(&lt->tree, inode, x, err) : 0;
}

static int add_file(struct layer_tree *lt, struct tree_inode *parent, const char *name,
	const struct tar_entry *e, struct err *err)
{
	struct tree_inode *inode;
	int r;

	lt->total_bytes += e->size;
	if (lt->total_bytes > lt->limits.max_total_bytes)
		return err_msg(err, E2BIG, "its files have more than %llu bytes",
			(unsigned long long)lt->limits.max_total_bytes);
	r = new_inode(lt, S_IFREG, e, &inode, err);
	if (r < 0)
		return r;
	inode->size = e->size;
	r = place_data(lt, inode, e, err);
	if (r < 0) {
		tree_unref(inode);
		return r;
	}
	r = put(lt, parent, name, inode, err);
	if (r == 0)
		lt->file = inode;
	return r;
}

static int add_symlink(struct layer_tree *lt, struct tree_inode *parent, const char *name,
	const struct tar_entry *e, struct err *err)
{
	struct tree_inode *inode;
	int r = new_inode(lt, S_IFLNK, e, &inode, err);

	if (r < 0)
		return r;
	inode->mode = S_IFLNK | 0777;
	inode->size = strlen(e->link);
	r = tree_set_target(&lt->tree, inode, e->link, err);
	if (r < 0) {
		tree_unref(inode);
		return r;
	}
	return put(lt, parent, name, inode, err);
}

/* The target may be in a lower layer: leave a note for the merge. */
static int add_note(struct layer_tree *lt, struct tree_inode *parent, const char *name,
	const struct tar_entry *e, struct err *err)
{
	struct tree_inode *inode;
	int r = new_inode(lt, S_IFREG, e, &inode, err);

	if (r < 0)
		return r;
	inode->link = true;
	r = tree_set_target(&lt->tree, inode, lt->target, err);
	if (r < 0) {
		tree_unref(inode);
		return r;
	}
	return put(lt, parent, name, inode, err);
}

static int add_link(struct layer_tree *lt, struct tree_inode *parent, const char *name,
	const struct tar_entry *e, struct err *err)
{
	struct tree_inode *target;
	size_t len;
	int r = clean_path(lt, e->link, lt->target, &len, err);

	if (r < 0)
		return r;
	if (!len)
		return bad_path(e->path, EBADMSG, "a hard link to the root", err);
	r = tree_walk(&lt->tree, lt->tree.root, lt->target, len, false, false, &target, err);
	if (r == -ENOENT || (r == 0 && tree_is_whiteout(target)))
		return add_note(lt, parent, name, e, err);
	if (r < 0)
		return walk_error(lt->target, r, err);
	if (S_ISDIR(target->mode))
		return bad_path(e->path, EBADMSG, "a hard link to a directory", err);
	return put(lt, parent, name, tree_ref(target), err);
}

static int add_special(struct layer_tree *lt, struct tree_inode *parent, const char *name,
	const struct tar_entry *e, struct err *err)
{
	uint32_t type = e->type == TAR_CHAR ? S_IFCHR : e->type == TAR_BLOCK ? S_IFBLK : S_IFIFO;
	struct tree_inode *inode;
	int r;

	if (e->major > 0xfff || e->minor > 0xfffff)
		return bad_path(e->path, EBADMSG, "a device number that Linux does not have", err);
	r = new_inode(lt, type, e, &inode, err);
	if (r < 0)
		return r;
	if (e->type != TAR_FIFO)
		inode->rdev = (e->minor & 0xff) | e->major << 8 | (e->minor & ~0xffU) << 12;
	return put(lt, parent, name, inode, err);
}

/* ---- whiteouts ---- */

static int add_whiteout(
	struct layer_tree *lt, struct tree_inode *parent, const char *name, struct err *err)
{
	struct tree_name *old = tree_find(parent, name, strlen(name));
	struct tree_inode *inode;
	int r;

	if (!strcmp(name, ".") || !strcmp(name, ".."))
		return err_msg(err, EBADMSG, "'%s': a whiteout of no name", lt->path);
	/* What this layer brings itself stays; a directory just hides what is below. */
	if (old) {
		old->inode->opaque |= S_ISDIR(old->inode->mode);
		return 0;
	}
	r = tree_inode_new(&lt->tree, S_IFCHR, &inode, err);
	return r < 0 ? r : put(lt, parent, name, inode, err);
}

static bool is_whiteout(const char *name)
{
	return !strncmp(name, WHITEOUT, strlen(WHITEOUT)) && name[strlen(WHITEOUT)];
}

/* Return: 1 it was none. */
static int try_whiteout(
	struct layer_tree *lt, struct tree_inode *parent, const char *name, struct err *err)
{
	const char *hidden = name + strlen(WHITEOUT);

	if (!is_whiteout(name))
		return 1;
	if (!strcmp(name, WHITEOUT_ALL))
		parent->opaque = true;
	else if (!strncmp(name, WHITEOUT_AUFS, strlen(WHITEOUT_AUFS)))
		lt->dropped++;
	else
		return add_whiteout(lt, parent, hidden, err);
	return 0;
}

/* ---- what the reader calls ---- */

static int add_by_type(struct layer_tree *lt, struct tree_inode *parent, const char *name,
	const struct tar_entry *e, struct err *err)
{
	switch (e->type) {
	case TAR_DIR:
		return add_dir(lt, parent, name, e, err);
	case TAR_FILE:
		return add_file(lt, parent, name, e, err);
	case TAR_SYMLINK:
		return add_symlink(lt, parent, name, e, err);
	case TAR_LINK:
		return add_link(lt, parent, name, e, err);
	default:
		return add_special(lt, parent, name, e, err);
	}
}

static int on_entry(void *ctx, const struct tar_entry *e, struct err *err)
{
	struct layer_tree *lt = ctx;
	struct tree_inode *parent;
	const char *name;
	int r;

	lt->file = NULL;
	r = clean_path(lt, e->path, lt->path, &lt->path_len, err);
	if (r < 0)
		return r;
	if (!lt->path_len)
		return add_root(lt, e, err);
	r = find_parent(lt, &parent, &name, err);
	/* Of a directory that became something else, umoci goes on to say what went. */
	if (r == -ENOTDIR && is_whiteout(name))
		return 0;
	if (r < 0)
		return walk_error(lt->path, r, err);
	r = try_whiteout(lt, parent, name, err);
	return r == 1 ? add_by_type(lt, parent, name, e, err) : r;
}

/* The next piece of a sparse file: where it goes, and how much of @len belongs there. */
static int seek_sparse(struct layer_tree *lt, size_t *len, struct err *err)
{
	const struct tree_extent *x = lt->file->extents + lt->extent;
	uint64_t off = lt->map->off + lt->map_done;

	while (off / BLOCK >= (uint64_t)x->block + x->count)
		x++;
	lt->extent = (uint32_t)(x - lt->file->extents);
	*len = (size_t)MIN_OF((uint64_t)*len, lt->map->len - lt->map_done);
	lt->map_done += *len;
	if (lt->map_done == lt->map->len) {
		lt->map++;
		lt->n_map--;
		lt->map_done = 0;
	}
	return out_seek(
		&lt->out, (uint64_t)x->addr * BLOCK + (off - (uint64_t)x->block * BLOCK), err);
}

static int on_data(void *ctx, const uint8_t *data, size_t len, struct err *err)
{
	struct layer_tree *lt = ctx;

	if (!lt->file)
		return 0;
	if (!lt->map)
		return out_write(&lt->out, data, len, err);
	while (len && lt->n_map) {
		size_t n = len;
		int r = seek_sparse(lt, &n, err);

		if (r == 0)
			r = out_write(&lt->out, data, n, err);
		if (r < 0)
			return r;
		data += n;
		len -= n;
	}
	return 0;
}

static int on_end(void *ctx, struct err *err)
{
	struct layer_tree *lt = ctx;

	lt->file = NULL;
	lt->map = NULL;
	return 0;
}

const struct tar_ops layer_tree_ops = { .entry = on_entry, .data = on_data, .end = on_end };

/* ---- marks ---- */

static int mark(void *ctx, struct tree_inode *dir, struct tree_name *name, struct err *err)
{
	struct tree_inode *inode = name ? name->inode : dir;
	struct tree *t = ctx;
	int r = 0;

	if (inode->opaque)
		r = tree_set_xattr(t, inode, LAYER_XATTR_OPAQUE, "y", 1, err);
	if (r == 0 && inode->implied)
		r = tree_set_xattr(t, inode, LAYER_XATTR_IMPLIED, "", 0, err);
	if (r == 0 && inode->link)
		r = tree_set_xattr(
			t, inode, LAYER_XATTR_LINK, inode->target, strlen(inode->target), err);
	return r;
}

int layer_tree_mark(struct layer_tree *lt, struct err *err)
{
	return tree_each(&lt->tree, mark, &lt->tree, err);
}
