/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The root file system: a folder is shared as it is; anything else is made of disks by the agent,
 * and the share that the machine starts from holds nothing but the agent.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/upper.h"
#include "cli/etc_covers.h"
#include "cli/run_setup.h"
#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/num.h"

#define ROOT_TAG "/dev/root"

static int root_folder(struct run_setup *s, const char *path, struct err *err)
{
	int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct stat st;

	if (fd < 0 && errno == ENOTDIR && stat(path, &st) == 0)
		return err_msg(err, ENOTDIR,
			"root file system '%s' is not a folder; a disk image is named .raw, .qcow2 "
			"or .vmdk",
			path);
	if (fd < 0)
		return err_set(err, errno, "root file system '%s'", path);
	if (s->trust_host_cas && !etc_takes_cas(fd))
		log_warn("--trust-host-cas: '%s' has no bundle of certificates and no folder for "
			 "one, "
			 "so the guest gets none: create %s/etc/ssl/certs",
			path, path);
	return setup_add_share(s, ROOT_TAG, fd, false, err) ? 0 : -EIO;
}

/* How the guest finds a disk: by its serial, whatever the order of devices. */
static struct text device_of(const struct setup_disk *disk, char dst[64])
{
	(void)snprintf(dst, 64, "%s%s", DISK_BY_ID, disk->id);
	return text_of(dst);
}

/* ---- what is written ---- */

static int upper_folder(char path[PATH_MAX], struct err *err)
{
	const char *dir = getenv("TMPDIR");

	/* Not /tmp, which may be memory: this one can become large. */
	(void)snprintf(path, PATH_MAX, "%s/msb-XXXXXX", dir && *dir ? dir : "/var/tmp");
	if (!mkdtemp(path))
		return err_set(err, errno, "create a folder like '%s'", path);
	return 0;
}

/* A disk of this machine alone: a file without a name, gone with its last user. */
static int make_upper(uint32_t size_mib, int *ret_fd, struct err *err)
{
	static const char *const dirs[] = { "upper", "work", NULL };
	const struct upper_config cfg = { .size = MIB(size_mib), .dirs = dirs };
	cleanup_fd int dir_fd = -1;
	char path[PATH_MAX];
	int rc = upper_folder(path, err);

	if (rc < 0)
		return rc;
	dir_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	rc = dir_fd < 0 ? err_set(err, errno, "open '%s'", path)
			: upper_create(dir_fd, "upper", &cfg, err);
	if (rc == 0) {
		*ret_fd = openat(dir_fd, "upper", O_RDWR | O_CLOEXEC);
		rc = *ret_fd < 0 ? err_set(err, errno, "open the root disk") : 0;
		(void)unlinkat(dir_fd, "upper", 0);
	}
	(void)rmdir(path);
	return rc;
}

static int managed_upper(struct run_setup *s, const struct upper_arg *arg, struct err *err)
{
	struct setup_disk *disk;
	int fd = -1, rc;

	rc = make_upper(arg->size_mib  ? arg->size_mib
			: s->upper_mib ? s->upper_mib
				       : UPPER_DEFAULT_MIB,
		&fd, err);
	if (rc < 0)
		return err_wrap(err, "root disk");
	disk = setup_add_disk(s, "upper", fd, false, err);
	if (!disk)
		return -EIO;
	disk->vm.unsafe = true;
	setup_label(disk, "root disk");
	s->root.upper.scratch = true;
	s->root.upper.device = device_of(disk, s->device[1]);
	s->root.upper.fstype = text_of("ext4");
	s->root.upper.grow = true;
	return 0;
}

static int disk_upper(struct run_setup *s, const struct upper_arg *arg, struct err *err)
{
	struct setup_disk *disk =
		setup_open_disk(s, "upper", arg->path, arg->format, true, &arg->backing, err);

	if (!disk)
		return err_wrap(err, "root disk");
	s->root.upper.device = device_of(disk, s->device[1]);
	s->root.upper.fstype = text_of(arg->fstype);
	return 0;
}

static int add_upper(struct run_setup *s, const struct run_args *args, struct err *err)
{
	const struct upper_arg *arg = &args->upper;

	s->root.upper.kind = text_of("device");
	switch (arg->kind) {
	case UPPER_TMPFS:
		if (arg->size_mib > args->ram_mib)
			return err_msg(err, EINVAL,
				"root disk of %u MiB in memory is more than the machine's memory",
				arg->size_mib);
		s->root.upper.kind = text_of("tmpfs");
		s->root.upper.size_mib = arg->size_mib;
		return 0;
	case UPPER_DISK:
		return disk_upper(s, arg, err);
	case UPPER_MANAGED:
	case UPPER_FLAT: /* nothing lies under it */
		break;
	}
	return managed_upper(s, arg, err);
}

/* ---- disks ---- */

/* EROFS is never written: such a disk is an image, with what is written on a disk of its own. */
static int root_disk(struct run_setup *s, const struct run_args *args, struct err *err)
{
	bool image = args->fstype && strcmp(args->fstype, "erofs") == 0;
	struct setup_disk *disk = setup_open_disk(
		s, "root", args->image, disk_format_of(args->image), !image, &args->backing, err);

	if (!disk)
		return err_wrap(err, "root file system");
	/* Looked at by the worker: what is on it may be a guest's, and hostile. */
	disk->vm.is_root = true;
	disk->vm.fstype = args->fstype;
	if (image) {
		s->root.kind = text_of("oci-erofs");
		s->root.lower = device_of(disk, s->device[0]);
		return add_upper(s, args, err);
	}
	s->root.kind = text_of("disk-image");
	s->root.device = device_of(disk, s->device[0]);
	s->root.fstype = text_of(args->fstype);
	s->root.readonly = disk->vm.read_only;
	return 0;
}

static int root_image(struct run_setup *s, const struct run_args *args, struct err *err)
{
	int rc = setup_image(s, args, err);

	if (rc < 0)
		return rc;
	if (args->upper.kind == UPPER_FLAT) {
		s->root.kind = text_of("disk-image");
		s->root.device = device_of(&s->disk[s->n_disks - 1], s->device[0]);
		s->root.fstype = text_of("ext4");
		s->root.grow = true;
		return 0;
	}
	s->root.kind = text_of("oci-erofs");
	s->root.lower = device_of(&s->disk[s->n_disks - 1], s->device[0]);
	return add_upper(s, args, err);
}

int setup_root(struct run_setup *s, const struct run_args *args, struct err *err)
{
	enum root_kind kind = root_kind_of(args->image);

	if (kind == ROOT_FOLDER)
		return root_folder(s, args->image, err);
	if (!setup_empty_share(s, ROOT_TAG, true, err))
		return -EIO;
	return kind == ROOT_DISK ? root_disk(s, args, err) : root_image(s, args, err);
}
