/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is in a share: counted is what the tree holds, and what is open or remembered but has no
 * name any more, as it still takes space. Of a file with several names each counts its part. Blocks
 * count if they are more than the size: space can be allocated beyond the end of a file. Attributes
 * count but for the server's own records.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "fs/fs_internal.h"

/* Deeper than that nothing is counted, and the sum says so. */
#define DEPTH_MAX 512

#define ATTR_UNIT 1024

/* Some file systems keep attributes in blocks of the file. */
static uint64_t weight(const struct stat *st, uint64_t attrs)
{
	uint64_t blocks = (uint64_t)st->st_blocks * 512, size = (uint64_t)st->st_size + attrs;
	uint64_t n = MAX_OF(st->st_nlink, 1);

	return (MAX_OF(blocks, size) + n - 1) / n;
}

/* An attribute by its name and value, however a file system keeps it; a few bytes can take a block.
 */
uint64_t quota_attr_weight(const char *name, size_t len)
{
	return ALIGN_UP(strlen(name) + len, ATTR_UNIT);
}

/* struct attr_calls - the object that a path names, or that it leads to */
struct attr_calls {
	ssize_t (*list)(const char *path, char *list, size_t size);
	ssize_t (*get)(const char *path, const char *name, void *value, size_t size);
};

static const struct attr_calls named = { llistxattr, lgetxattr };
static const struct attr_calls by_fd = { listxattr, getxattr };

static uint64_t weigh_list(
	const struct attr_calls *calls, const char *path, const char *list, size_t len)
{
	uint64_t sum = 0;

	for (const char *name = list; name < list + len; name += strlen(name) + 1) {
		ssize_t n = !xattr_counts(name) ? -1 : calls->get(path, name, NULL, 0);

		if (n >= 0)
			sum += quota_attr_weight(name, (size_t)n);
	}
	return sum;
}

/* What the object at @path, from /proc/self/fd, has; that it has none is told for little. */
static uint64_t attrs_weight(const struct attr_calls *calls, const char *path)
{
	char few[1024];
	ssize_t len = calls->list(path, few, sizeof(few));
	cleanup_free char *many = NULL;

	if (len >= 0)
		return weigh_list(calls, path, few, (size_t)len);
	if (errno != ERANGE)
		return 0;
	many = malloc(XATTR_LIST_MAX);
	len = many ? calls->list(path, many, XATTR_LIST_MAX) : 0;
	return len > 0 ? weigh_list(calls, path, many, (size_t)len) : 0;
}

static uint64_t entry_attrs_weight(int dirfd, const char *name)
{
	char path[FS_PROC_NAME_MAX + 1 + NAME_MAX + 1];

	(void)snprintf(path, sizeof(path), "%d/%s", dirfd, name);
	return attrs_weight(&named, path);
}

uint64_t quota_node_weight(const struct node *node)
{
	char name[FS_PROC_NAME_MAX];
	struct stat st;

	if (fstat(node->fd, &st) < 0 || st.st_nlink)
		return 0;
	node_proc_name(node, name);
	/* The size, as it was charged; blocks may be more. */
	return (uint64_t)st.st_size + attrs_weight(&by_fd, name);
}

/* A folder of the walk; @name in the one above it. Return: NULL */
static DIR *open_dir(int dirfd, const char *name)
{
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir && fd >= 0)
		(void)close(fd);
	return dir;
}

