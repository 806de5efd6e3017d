/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/disks.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/num.h"

#define BLOCK_DIR "/sys/block"

/* The kernel has probed its disks before it starts us; the wait is for those that are slow. */
#define FIND_TRIES   100
#define FIND_STEP_MS 10

/* fs/ext4/ext4.h: in blocks, for the whole file system */
#define EXT4_IOC_RESIZE_FS _IOW('f', 16, uint64_t)

#define SERIAL_MAX 20 /* virtio 1.2, 5.2.6: VIRTIO_BLK_T_GET_ID */

static bool has_serial(const char *disk, struct text id)
{
	char path[300], text[SERIAL_MAX + 2];
	cleanup_fd int fd = -1;
	ssize_t n;

	(void)snprintf(path, sizeof(path), BLOCK_DIR "/%s/serial", disk);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, text, sizeof(text));
	if (n > 0 && text[n - 1] == '\n')
		n--;
	return n == (ssize_t)id.len && memcmp(text, id.s, id.len) == 0;
}

static bool look_for(struct text id, char dst[DISK_PATH_MAX])
{
	cleanup_dir DIR *dir = opendir(BLOCK_DIR);
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.' || strlen(entry->d_name) > DISK_PATH_MAX - 6 ||
			!has_serial(entry->d_name, id))
			continue;
		(void)snprintf(dst, DISK_PATH_MAX, "/dev/%.50s", entry->d_name);
		return true;
	}
	return false;
}

int disk_find_id(struct text id, char dst[DISK_PATH_MAX], struct err *err)
{
	if (id.len == 0 || id.len > SERIAL_MAX || text_has_nul(id))
		return err_msg(err, EINVAL, "malformed id of a disk: '%.40s'", id.s ? id.s : "");
	for (unsigned i = 0; i < FIND_TRIES; i++) {
		if (look_for(id, dst))
			return 0;
		(void)poll(NULL, 0, FIND_STEP_MS);
	}
	return err_msg(err, ENOENT, "the machine has no disk '%s'", id.s);
}

int disk_find(struct text device, char dst[DISK_PATH_MAX], struct err *err)
{
	size_t prefix = strlen(DISK_BY_ID);

	if (!device.s || device.s[0] != '/' || text_has_nul(device))
		return err_msg(
			err, EINVAL, "malformed name of a disk: '%.60s'", device.s ? device.s : "");
	if (device.len > prefix && memcmp(device.s, DISK_BY_ID, prefix) == 0)
		return disk_find_id(
			(struct text){ device.s + prefix, device.len - prefix }, dst, err);
	if (device.len >= DISK_PATH_MAX)
		return err_msg(err, EINVAL, "name of a disk is too long: '%.60s'", device.s);
	memcpy(dst, device.s, device.len + 1);
	return 0;
}

static const char *options_of(const char *fstype, unsigned long flags)
{
	static const char *const discarding[] = { "ext4", "xfs", "btrfs", "f2fs" };

	if (flags & MS_RDONLY)
		return strcmp(fstype, "ext4") == 0 ? "noload" : NULL;
	for (size_t i = 0; i < ARRAY_LEN(discarding); i++) {
		if (strcmp(fstype, discarding[i]) == 0)
			return "discard";
	}
	return NULL;
}

static int mount_as(const char *node, const char *target, const char *fstype, unsigned long flags)
{
	return mount(node, target, fstype, flags, options_of(fstype, flags)) < 0 ? -errno : 0;
}

/* A line is "\text4" or "nodev\tproc". The wrong type fails with EINVAL; other errors are worth
 * telling, but another type may still fit. */
static int mount_any(const char *node, const char *target, unsigned long flags, struct err *err)
{
	cleanup_file FILE *f = fopen("/proc/filesystems", "re");
	char line[128], *type;
	int ret, worst = -EINVAL;

	if (!f)
		return err_set(err, errno, "open /proc/filesystems");
	while (fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = '\0';
		type = strchr(line, '\t');
		if (type != line)
			continue;
		ret = mount_as(node, target, type + 1, flags);
		if (ret == 0)
			return 0;
		if (ret != -EINVAL)
			worst = ret;
	}
	if (worst == -EINVAL)
		return err_msg(err, EINVAL, "it holds no file system that this kernel knows");
	return err_set(err, worst, "mount it");
}

int disk_mount(const char *node, const char *target, const char *fstype, unsigned long flags,
	struct err *err)
{
	int ret;

	if (!fstype || !*fstype)
		return mount_any(node, target, flags, err);
	ret = mount_as(node, target, fstype, flags);
	if (ret == -EINVAL)
		return err_msg(err, EINVAL, "it holds no intact %s file system", fstype);
	if (ret == -ENODEV)
		return err_msg(err, ENODEV, "this kernel knows no file system '%s'", fstype);
	return ret < 0 ? err_set(err, ret, "mount it as %s", fstype) : 0;
}

static int device_size(const char *node, uint64_t *ret, struct err *err)
{
	cleanup_fd int fd = open(node, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || ioctl(fd, BLKGETSIZE64, ret) < 0)
		return err_set(err, errno, "read the size of the disk");
	return 0;
}

int disk_grow(const char *node, const char *target, struct err *err)
{
	cleanup_fd int fd = open(target, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct statfs fs;
	uint64_t size, blocks;
	int ret = device_size(node, &size, err);

	if (ret < 0)
		return ret;
	if (fd < 0 || fstatfs(fd, &fs) < 0)
		return err_set(err, errno, "look at its file system");
	blocks = size / (uint64_t)fs.f_bsize;
	/* The kernel has nothing to do if they are as many already. */
	if (ioctl(fd, EXT4_IOC_RESIZE_FS, &blocks) < 0)
		return err_set(err, errno, "make its file system as large as the disk");
	return 0;
}
