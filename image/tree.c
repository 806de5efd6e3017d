/* SPDX-License-Identifier: Apache-2.0 */
#include "image/tree.h"

#include <errno.h>
#include <linux/limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "lib/cleanup.h"
#include "lib/num.h"

/* What malloc adds to an object of ours, at most. */
#define OVERHEAD 24

static int ask(struct tree *t, struct err *err)
{
	int r = t->ask(t->ask_ctx, err);

	t->ask = NULL;
	return r;
}

int tree_charge(struct tree *t, uint64_t bytes, struct err *err)
{
	if (!range_ok(t->used, bytes, t->max))
		return err_msg(err, E2BIG, "its metadata needs more than %llu bytes of memory",
			(unsigned long long)t->max);
	t->used += bytes;
	return t->ask && t->used > t->ask_at ? ask(t, err) : 0;
}

static int charged_alloc(struct tree *t, size_t size, void **ret, struct err *err)
{
	int r = tree_charge(t, size + OVERHEAD, err);

	if (r < 0)
		return r;
	*ret = calloc(1, size);
	return *ret ? 0 : err_set(err, ENOMEM, "image metadata");
}

int tree_inode_new(struct tree *t, uint32_t mode, struct tree_inode **ret, struct err *err)
{
	void *p;
	int r = charged_alloc(t, sizeof(struct tree_inode), &p, err);

	if (r < 0)
		return r;
	*ret = p;
	(*ret)->mode = mode;
	(*ret)->refs = 1;
	return 0;
}

int tree_init(struct tree *t, uint64_t max_bytes, struct err *err)
{
	int r;

	*t = (struct tree){ .max = max_bytes };
	if (getrandom(&t->random, sizeof(t->random), 0) < 0)
		return err_set(err, errno, "image metadata: draw a random number");
	t->random |= 1; /* the generator stays at 0 */
	r = tree_inode_new(t, S_IFDIR | 0755, &t->root, err);
	if (r < 0)
		return r;
	t->root->implied = true;
	t->root->parent = t->root;
	return 0;
}

void tree_release(struct tree *t)
{
	tree_unref(t->root);
	t->root = NULL;
}

struct tree_inode *tree_ref(struct tree_inode *inode)
{
	inode->refs++;
	return inode;
}

static void free_name(void *ctx, struct tree_name *name)
{
	tree_unref(name->inode);
	free(name);
}

void tree_unref(struct tree_inode *inode)
{
	if (!inode || --inode->refs)
		return;
	if (S_ISDIR(inode->mode))
		names_each(inode->children, free_name, NULL);
	else if (inode->extents != &inode->first)
		free(inode->target); /* or extents: the same pointer */
	tree_clear_xattrs(inode);
	free(inode);
}

int tree_set_target(struct tree *t, struct tree_inode *inode, const char *target, struct err *err)
{
	size_t len = strlen(target);
	void *p;
	int r = charged_alloc(t, len + 1, &p, err);

	if (r < 0)
		return r;
	free(inode->target);
	inode->target = p;
	memcpy(inode->target, target, len);
	return 0;
}

int tree_add_extent(struct tree *t, struct tree_inode *inode, struct tree_extent e, struct err *err)
{
	struct tree_extent *last = inode->n_extents ? &inode->extents[inode->n_extents - 1] : NULL;
	struct tree_extent *v;
	uint32_t n = inode->n_extents;
	int r;

	if (last && last->block + last->count == e.block && last->addr + last->count == e.addr) {
		last->count += e.count;
		return 0;
	}
	if (!n)
		inode->extents = &inode->first;
	/* Room grows in powers of two, so the number alone says whether it is used up. */
	if (is_pow2(n)) {
		r = tree_charge(t, n * sizeof(e) + OVERHEAD, err);
		if (r < 0)
			return r;
		v = reallocarray(n > 1 ? inode->extents : NULL, 2 * (size_t)n, sizeof(e));
		if (!v)
			return err_set(err, ENOMEM, "image metadata");
		if (n == 1)
			*v = inode->first;
		inode->extents = v;
	}
	inode->extents[inode->n_extents++] = e;
	return 0;
}

