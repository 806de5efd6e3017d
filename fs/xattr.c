/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Extended attributes. Which names of the guest exist, and where they are kept:
 *
 *	user.*		  themselves; with FS_OWNER_XATTR not those below user.containers., which
 *are the server's own records
 *	security.*	  FS_OWNER_HOST: security.capability only, which needs privilege; labels of
 *			  host security modules are not the guest's to set. FS_OWNER_XATTR: stored
 *			  below GUEST_PREFIX, so that they mean nothing to the host
 *	trusted.*	  FS_OWNER_XATTR: as security.*; FS_OWNER_HOST: none, the host's overlay
 *file systems believe them system.*	  none: POSIX ACLs are not negotiated, and a client that
 *checks modes only would grant what an ACL denies
 */
#include <errno.h>
#include <linux/limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "fs/fs_internal.h"

#define RESERVED_PREFIX "user.containers."
#define GUEST_PREFIX	RESERVED_PREFIX "guest."
#define CAPS_XATTR	"security.capability"

static bool has_prefix(const char *s, const char *prefix)
{
	return !strncmp(s, prefix, strlen(prefix));
}

bool xattr_counts(const char *name)
{
	bool ours = has_prefix(name, RESERVED_PREFIX) && !has_prefix(name, GUEST_PREFIX);

	return !strcmp(name, CAPS_XATTR) || (has_prefix(name, "user.") && !ours);
}

static int host_name(const char *guest, char *ret)
{
	if (!has_prefix(guest, "user.") && strcmp(guest, CAPS_XATTR))
		return -EOPNOTSUPP;
	memcpy(ret, guest, strlen(guest) + 1);
	return 0;
}

static int stored_name(const char *guest, char *ret)
{
	bool moved = has_prefix(guest, "security.") || has_prefix(guest, "trusted.");

	if (!moved && !has_prefix(guest, "user."))
		return -EOPNOTSUPP;
	if (!moved && has_prefix(guest, RESERVED_PREFIX))
		return -EPERM;
	int n = snprintf(ret, XATTR_NAME_MAX + 1, "%s%s", moved ? GUEST_PREFIX : "", guest);
	return n > XATTR_NAME_MAX ? -ERANGE : 0;
}

/* The request's xattr name as the host's. Return: 0; -EOPNOTSUPP, -EPERM, -ERANGE, -EINVAL */
static int req_xattr_name(struct fs_req *r, char ret[XATTR_NAME_MAX + 1])
{
	char guest[XATTR_NAME_MAX + 1];
	ssize_t len = req_string(r, guest, sizeof(guest));

	if (len <= 0)
		return len == -ENAMETOOLONG ? -ERANGE : -EINVAL;
	return r->fs->owner == FS_OWNER_HOST ? host_name(guest, ret) : stored_name(guest, ret);
}

/* What the host calls an attribute, as the guest knows it; NULL: not for the guest. */
static const char *guest_name(const struct fs_server *fs, const char *host)
{
	char ignored[XATTR_NAME_MAX + 1];

	if (fs->owner == FS_OWNER_HOST)
		return host_name(host, ignored) == 0 ? host : NULL;
	if (has_prefix(host, GUEST_PREFIX))
		return host + strlen(GUEST_PREFIX);
	return has_prefix(host, "user.") && !has_prefix(host, RESERVED_PREFIX) ? host : NULL;
}

void xattr_drop_caps(struct fs_server *fs, const struct node *node)
{
	char proc_name[FS_PROC_NAME_MAX];

	node_proc_name(node, proc_name);
	(void)removexattr(proc_name, GUEST_PREFIX CAPS_XATTR);
}

static uint64_t weight_of(const char *proc_name, const char *name)
{
	ssize_t len = getxattr(proc_name, name, NULL, 0);

	return len < 0 ? 0 : quota_attr_weight(name, (size_t)len);
}

