/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An image is an EROFS file system, never written, with an overlay on top whose upper directory
 * takes the writes: on a disk of its own, or in memory. The parts are mounted below /.msb in the
 * tree we were started from, which becomes invisible when the new root is moved over it.
 */
#include "guest/root.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "guest/disks.h"
#include "lib/cleanup.h"
#include "lib/num.h"

#define NEW_ROOT  "/newroot"
#define PARTS	  "/.msb/rootfs"
#define LOWER	  PARTS "/lower"
#define UPPER_FS  PARTS "/upperfs"
#define UPPER_DIR UPPER_FS "/upper"
#define WORK_DIR  UPPER_FS "/work"

/* Where EROFS has what it is made of: docs of the kernel, filesystems/erofs */
#define EROFS_MAGIC	    0xe0f5e1e2u
#define EROFS_SB_POS	    1024
#define EROFS_SB_LEN	    128
#define EROFS_EXTRA_DEVICES 86

/* Of names and of each value: the kernel's own limit, linux/limits.h. */
#define XATTRS_MAX 65536

/* ---- checks ---- */

static bool is_image(const struct block_root *root)
{
	return text_is(root->kind, "oci-erofs");
}

static int missing(const char *what, struct err *err)
{
	return err_msg(err, EINVAL, "bootstrap: the root file system has no %s", what);
}

static int check_image(const struct block_root *root, struct err *err)
{
	bool device = text_is(root->upper.kind, "device");

	if (root->lower.len == 0)
		return missing("lower device", err);
	if (!device && !text_is(root->upper.kind, "tmpfs"))
		return err_msg(err, ENOTSUP, "bootstrap: no upper of the kind '%.40s'",
			root->upper.kind.s ? root->upper.kind.s : "");
	if (device && (root->upper.device.len == 0 || root->upper.fstype.len == 0))
		return missing("upper device", err);
	return 0;
}

int root_check(const struct block_root *root, struct err *err)
{
	if (!root->kind.s)
		return 0;
	if (is_image(root))
		return check_image(root, err);
	if (!text_is(root->kind, "disk-image"))
		return err_msg(
			err, ENOTSUP, "bootstrap: no root of the kind '%.40s'", root->kind.s);
	return root->device.len == 0 ? missing("device", err) : 0;
}

/* ---- parts ---- */

static int make_dirs(void)
{
	static const char *const dirs[] = { NEW_ROOT, "/.msb", PARTS, LOWER, UPPER_FS, "/proc" };

	for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
		if (mkdir(dirs[i], 0755) < 0 && errno != EEXIST)
			return -errno;
	}
	return 0;
}

/* An image that was merged from layers has a table of them as its devices. */
static bool has_layers(const char *node)
{
	cleanup_fd int fd = open(node, O_RDONLY | O_CLOEXEC);
	uint8_t sb[EROFS_SB_LEN];

	return fd >= 0 && pread(fd, sb, sizeof(sb), EROFS_SB_POS) == (ssize_t)sizeof(sb) &&
	       load_le32(sb) == EROFS_MAGIC && load_le16(sb + EROFS_EXTRA_DEVICES);
}

static int mount_lower(const struct block_root *root, struct err *err)
{
	char node[DISK_PATH_MAX];
	int ret = disk_find(root->lower, node, err);

	if (ret < 0)
		return err_wrap(err, "mount EROFS image");
	if (mount(node, LOWER, "erofs", MS_RDONLY, NULL) == 0)
		return 0;
	ret = errno;
	if (has_layers(node))
		return err_msg(err, ret,
			"mount EROFS image: this kernel cannot read its layers as one disk (%s): "
			"Linux 6.4 with EROFS can, --root-disk flat does without",
			strerror(ret));
	if (ret == EINVAL || ret == EUCLEAN)
		return err_msg(err, EINVAL,
			"mount EROFS image: the disk holds no EROFS file system that this kernel "
			"can read");
	return err_set(err, ret, "mount EROFS image");
}

static int mount_upper(const struct root_upper *upper, struct err *err)
{
	char node[DISK_PATH_MAX], options[64];
	int ret;

	if (text_is(upper->kind, "tmpfs")) {
		if (upper->size_mib)
			(void)snprintf(options, sizeof(options), "size=%llu,mode=755",
				(unsigned long long)MIB(upper->size_mib));
		else
			(void)snprintf(options, sizeof(options), "mode=755");
		if (mount("tmpfs", UPPER_FS, "tmpfs", MS_RELATIME, options) < 0)
			return err_set(err, errno, "mount a tmpfs for what is written");
		return 0;
	}
	ret = disk_find(upper->device, node, err);
	if (ret == 0)
		ret = disk_mount(node, UPPER_FS, upper->fstype.s, 0, err);
	if (ret == 0 && upper->grow)
		ret = disk_grow(node, UPPER_FS, err);
	return ret < 0 ? err_wrap(err, "mount the disk for what is written") : 0;
}