/* ---- xattrs ---- */

static const struct prefix {
	const char *text;
	enum tree_xattr_index index;
	bool whole; /* the name ends with it */
} prefixes[] = {
	{ "user.", TREE_XATTR_USER, false },
	{ "system.posix_acl_access", TREE_XATTR_ACL_ACCESS, true },
	{ "system.posix_acl_default", TREE_XATTR_ACL_DEFAULT, true },
	{ "trusted.", TREE_XATTR_TRUSTED, false },
	{ "security.", TREE_XATTR_SECURITY, false },
};

const char *tree_xattr_prefix(uint8_t index)
{
	for (unsigned i = 0; i < ARRAY_LEN(prefixes); i++) {
		if (prefixes[i].index == index)
			return prefixes[i].text;
	}
	return NULL;
}

static const struct prefix *find_prefix(const char *name)
{
	for (unsigned i = 0; i < ARRAY_LEN(prefixes); i++) {
		const struct prefix *p = &prefixes[i];
		size_t n = strlen(p->text);

		if (!strncmp(name, p->text, n) && (p->whole ? !name[n] : !!name[n]))
			return p;
	}
	return NULL;
}

static int xattr_order(const struct tree_xattr *x, uint8_t index, const char *name, size_t len)
{
	int r;

	if (x->index != index)
		return x->index < index ? -1 : 1;
	r = memcmp(x->data, name, MIN_OF((size_t)x->name_len, len));
	if (r)
		return r;
	return x->name_len < len ? -1 : x->name_len > len;
}

int tree_set_xattr(struct tree *t, struct tree_inode *inode, const char *name, const void *value,
	size_t len, struct err *err)
{
	const struct prefix *p = find_prefix(name);
	const char *suffix = p ? name + strlen(p->text) : NULL;
	size_t name_len = suffix ? strlen(suffix) : 0;
	struct tree_xattr **at = &inode->xattrs, *x;
	void *mem;
	int r;

	/* EROFS could keep longer names than the kernel can be asked for. */
	if (!p || strlen(name) > XATTR_NAME_MAX || len > UINT16_MAX)
		return 1;
	r = charged_alloc(t, sizeof(*x) + name_len + len, &mem, err);
	if (r < 0)
		return r;
	x = mem;
	x->index = p->index;
	x->name_len = (uint8_t)name_len;
	x->value_len = (uint16_t)len;
	memcpy(x->data, suffix, name_len);
	if (len)
		memcpy(x->data + name_len, value, len);
	while (*at && xattr_order(*at, x->index, suffix, name_len) < 0)
		at = &(*at)->next;
	x->next = *at;
	if (*at && xattr_order(*at, x->index, suffix, name_len) == 0) {
		x->next = (*at)->next;
		free(*at);
	}
	*at = x;
	return 0;
}

void tree_clear_xattrs(struct tree_inode *inode)
{
	while (inode->xattrs) {
		struct tree_xattr *x = inode->xattrs;

		inode->xattrs = x->next;
		free(x);
	}
}

/* ---- names ---- */

struct tree_name *tree_find(const struct tree_inode *dir, const char *name, size_t len)
{
	return names_find(dir->children, name, len);
}

/* xorshift64* (Marsaglia, Vigna) */
static uint32_t draw(struct tree *t)
{
	t->random ^= t->random >> 12;
	t->random ^= t->random << 25;
	t->random ^= t->random >> 27;
	return (uint32_t)((t->random * UINT64_C(0x2545F4914F6CDD1D)) >> 32);
}

static void set_inode(struct tree *t, struct tree_name *name, struct tree_inode *inode)
{
	struct tree_inode *gone = name->inode;

	name->inode = inode;
	t->replaced++;
	tree_unref(gone);
}

static int add_name(struct tree *t, struct tree_inode *dir, const char *name, size_t len,
	struct tree_inode *inode, struct err *err)
{
	struct tree_name *n;
	void *p;
	int r = charged_alloc(t, sizeof(*n) + len + 1, &p, err);

