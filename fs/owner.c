/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who owns what, as the guest sees it (krun-api.md 4.7).
 *
 * FS_OWNER_HOST: the host's own owner and mode. New objects are created by the server's user and
 * given to the requester with chown, which needs no identity switching per request; a server
 * without privilege keeps what it creates for requests of the guest's root and of its own uid, and
 * refuses others with EPERM. Until the chown the object is the server's; the guest's kernel holds
 * the parent directory locked meanwhile.
 *
 * FS_OWNER_XATTR: the host object keeps the server's owner and a mode that lets the server work
 * on it, never setuid or setgid; owner, mode, type and device number for the guest are in the
 * xattr, as text or packed. Devices, FIFOs and sockets are empty regular files on the host.
 * Symlinks cannot have user xattrs: a server with privilege gives them to their owner for real,
 * another one remembers the owner while the node lives.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "fs/fs_internal.h"

#define OVERRIDE_XATTR "user.containers.override_stat"
#define OVERRIDE_MAX   128
#define PROBE_XATTR    "user.containers._probe"

/* A packed record: version, three zeros, and as 32 bits uid, gid, mode with type, device number. */
#define PACKED_LEN     20
#define PACKED_VERSION 1

#define NOBODY 65534

uint32_t rdev_to_wire(unsigned maj, unsigned min)
{
	return (min & 0xff) | (maj & 0xfff) << 8 | (min & ~0xffU) << 12;
}

dev_t rdev_from_wire(uint32_t rdev)
{
	return makedev((rdev >> 8) & 0xfff, (rdev & 0xff) | ((rdev >> 12) & ~0xffU));
}

/* One field up to ':' or the end. Return: false if it is no number in @base up to 32 bits. */
static bool field_parse(const char **pos, const char *end, unsigned base, uint32_t *ret)
{
	uint64_t v = 0;
	const char *p = *pos, *start = p;
	bool ok = true;

	for (; p < end && *p != ':'; p++) {
		unsigned digit = (unsigned)(*p - '0');
		if (digit >= base || v > UINT32_MAX)
			ok = false;
		else
			v = v * base + digit;
	}
	ok = ok && p > start && v <= UINT32_MAX;
	*pos = p < end ? p + 1 : end;
	if (ok)
		*ret = (uint32_t)v;
	return ok;
}

/* The value's type counts where a host object of that type can stand for it. */
static mode_t mode_merge(mode_t real, mode_t value)
{
	mode_t type = value & S_IFMT;
	bool special = type == S_IFIFO || type == S_IFSOCK || type == S_IFCHR || type == S_IFBLK;

	if (!special || !S_ISREG(real))
		type = real & S_IFMT;
	return type | (value & 07777);
}

static bool parse_packed(const char *value, struct owner *owner)
{
	uint32_t mode = load_le32(value + 12);

	owner->uid = load_le32(value + 4);
	owner->gid = load_le32(value + 8);
	/* A regular file may stand for a symbolic link, and holds its target. */
	if (S_ISLNK(mode) && S_ISREG(owner->mode))
		owner->mode = S_IFLNK | 0777;
	else
		owner->mode = mode_merge(owner->mode, mode);
	if (S_ISCHR(owner->mode) || S_ISBLK(owner->mode))
		owner->rdev = load_le32(value + 16);
	return true;
}

bool owner_parse(const char *value, size_t len, struct owner *owner)
{
	const char *p = value, *end = value + len;
	uint32_t mode;

	if (len == PACKED_LEN && load_le32(value) == PACKED_VERSION)
		return parse_packed(value, owner);
	/* Fewer than three fields say nothing. */
	const char *colon = memchr(value, ':', len);
	if (!colon || !memchr(colon + 1, ':', (size_t)(end - colon - 1)))
		return false;
	(void)field_parse(&p, end, 10, &owner->uid);
	(void)field_parse(&p, end, 10, &owner->gid);
	if (field_parse(&p, end, 8, &mode))
		owner->mode = mode_merge(owner->mode, mode);
	if (p < end && (S_ISCHR(owner->mode) || S_ISBLK(owner->mode)))
		(void)field_parse(&p, end, 10, &owner->rdev);
	return true;
}

/* images.md 5.2, identity map: who owns what the client has not recorded */
static void owner_map(const struct fs_records *rec, struct owner *owner)
{
	bool ours = owner->uid == geteuid();

	if (!rec->has_ids)
		return;
	owner->uid = ours ? rec->uid : NOBODY;
	owner->gid = ours ? rec->gid : NOBODY;
}

static void owner_of_link(struct fs_server *fs, struct node *node, struct owner *owner)
{
	owner_map(&fs->records, owner);
	pthread_mutex_lock(node_stripe(fs, node));
	if (node->has_link_owner) {
		owner->uid = node->link_uid;
		owner->gid = node->link_gid;
	}
	pthread_mutex_unlock(node_stripe(fs, node));
}

/* What the record says; @code: errno if it could not be read. */
static int owner_from_record(
	struct fs_server *fs, const char *value, ssize_t len, int code, struct owner *ret)
{
	enum fs_record_need need = fs->records.need;

	if (len >= 0 && (owner_parse(value, (size_t)len, ret) || need == FS_RECORD_IF_POSSIBLE))
		return 0;
	if (len >= 0 || code == ERANGE)
		return need == FS_RECORD_IF_POSSIBLE ? 0 : -EIO;
	if (code == EOPNOTSUPP && need == FS_RECORD_ALWAYS)
		return -EIO;
	if (code != ENODATA && code != EOPNOTSUPP)
		return -code;
	owner_map(&fs->records, ret);
	return 0;
}