/* An overlay's own attributes mean something else on its upper directory. */
static int copy_xattr(const char *name)
{
	char value[XATTRS_MAX];
	ssize_t len;

	if (strncmp(name, "trusted.overlay.", strlen("trusted.overlay.")) == 0)
		return 0;
	len = lgetxattr(LOWER, name, value, sizeof(value));
	if (len < 0 || lsetxattr(UPPER_DIR, name, value, (size_t)len, 0) < 0)
		return errno == ENOTSUP ? 0 : -errno;
	return 0;
}

static int copy_xattrs(void)
{
	char names[XATTRS_MAX];
	ssize_t len = llistxattr(LOWER, names, sizeof(names));
	int ret = 0;

	if (len < 0)
		return errno == ENOTSUP ? 0 : -errno;
	for (const char *p = names; p < names + len && ret == 0; p += strlen(p) + 1)
		ret = copy_xattr(p);
	return ret;
}

/*
 * The root of an overlay shows what its upper directory has, never what the image has. So a new
 * one gets what the image says: owner before mode, which it may change, and the time last. One
 * that an overlay had before is left as that left it; the work directory tells.
 */
static int copy_root_attributes(void)
{
	struct timespec times[2];
	struct stat st;
	int ret;

	if (lstat(WORK_DIR "/work", &st) == 0)
		return 0;
	if (lstat(LOWER, &st) < 0 || lchown(UPPER_DIR, st.st_uid, st.st_gid) < 0 ||
		chmod(UPPER_DIR, st.st_mode & 07777) < 0)
		return -errno;
	ret = copy_xattrs();
	times[0] = st.st_atim;
	times[1] = st.st_mtim;
	if (ret == 0 && utimensat(AT_FDCWD, UPPER_DIR, times, AT_SYMLINK_NOFOLLOW) < 0)
		ret = -errno;
	return ret;
}

static int mount_overlay(struct err *err)
{
	int ret;

	if ((mkdir(UPPER_DIR, 0755) < 0 && errno != EEXIST) ||
		(mkdir(WORK_DIR, 0755) < 0 && errno != EEXIST))
		return err_set(err, errno, "prepare the disk for what is written");
	ret = copy_root_attributes();
	if (ret < 0)
		return err_set(err, ret, "give the root directory what the image says of it");
	if (mount("overlay", NEW_ROOT, "overlay", 0,
		    "lowerdir=" LOWER ",upperdir=" UPPER_DIR ",workdir=" WORK_DIR) == 0)
		return 0;
	if (errno == ENODEV)
		return err_msg(err, ENODEV,
			"this kernel has no overlay file system to make the image writable with; "
			"an image of a registry can do without by --root-disk flat");
	return err_set(err, errno, "lay the writable file system over the image");
}

static int build_image(const struct block_root *root, int *ret_upper_fd, struct err *err)
{
	int ret = mount_lower(root, err);

	if (ret == 0)
		ret = mount_upper(&root->upper, err);
	if (ret == 0)
		ret = mount_overlay(err);
	if (ret < 0)
		return ret;
	if (text_is(root->upper.kind, "device") && !root->upper.scratch)
		*ret_upper_fd = open(UPPER_FS, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return 0;
}

static int build_disk(const struct block_root *root, struct err *err)
{
	char node[DISK_PATH_MAX];
	int ret = disk_find(root->device, node, err);

	if (ret == 0)
		ret = disk_mount(
			node, NEW_ROOT, root->fstype.s, root->readonly ? MS_RDONLY : 0, err);
	if (ret == 0 && root->grow && !root->readonly)
		ret = disk_grow(node, NEW_ROOT, err);
	return ret < 0 ? err_wrap(err, "mount the root disk") : 0;
}

/* ---- the whole ---- */

/* As the kernel itself leaves its first root: what was mounted before stays, out of sight. */
static int enter(struct err *err)
{
	if (chdir(NEW_ROOT) < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 ||
		chdir("/") < 0)
		return err_set(err, errno, "change to the new root file system");
	return 0;
}

int root_build(const struct block_root *root, int *ret_upper_fd, struct err *err)
{
	int ret;

	if (!root->kind.s)
		return 0;
	ret = make_dirs();
	if (ret < 0)
		return err_set(err, ret, "create mount points for the root file system");
	/* For the list of file system types; the new root gets another. */
	if (mount("proc", "/proc", "proc", MS_NODEV | MS_NOEXEC | MS_NOSUID, NULL) < 0 &&
		errno != EBUSY)
		return err_set(err, errno, "mount proc on /proc");
	ret = is_image(root) ? build_image(root, ret_upper_fd, err) : build_disk(root, err);
	return ret < 0 ? ret : enter(err);
}