	if (r < 0)
		return r;
	n = p;
	n->inode = inode;
	n->priority = draw(t);
	n->len = (uint8_t)len;
	memcpy(n->name, name, len);
	names_add(&dir->children, n);
	dir->n_children++;
	return 0;
}

struct deepen {
	uint16_t depth;
	bool too_deep;
};

static void deepen(struct tree_inode *inode, uint16_t depth, bool *too_deep);

static void deepen_child(void *ctx, struct tree_name *name)
{
	struct deepen *d = ctx;

	deepen(name->inode, d->depth, &d->too_deep);
}

/* Recursion is as deep as the tree that moves, which was within the limit where it came from. */
static void deepen(struct tree_inode *inode, uint16_t depth, bool *too_deep)
{
	struct deepen d = { .depth = (uint16_t)(depth + 1) };

	if (!S_ISDIR(inode->mode) || inode->depth == depth)
		return;
	inode->depth = depth;
	if (depth >= TREE_MAX_DEPTH)
		d.too_deep = true;
	else
		names_each(inode->children, deepen_child, &d);
	*too_deep |= d.too_deep;
}

/* A directory has a new place: so has all that is in it. */
static int settle(struct tree_inode *dir, struct tree_inode *inode, struct err *err)
{
	bool too_deep = false;

	if (!S_ISDIR(inode->mode))
		return 0;
	inode->parent = dir;
	deepen(inode, (uint16_t)(dir->depth + 1), &too_deep);
	return too_deep ? err_msg(err, E2BIG, "directories nest deeper than %u", TREE_MAX_DEPTH)
			: 0;
}

int tree_put(struct tree *t, struct tree_inode *dir, const char *name, size_t len,
	struct tree_inode *inode, struct err *err)
{
	struct tree_name *old = tree_find(dir, name, len);
	int r = settle(dir, inode, err);

	if (r == 0 && old)
		set_inode(t, old, inode);
	else if (r == 0)
		r = add_name(t, dir, name, len, inode, err);
	if (r < 0)
		tree_unref(inode);
	return r;
}

void tree_unlink(struct tree_inode *dir, const char *name, size_t len)
{
	struct tree_name *old = names_remove(&dir->children, name, len);

	if (!old)
		return;
	dir->n_children--;
	free_name(NULL, old);
}

void tree_remove_children(struct tree_inode *dir)
{
	struct tree_name *children = dir->children;

	dir->children = NULL;
	dir->n_children = 0;
	names_each(children, free_name, NULL);
}

/* ---- paths ---- */

/* struct walk - one tree_walk(); @links followed so far */
struct walk {
	struct tree *t;
	unsigned links;
	bool create;
	struct err *err;
};

static int walk_path(struct walk *w, struct tree_inode *dir, const char *path, size_t len,
	bool follow, struct tree_inode **ret);

static int make_implied(struct walk *w, struct tree_inode *dir, const char *name, size_t len,
	struct tree_inode **ret)
{
	struct tree_inode *inode;
	int r;

	if (!w->create)
		return -ENOENT;
	if (len > 255)
		return err_msg(w->err, ENAMETOOLONG, "a name has %zu bytes, 255 are allowed", len);
	r = tree_inode_new(w->t, S_IFDIR | 0755, &inode, w->err);
	if (r < 0)
		return r;
	inode->implied = true;
	*ret = inode;
	return tree_put(w->t, dir, name, len, inode, w->err);
}

/* One component; @last: it is the final one and must not be followed. */
static int walk_name(struct walk *w, struct tree_inode *dir, const char *name, size_t len,
	bool last, struct tree_inode **ret)
{
	struct tree_name *found = tree_find(dir, name, len);
	struct tree_inode *inode = found ? found->inode : NULL;

	if (!inode)
		return make_implied(w, dir, name, len, ret);
	if (S_ISLNK(inode->mode) && !last) {
		if (++w->links > TREE_MAX_SYMLINKS)
			return -ELOOP;
		/* An absolute target begins at the root, walk_path() sees to that. */
		return walk_path(w, dir, inode->target, strlen(inode->target), true, ret);
	}
	/* A whiteout is nothing; below a new directory it stays so for lower layers. */
	if (tree_is_whiteout(inode) && w->create) {
		int r = make_implied(w, dir, name, len, ret);

		if (r == 0)
			(*ret)->opaque = true;
		return r;
	}
	*ret = inode;
	return 0;
}

