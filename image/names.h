/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The names of a directory, in order, as a treap: a search tree by name that is at the same time a
 * heap by priorities drawn at random, which keeps it shallow whatever names come, and in whatever
 * order. The links are in the names themselves: nothing is allocated here, and nothing fails.
 */
#ifndef IMAGE_NAMES_H
#define IMAGE_NAMES_H

#include <stddef.h>
#include <stdint.h>

struct tree_inode;

/*
 * struct tree_name - one name; @name is NUL-terminated
 * @left, @right, @priority: the treap's
 */
struct tree_name {
	struct tree_inode *inode;
	struct tree_name *left, *right;
	uint32_t priority;
	uint8_t len;
	char name[];
};

/* names_find() - NULL: not there */
struct tree_name *names_find(struct tree_name *root, const char *name, size_t len);

/* names_add() - @n is not there yet; its @priority is drawn */
void names_add(struct tree_name **root, struct tree_name *n);

/* names_remove() - Return: the name, the caller's now; NULL: not there */
struct tree_name *names_remove(struct tree_name **root, const char *name, size_t len);

/* names_each() - in bytewise order; @fn may free the name it gets */
void names_each(struct tree_name *root, void (*fn)(void *ctx, struct tree_name *n), void *ctx);

#endif
