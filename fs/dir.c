/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listing directories. Entries are read ahead into the handle's buffer, which lives only while a
 * listing is under way; the offset given to the client is the host's own cookie, so a client that
 * seeks costs an lseek and nothing else.
 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fs/fs_internal.h"

#define DIRBUF_SIZE 8192

/* The kernel's record; glibc's struct dirent64 promises the same but reserves a whole name. */
struct raw_dirent {
	uint64_t ino;
	int64_t off;
	uint16_t reclen;
	uint8_t type;
	char name[];
};

/* A listing on its way to the client. */
struct listing {
	char *buf;
	size_t size, len;
	bool plus;
};

static void dir_drop(struct handle *h)
{
	free(h->dirbuf);
	h->dirbuf = NULL;
	h->dir_pos = h->dir_len = 0;
}

static int dir_seek(struct handle *h, uint64_t off)
{
	if (off == h->dir_off)
		return 0;
	dir_drop(h);
	if (lseek(h->fd, (off_t)off, SEEK_SET) < 0)
		return -errno;
	h->dir_off = off;
	return 0;
}

/* Return: 1 and the next entry; 0 at the end; -errno */
static int dir_peek(struct handle *h, const struct raw_dirent **ret)
{
	if (h->dir_pos == h->dir_len) {
		if (!h->dirbuf)
			h->dirbuf = malloc(DIRBUF_SIZE);
		if (!h->dirbuf)
			return -ENOMEM;
		long n = syscall(SYS_getdents64, h->fd, h->dirbuf, DIRBUF_SIZE);
		h->dir_pos = h->dir_len = 0;
		if (n <= 0) {
			int code = n < 0 ? -errno : 0;
			dir_drop(h);
			return code;
		}
		h->dir_len = (size_t)n;
	}
	*ret = (const struct raw_dirent *)(void *)(h->dirbuf + h->dir_pos);
	return 1;
}

static void dir_next(struct handle *h, const struct raw_dirent *d)
{
	h->dir_off = (uint64_t)d->off;
	h->dir_pos += d->reclen;
}

static bool is_dot(const char *name)
{
	return !strcmp(name, ".") || !strcmp(name, "..");
}

/*
 * The node part of a READDIRPLUS entry. An entry that cannot be looked up (it is gone, or there
 * are no descriptors left) keeps nodeid 0: the name is listed, the client looks it up when it
 * needs it.
 */
static void entry_for_listing(
	struct fs_req *r, const struct raw_dirent *d, struct fuse_entry_out *ret)
{
	struct statx stx;
	struct node *node;

	if (is_dot(d->name) || lookup_child(r->fs, r->node, d->name, &node, &stx) < 0)
		return;
	if (entry_fill(r->fs, r->node, node, &stx, ret) < 0)
		node_forget(r->fs, node->id, 1);
	node_put(r->fs, node);
}

/* Return: true if @d is in the listing; false if it has no room, and nothing was looked up */
static bool listing_add(struct fs_req *r, struct listing *l, const struct raw_dirent *d)
{
	size_t namelen = strlen(d->name), head = l->plus ? sizeof(struct fuse_entry_out) : 0;
	size_t size = FUSE_REC_ALIGN(head + sizeof(struct fuse_dirent) + namelen);
	struct fuse_dirent out = {
		.ino = d->ino,
		.off = (uint64_t)d->off,
		.namelen = (uint32_t)namelen,
		.type = d->type,
	};
	char *p = l->buf + l->len;

	if (size > l->size - l->len)
		return false;
	memset(p, 0, size);
	if (l->plus) {
		struct fuse_entry_out entry = { 0 };
		entry_for_listing(r, d, &entry);
		memcpy(p, &entry, sizeof(entry));
		if (entry.nodeid) {
			out.ino = entry.attr.ino;
			out.type = (entry.attr.mode & S_IFMT) >> 12;
		}
		p += sizeof(entry);
	}
	memcpy(p, &out, sizeof(out));
	memcpy(p + sizeof(out), d->name, namelen);
	l->len += size;
	return true;
}

/* With the handle locked. Return: 0; -errno if not even one entry could be listed */
static int listing_fill(struct fs_req *r, struct listing *l)
{
	const struct raw_dirent *d = NULL;
	int rc = dir_seek(r->h, r->arg.read.offset);

	while (rc == 0 && (rc = dir_peek(r->h, &d)) > 0) {
		if (!extra_hides(r->fs, r->node, d->name) && !listing_add(r, l, d))
			return l->len ? 0 : -EINVAL;
		dir_next(r->h, d);
		rc = 0;
	}
	return l->len ? 0 : rc;
}

static ssize_t list(struct fs_req *r, bool plus)
{
	size_t size = MIN_OF(MIN_OF(r->arg.read.size, req_room(r)), FS_REPLY_MAX);
	cleanup_free char *buf = malloc(size ? size : 1);
	struct listing l = { .buf = buf, .size = size, .plus = plus };

	if (!buf)
		return -ENOMEM;
	pthread_mutex_lock(&r->h->lock);
	int rc = listing_fill(r, &l);
	pthread_mutex_unlock(&r->h->lock);
	return rc < 0 ? rc : req_reply(r, buf, l.len);
}

ssize_t op_readdir(struct fs_req *r)
{
	return list(r, false);
}

ssize_t op_readdirplus(struct fs_req *r)
{
	return list(r, true);
}