static bool is_dots(const char *name)
{
	return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

/* The next entry that is a folder, and the sum of what is before it. Return: NULL: no more */
static DIR *next_folder(DIR *dir, struct quota_sum *sum)
{
	struct dirent *e;
	struct stat st;

	while ((e = readdir(dir))) {
		uint64_t attrs;
		DIR *sub;

		if (is_dots(e->d_name) ||
			fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		sum->names++;
		attrs = entry_attrs_weight(dirfd(dir), e->d_name);
		sum->bytes += S_ISREG(st.st_mode) ? weight(&st, attrs) : attrs;
		sub = S_ISDIR(st.st_mode) ? open_dir(dirfd(dir), e->d_name) : NULL;
		if (sub)
			return sub;
	}
	return NULL;
}

static int walk(int root_fd, struct quota_sum *sum)
{
	DIR **stack = calloc(DEPTH_MAX, sizeof(DIR *)), *sub;
	unsigned depth;

	if (!stack)
		return -ENOMEM;
	stack[0] = open_dir(root_fd, ".");
	depth = stack[0] != NULL;
	while (depth > 0) {
		sub = next_folder(stack[depth - 1], sum);
		if (sub && depth == DEPTH_MAX) {
			(void)closedir(sub);
			sum->partial = true;
		} else if (sub) {
			stack[depth++] = sub;
		} else {
			(void)closedir(stack[--depth]);
		}
	}
	free(stack);
	return 0;
}

/* struct nameless - descriptors of objects that may have lost their last name */
struct nameless {
	struct node **node;
	size_t n, max;
};

/* A node whose name is gone keeps its descriptor, so it is one of the anchored ones. */
static void collect(struct fs_server *fs, struct nameless *l)
{
	pthread_mutex_lock(&fs->node_lock);
	for (uint32_t i = 0; i < fs->nodes.n_slots && l->n < l->max; i++) {
		struct node *node = fs->nodes.slot[i].obj;

		if (!node || node->pinned || node->fd < 0 || node->type != S_IFREG ||
			(node->name && !node->anchored))
			continue;
		node->refs++;
		lru_del(node);
		l->node[l->n++] = node;
	}
	pthread_mutex_unlock(&fs->node_lock);
}

static int count_nameless(struct fs_server *fs, uint64_t *sum)
{
	struct nameless l = { .max = fs->max_fds };

	l.node = calloc(l.max ? l.max : 1, sizeof(struct node *));
	if (!l.node)
		return -ENOMEM;
	collect(fs, &l);
	for (size_t i = 0; i < l.n; i++) {
		*sum += quota_node_weight(l.node[i]);
		node_put(fs, l.node[i]);
	}
	free(l.node);
	return 0;
}

/* A client may forget what it has open: then only the handle still tells. */
static bool is_forgotten(struct fs_server *fs, const struct handle *h)
{
	struct node *node;

	if (node_get(fs, h->node_id, &node) < 0)
		return true;
	node_put(fs, node);
	return false;
}

static int count_forgotten(struct fs_server *fs, uint64_t *sum)
{
	struct handle **h = calloc(fs->max_open ? fs->max_open : 1, sizeof(*h));
	struct stat st;
	size_t n = 0;

	if (!h)
		return -ENOMEM;
	pthread_mutex_lock(&fs->handle_lock);
	for (uint32_t i = 0; i < fs->handles.n_slots && n < fs->max_open; i++) {
		h[n] = fs->handles.slot[i].obj;
		if (!h[n] || h[n]->kind != HANDLE_FILE || h[n]->extra)
			continue;
		h[n++]->refs++;
	}
	pthread_mutex_unlock(&fs->handle_lock);
	for (size_t i = 0; i < n; i++) {
		if (fstat(h[i]->fd, &st) == 0 && st.st_nlink == 0 && is_forgotten(fs, h[i]))
			*sum += weight(&st, 0);
		handle_put(fs, h[i]);
	}
	free(h);
	return 0;
}

int quota_count(struct fs_server *fs, struct quota_sum *ret)
{
	struct quota_sum sum = { 0 };
	struct node *root;
	int rc = node_get(fs, FUSE_ROOT_ID, &root);

	if (rc < 0)
		return rc;
	rc = walk(root->fd, &sum);
	node_put(fs, root);
	if (rc == 0)
		rc = count_nameless(fs, &sum.bytes);
	if (rc == 0)
		rc = count_forgotten(fs, &sum.bytes);
	*ret = sum;
	return rc;
}
