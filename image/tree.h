/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file system's metadata in memory: what a layer holds, or the merge of several. File contents
 * are known by where they lie. Names are components (path_name_ok()); nothing here touches a file
 * system.
 */
#ifndef IMAGE_TREE_H
#define IMAGE_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "image/names.h"
#include "lib/err.h"

#define TREE_MAX_DEPTH	  256
#define TREE_MAX_SYMLINKS 40

/* xattr name prefixes that EROFS can hold, by their number on disk. */
enum tree_xattr_index {
	TREE_XATTR_USER = 1,
	TREE_XATTR_ACL_ACCESS = 2,
	TREE_XATTR_ACL_DEFAULT = 3,
	TREE_XATTR_TRUSTED = 4,
	TREE_XATTR_SECURITY = 6,
};

/* struct tree_xattr - @data: the name after its prefix, then the value */
struct tree_xattr {
	struct tree_xattr *next;
	uint16_t value_len;
	uint8_t index, name_len;
	uint8_t data[];
};

/* struct tree_extent - @count blocks of the file from @block on lie at block @addr of its device */
struct tree_extent {
	uint32_t block, addr, count;
};

/*
 * struct tree_inode - a file
 * @refs:     holders: names, and whoever else called tree_ref()
 * @nlink:    names; for directories 2 + subdirectories. Set by tree_count().
 * @rdev:     kernel's encoding of 32 bits, as on disk
 * @device:   where extents lie: 0 the image itself, else 1 + layer
 * @depth:    directories: how far below the root, at most TREE_MAX_DEPTH
 * @implied:  directory that nobody described
 * @opaque:   directory that hides what lower layers have in its place
 * @link:     stands for a hard link to @target, which the layer did not have
 * @target:   symbolic links (@size bytes), and with @link; NUL-terminated
 * @extents:  regular files, ascending; what they leave out is a hole. A single one is in @first
 * @children: directories: what names.h makes of them
 * @parent:   directories; the root is its own
 * @nid:      free for whoever writes or loads the tree; so is @addr
 */
struct tree_inode {
	uint64_t size, nid;
	int64_t mtime;
	uint32_t mtime_ns, mode, uid, gid, rdev, refs, nlink;
	uint16_t device, depth;
	bool implied, opaque, link;
	struct tree_xattr *xattrs;
	union {
		char *target;
		struct tree_extent *extents;
		struct tree_name *children;
	};
	uint32_t n_extents, n_children, addr;
	struct tree_extent first;
	struct tree_inode *parent;
};

/*
 * struct tree - @used of @max bytes were asked for; never given back, so that a hostile archive
 * pays for what it deletes too
 * @ask:      called once, before more than @ask_at bytes are in use; may be NULL
 * @random:   state of the generator of the names' priorities, which nobody outside can foresee
 * @replaced: how many names got another file by tree_put(): while it stays the same, a path leads
 *	      where it led before
 */
struct tree {
	struct tree_inode *root;
	uint64_t used, max, ask_at, random, replaced;
	int (*ask)(void *ctx, struct err *err);
	void *ask_ctx;
};

/* tree_init() - an empty, implied root. Return: 0; -ENOMEM */
int tree_init(struct tree *t, uint64_t max_bytes, struct err *err);
void tree_release(struct tree *t);

/* tree_inode_new() - a file of @mode with one reference, the caller's. Return: 0; -ENOMEM, -E2BIG
 */
int tree_inode_new(struct tree *t, uint32_t mode, struct tree_inode **ret, struct err *err);
struct tree_inode *tree_ref(struct tree_inode *inode);
/* tree_unref() - give a reference back; frees the file, and what is below it, with the last. */
void tree_unref(struct tree_inode *inode);

/* tree_charge() - account for @bytes of memory. Return: 0; -E2BIG; what tree->ask said */
int tree_charge(struct tree *t, uint64_t bytes, struct err *err);

/* tree_set_target() - of a symbolic link or a file with @link; copied. Return: 0; -ENOMEM, -E2BIG
 */
int tree_set_target(struct tree *t, struct tree_inode *inode, const char *target, struct err *err);

/* tree_add_extent() - behind the last; joined with it if it goes on there */
int tree_add_extent(
	struct tree *t, struct tree_inode *inode, struct tree_extent e, struct err *err);

/*
 * tree_set_xattr() - add or replace by full @name
 * Return: 0; 1 no place for such a name in EROFS; -E2BIG, -ENOMEM
 */
int tree_set_xattr(struct tree *t, struct tree_inode *inode, const char *name, const void *value,
	size_t len, struct err *err);
void tree_clear_xattrs(struct tree_inode *inode);

/* tree_xattr_prefix() - what the name begins with ("user."), or is; NULL: there is no such index */
const char *tree_xattr_prefix(uint8_t index);

/* tree_find() - name of @len bytes in a directory; NULL if it is not there */
struct tree_name *tree_find(const struct tree_inode *dir, const char *name, size_t len);

/*
 * tree_put() - give @inode a name; takes over the caller's reference, even on failure. What had the
 * name before loses it.
 * Return: 0; -E2BIG also for directories nested too deep; -ENOMEM
 */
int tree_put(struct tree *t, struct tree_inode *dir, const char *name, size_t len,
	struct tree_inode *inode, struct err *err);

/* tree_unlink() - take a name away, if it is there */
void tree_unlink(struct tree_inode *dir, const char *name, size_t len);
void tree_remove_children(struct tree_inode *dir);

/*
 * tree_walk() - the file at @path of @len bytes below @dir
 *
 * Symbolic links before the last component are followed, the way a process would whose root is the
 * tree's; so nothing leaves it. The last one is followed with @follow.
 * @create: make missing directories before and at the end, implied ones
 * Return: 0 and *ret; -ENOENT, -ENOTDIR, -ELOOP (without message); -ENOMEM, -E2BIG
 */
int tree_walk(struct tree *t, struct tree_inode *dir, const char *path, size_t len, bool follow,
	bool create, struct tree_inode **ret, struct err *err);

/*
 * tree_list() - the names of a directory, sorted bytewise
 * Return: 0, *ret (the caller frees the array, not the names) and its length; -ENOMEM
 */
int tree_list(const struct tree_inode *dir, struct tree_name ***ret, struct err *err);

/* tree_each() - call @fn for every name, parents first, siblings sorted; -errno of @fn ends it.
 * The root comes without a name (NULL). @fn may change name->inode, but neither add nor remove
 * names. */
typedef int tree_fn(void *ctx, struct tree_inode *dir, struct tree_name *name, struct err *err);
int tree_each(struct tree *t, tree_fn *fn, void *ctx, struct err *err);

/* tree_count() - set every nlink. *ret_inodes and *ret_bytes (regular files) count each inode once
 */
int tree_count(struct tree *t, uint64_t *ret_inodes, uint64_t *ret_bytes, struct err *err);

static inline bool tree_is_whiteout(const struct tree_inode *i)
{
	return S_ISCHR(i->mode) && i->rdev == 0;
}

static inline bool tree_has_target(const struct tree_inode *i)
{
	return S_ISLNK(i->mode) || i->link;
}

#endif
