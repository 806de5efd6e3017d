/* SPDX-License-Identifier: Apache-2.0 */
#include "image/names.h"

#include <string.h>

#include "lib/num.h"

static int compare(const struct tree_name *a, const char *name, size_t len)
{
	int r = memcmp(a->name, name, MIN_OF((size_t)a->len, len));

	return r ? r : (int)a->len - (int)len;
}

/* Where the name hangs, or would if its priority were the lowest. */
static struct tree_name **find_link(struct tree_name **at, const char *name, size_t len)
{
	while (*at) {
		int r = compare(*at, name, len);

		if (r == 0)
			break;
		at = r > 0 ? &(*at)->left : &(*at)->right;
	}
	return at;
}

struct tree_name *names_find(struct tree_name *root, const char *name, size_t len)
{
	return *find_link(&root, name, len);
}

/* What is below @t, into two: what sorts before @n, and what behind. */
static void split(struct tree_name *t, struct tree_name *n)
{
	struct tree_name **left = &n->left, **right = &n->right;

	while (t) {
		if (compare(t, n->name, n->len) < 0) {
			*left = t;
			left = &t->right;
			t = t->right;
		} else {
			*right = t;
			right = &t->left;
			t = t->left;
		}
	}
	*left = *right = NULL;
}

void names_add(struct tree_name **root, struct tree_name *n)
{
	struct tree_name **at = root;

	while (*at && (*at)->priority >= n->priority)
		at = compare(*at, n->name, n->len) > 0 ? &(*at)->left : &(*at)->right;
	split(*at, n);
	*at = n;
}

struct tree_name *names_remove(struct tree_name **root, const char *name, size_t len)
{
	struct tree_name **at = find_link(root, name, len), *found = *at, *a, *b;

	if (!found)
		return NULL;
	/* What was below it becomes one again: all of @a sorts before all of @b. */
	for (a = found->left, b = found->right; a && b;) {
		if (a->priority >= b->priority) {
			*at = a;
			at = &a->right;
			a = a->right;
		} else {
			*at = b;
			at = &b->left;
			b = b->left;
		}
	}
	*at = a ? a : b;
	return found;
}

/* Recursion is as deep as the treap: some 50 for a million names. */
void names_each(struct tree_name *root, void (*fn)(void *ctx, struct tree_name *n), void *ctx)
{
	while (root) {
		struct tree_name *right = root->right;

		names_each(root->left, fn, ctx);
		fn(ctx, root);
		root = right;
	}
}