static int walk_path(struct walk *w, struct tree_inode *dir, const char *path, size_t len,
	bool follow, struct tree_inode **ret)
{
	const char *end = path + len;
	struct tree_inode *at = len && *path == '/' ? w->t->root : dir;

	for (const char *s = path; s < end;) {
		const char *slash = memchr(s, '/', (size_t)(end - s));
		size_t n = (size_t)((slash ? slash : end) - s);
		const char *rest = slash ? slash : end;
		int r;

		while (rest < end && *rest == '/')
			rest++;
		if (n == 0 || (n == 1 && *s == '.')) {
			s = rest;
			continue;
		}
		if (!S_ISDIR(at->mode))
			return tree_is_whiteout(at) ? -ENOENT : -ENOTDIR;
		if (n == 2 && !memcmp(s, "..", 2)) {
			at = at->parent;
		} else {
			r = walk_name(w, at, s, n, rest == end && !follow, &at);
			if (r < 0)
				return r;
		}
		s = rest;
	}
	*ret = at;
	return 0;
}

int tree_walk(struct tree *t, struct tree_inode *dir, const char *path, size_t len, bool follow,
	bool create, struct tree_inode **ret, struct err *err)
{
	struct walk w = { .t = t, .create = create, .err = err };

	return walk_path(&w, dir, path, len, follow, ret);
}

/* ---- all of it ---- */

/* struct listing - an array being filled */
struct listing {
	struct tree_name **v;
	size_t n;
};

static void list_one(void *ctx, struct tree_name *name)
{
	struct listing *l = ctx;

	l->v[l->n++] = name;
}

int tree_list(const struct tree_inode *dir, struct tree_name ***ret, struct err *err)
{
	struct listing l = { .v = calloc(dir->n_children + 1, sizeof(struct tree_name *)) };

	if (!l.v)
		return err_set(err, ENOMEM, "image metadata");
	names_each(dir->children, list_one, &l);
	*ret = l.v;
	return 0;
}

static int each_below(struct tree_inode *dir, tree_fn *fn, void *ctx, struct err *err)
{
	cleanup_free struct tree_name **names = NULL;
	int r = tree_list(dir, &names, err);

	for (uint32_t i = 0; r == 0 && i < dir->n_children; i++) {
		/* The call may put another file behind the name. */
		r = fn(ctx, dir, names[i], err);
		if (r == 0 && S_ISDIR(names[i]->inode->mode))
			r = each_below(names[i]->inode, fn, ctx, err);
	}
	return r;
}

int tree_each(struct tree *t, tree_fn *fn, void *ctx, struct err *err)
{
	int r = fn(ctx, t->root, NULL, err);

	return r < 0 ? r : each_below(t->root, fn, ctx, err);
}

static int reset_count(void *ctx, struct tree_inode *dir, struct tree_name *name, struct err *err)
{
	(name ? name->inode : dir)->nlink = 0;
	return 0;
}

/* struct count - sums of tree_count() */
struct count {
	uint64_t inodes, bytes;
};

static int count_one(void *ctx, struct tree_inode *dir, struct tree_name *name, struct err *err)
{
	struct tree_inode *inode = name ? name->inode : dir;
	struct count *c = ctx;

	if (!inode->nlink) {
		c->inodes++;
		c->bytes += S_ISREG(inode->mode) ? inode->size : 0;
	}
	inode->nlink += S_ISDIR(inode->mode) ? 2 : 1;
	if (S_ISDIR(inode->mode) && name)
		dir->nlink++;
	return 0;
}

int tree_count(struct tree *t, uint64_t *ret_inodes, uint64_t *ret_bytes, struct err *err)
{
	struct count c = { 0 };
	int r = tree_each(t, reset_count, NULL, err);

	if (r == 0)
		r = tree_each(t, count_one, &c, err);
	*ret_inodes = c.inodes;
	*ret_bytes = c.bytes;
	return r;
}