static uint64_t more(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

/* With the stripe held two changes of one attribute do not both give back the same. */
static int set_counted(struct fs_req *r, const char *name, const void *value, size_t len, int flags)
{
	pthread_mutex_t *stripe = node_stripe(r->fs, r->node);
	uint64_t before, after = quota_attr_weight(name, len);
	char proc_name[FS_PROC_NAME_MAX];
	int rc;

	node_proc_name(r->node, proc_name);
	pthread_mutex_lock(stripe);
	before = r->fs->quota ? weight_of(proc_name, name) : 0;
	rc = quota_charge_bytes(r->fs, more(after, before));
	if (rc == 0 && setxattr(proc_name, name, value, len, flags) != 0) {
		rc = -errno;
		quota_free_bytes(r->fs, more(after, before));
	} else if (rc == 0) {
		quota_free_bytes(r->fs, more(before, after));
	}
	pthread_mutex_unlock(stripe);
	return rc;
}

static int remove_counted(struct fs_req *r, const char *name)
{
	pthread_mutex_t *stripe = node_stripe(r->fs, r->node);
	char proc_name[FS_PROC_NAME_MAX];
	uint64_t before;
	int rc;

	node_proc_name(r->node, proc_name);
	pthread_mutex_lock(stripe);
	before = r->fs->quota ? weight_of(proc_name, name) : 0;
	rc = removexattr(proc_name, name) == 0 ? 0 : -errno;
	if (rc == 0)
		quota_free_bytes(r->fs, before);
	pthread_mutex_unlock(stripe);
	return rc;
}

ssize_t op_setxattr(struct fs_req *r)
{
	struct fuse_setxattr_in in = { .size = r->arg.setxattr.size,
		.flags = r->arg.setxattr.flags };
	char name[XATTR_NAME_MAX + 1];

	if (r->fs->flags & FUSE_SETXATTR_EXT) {
		if (r->in_len - r->pos < sizeof(in) - FUSE_COMPAT_SETXATTR_IN_SIZE)
			return -EINVAL;
		r->pos += sizeof(in) - FUSE_COMPAT_SETXATTR_IN_SIZE; /* flags for ACLs */
	}
	int rc = req_xattr_name(r, name);
	if (rc < 0)
		return rc;
	if (r->node->extra)
		return -EPERM;
	if (in.size > XATTR_SIZE_MAX)
		return -E2BIG;
	if (in.size > r->in_len - r->pos)
		return -EINVAL;
	cleanup_free char *value = malloc(in.size ? in.size : 1);
	if (!value)
		return -ENOMEM;
	(void)iov_read(r->in, r->n_in, r->pos, value, in.size);
	return set_counted(r, name, value, in.size, (int)in.flags);
}

/* Answer with @len bytes of @value, or with the length alone if the client asked for that. */
static ssize_t xattr_reply(struct fs_req *r, const void *value, size_t len)
{
	struct fuse_getxattr_out out = { .size = (uint32_t)len };

	if (r->arg.getxattr.size == 0)
		return req_reply(r, &out, sizeof(out));
	if (len > r->arg.getxattr.size)
		return -ERANGE;
	return req_reply(r, value, len);
}

ssize_t op_getxattr(struct fs_req *r)
{
	char proc_name[FS_PROC_NAME_MAX], name[XATTR_NAME_MAX + 1];
	int rc = req_xattr_name(r, name);

	if (rc == 0 && r->node->extra)
		rc = -ENODATA;
	if (rc < 0)
		return rc == -EPERM ? -ENODATA : rc;
	size_t size = MIN_OF(r->arg.getxattr.size, XATTR_SIZE_MAX);
	cleanup_free char *value = malloc(size ? size : 1);
	if (!value)
		return -ENOMEM;
	node_proc_name(r->node, proc_name);
	ssize_t len = getxattr(proc_name, name, size ? value : NULL, size);
	return len < 0 ? -errno : xattr_reply(r, value, (size_t)len);
}

/* Keep the guest's names, in place. Return: bytes left */
static size_t names_filter(const struct fs_server *fs, char *list, size_t len)
{
	size_t kept = 0;

	for (size_t pos = 0; pos < len;) {
		size_t n = strnlen(list + pos, len - pos) + 1;
		const char *name = guest_name(fs, list + pos);
		if (name) {
			size_t name_len = strlen(name) + 1;
			memmove(list + kept, name, name_len);
			kept += name_len;
		}
		pos += n;
	}
	return kept;
}

ssize_t op_listxattr(struct fs_req *r)
{
	char proc_name[FS_PROC_NAME_MAX];

	if (r->node->extra)
		return xattr_reply(r, NULL, 0);
	cleanup_free char *list = malloc(XATTR_LIST_MAX);
	if (!list)
		return -ENOMEM;
	node_proc_name(r->node, proc_name);
	ssize_t len = listxattr(proc_name, list, XATTR_LIST_MAX);
	if (len < 0)
		return -errno;
	return xattr_reply(r, list, names_filter(r->fs, list, (size_t)len));
}

ssize_t op_removexattr(struct fs_req *r)
{
	char name[XATTR_NAME_MAX + 1];
	int rc = req_xattr_name(r, name);

	if (rc < 0)
		return rc;
	if (r->node->extra)
		return -EPERM;
	return remove_counted(r, name);
}