int owner_get(struct fs_server *fs, struct node *node, const struct statx *stx, struct owner *ret)
{
	char name[FS_PROC_NAME_MAX], value[OVERRIDE_MAX];

	*ret = (struct owner){
		.uid = stx->stx_uid,
		.gid = stx->stx_gid,
		.mode = stx->stx_mode,
		.rdev = rdev_to_wire(stx->stx_rdev_major, stx->stx_rdev_minor),
	};
	if (fs->owner == FS_OWNER_HOST)
		return 0;
	if (node->type == S_IFLNK) {
		owner_of_link(fs, node, ret);
		return 0;
	}
	node_proc_name(node, name);
	ssize_t len = getxattr(name, OVERRIDE_XATTR, value, sizeof(value));
	return owner_from_record(fs, value, len, errno, ret);
}

static int link_set_owner(struct fs_server *fs, struct node *node, uid_t uid, gid_t gid)
{
	/* Where owners are mapped, the host's is that of the server. */
	if (!fs->records.has_ids) {
		if (fchownat(node->fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) == 0)
			return 0;
		if (errno != EPERM && errno != EINVAL) /* EINVAL: not in our user namespace */
			return -errno;
	}
	pthread_mutex_lock(node_stripe(fs, node));
	node->has_link_owner = true;
	node->link_uid = uid;
	node->link_gid = gid;
	pthread_mutex_unlock(node_stripe(fs, node));
	return 0;
}

static size_t make_packed(const struct owner *owner, char value[OVERRIDE_MAX])
{
	bool device = S_ISCHR(owner->mode) || S_ISBLK(owner->mode);

	store_le32(value, PACKED_VERSION);
	store_le32(value + 4, owner->uid);
	store_le32(value + 8, owner->gid);
	store_le32(value + 12, owner->mode);
	store_le32(value + 16, device ? owner->rdev : 0);
	return PACKED_LEN;
}

static size_t make_text(const struct owner *owner, char value[OVERRIDE_MAX])
{
	int len = snprintf(value, OVERRIDE_MAX, "%u:%u:0%o", owner->uid, owner->gid, owner->mode);

	if (S_ISCHR(owner->mode) || S_ISBLK(owner->mode))
		len += snprintf(value + len, OVERRIDE_MAX - len, ":%u", owner->rdev);
	return (size_t)len;
}

int owner_set(struct fs_server *fs, struct node *node, const struct owner *owner)
{
	char name[FS_PROC_NAME_MAX], value[OVERRIDE_MAX];
	size_t len;

	if (node->type == S_IFLNK)
		return link_set_owner(fs, node, owner->uid, owner->gid);
	len = fs->records.packed ? make_packed(owner, value) : make_text(owner, value);
	node_proc_name(node, name);
	if (setxattr(name, OVERRIDE_XATTR, value, len, 0) == 0)
		return 0;
	return errno == EOPNOTSUPP && fs->records.need == FS_RECORD_IF_POSSIBLE ? 0 : -errno;
}

int fs_takes_records(int fd, bool read_only)
{
	char path[32];

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (read_only)
		return getxattr(path, OVERRIDE_XATTR, NULL, 0) < 0 && errno != ENODATA ? -errno : 0;
	if (setxattr(path, PROBE_XATTR, "", 0, 0) < 0)
		return -errno;
	return removexattr(path, PROBE_XATTR) < 0 && errno != ENODATA ? -errno : 0;
}

mode_t owner_host_mode(const struct fs_server *fs, mode_t mode)
{
	mode_t floor = S_ISDIR(mode) ? 0700 : 0600;

	if (fs->owner == FS_OWNER_HOST)
		return mode & 07777;
	return fs->records.perms == FS_PERMS_PRIVATE ? floor : (mode & 0777) | floor;
}

static int host_new_object(struct fs_req *r, struct node *parent, struct node *node, mode_t mode)
{
	uid_t uid = r->hdr.uid;
	gid_t gid = r->hdr.gid;
	struct statx stx;
	int rc;

	/* The host's kernel has done all there is to do, the group of setgid directories included
	 */
	if (uid == geteuid() && gid == getegid())
		return 0;
	rc = node_statx(parent, &stx);
	if (rc < 0)
		return rc;
	if (stx.stx_mode & S_ISGID)
		gid = (gid_t)-1;
	if (fchownat(node->fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) != 0) {
		if (errno == EPERM && (uid == 0 || uid == geteuid()))
			return 0;
		return -errno;
	}
	if (node->type != S_IFREG || !(mode & (S_ISUID | S_ISGID)))
		return 0;
	/* chown took these bits away */
	char name[FS_PROC_NAME_MAX];
	node_proc_name(node, name);
	return fchmodat(r->fs->proc_fd, name, mode & 07777, 0) == 0 ? 0 : -errno;
}

int owner_new_object(
	struct fs_req *r, struct node *parent, struct node *node, mode_t mode, uint32_t rdev)
{
	struct owner dir,
		owner = { .uid = r->hdr.uid, .gid = r->hdr.gid, .mode = mode, .rdev = rdev };
	struct statx stx;

	if (r->fs->owner == FS_OWNER_HOST)
		return host_new_object(r, parent, node, mode);
	int rc = node_statx(parent, &stx);
	if (rc == 0)
		rc = owner_get(r->fs, parent, &stx, &dir);
	if (rc < 0)
		return rc;
	if (dir.mode & S_ISGID) {
		owner.gid = dir.gid;
		if (S_ISDIR(mode))
			owner.mode |= S_ISGID;
	}
	return owner_set(r->fs, node, &owner);
}
