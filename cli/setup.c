/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/etc_covers.h"
#include "cli/run_setup.h"
#include "guest/agentd_blob.h"
#include "lib/cleanup.h"
#include "lib/num.h"

#define SLUG_MAX 11

void setup_id_of(const char *guest_path, char id[SETUP_TAG_MAX])
{
	size_t len = 0;

	guest_path += strspn(guest_path, "/");
	for (; guest_path[len] && len < SLUG_MAX; len++) {
		unsigned char c = (unsigned char)guest_path[len];

		/* It stands in sysfs and on QEMU's command line. */
		id[len] = c > 0x20 && c < 0x7f && c != '/' && c != ',' ? (char)c : '_';
	}
	id[len] = '\0';
}

/* Two paths may begin alike: their number tells them apart. */
static void make_unique(char id[SETUP_TAG_MAX], unsigned number)
{
	size_t len = strlen(id);

	(void)snprintf(id + len, SETUP_TAG_MAX - len, "_%u", number);
}

/* ---- shares ---- */

struct setup_share *setup_add_share(
	struct run_setup *s, const char *tag, int fd, bool read_only, struct err *err)
{
	struct setup_share *share = &s->share[s->n_shares];

	if (s->n_shares == ARRAY_LEN(s->share)) {
		(void)close(fd);
		(void)err_msg(err, E2BIG, "more than %d shared folders", VM_MAX_FS - 1);
		return NULL;
	}
	*share = (struct setup_share){
		.fd = fd,
		.read_only = read_only,
		/* Only root can give files away; others keep the guest's idea of owners. */
		.owner = geteuid() == 0 ? FS_OWNER_HOST : FS_OWNER_XATTR,
		.records = { .packed = true },
	};
	(void)snprintf(share->tag, sizeof(share->tag), "%.16s", tag);
	if (s->n_shares++ > 0)
		make_unique(share->tag, s->n_shares);
	return share;
}

static const char *tmp_folder(void)
{
	const char *dir = getenv("TMPDIR");

	return dir && *dir ? dir : "/tmp";
}

struct setup_share *setup_empty_share(
	struct run_setup *s, const char *tag, bool read_only, struct err *err)
{
	char path[PATH_MAX];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/msb-XXXXXX", tmp_folder());
	if (!mkdtemp(path)) {
		(void)err_set(err, errno, "create a folder in '%s'", tmp_folder());
		return NULL;
	}
	fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	/* The descriptor is all that is needed; nothing can be put into a folder without a name. */
	(void)rmdir(path);
	if (fd < 0) {
		(void)err_set(err, errno, "open '%s'", path);
		return NULL;
	}
	return setup_add_share(s, tag, fd, read_only, err);
}

/* ---- disks ---- */

struct setup_disk *setup_add_disk(
	struct run_setup *s, const char *id, int fd, bool read_only, struct err *err)
{
	struct setup_disk *disk = &s->disk[s->n_disks];

	if (s->n_disks == ARRAY_LEN(s->disk)) {
		close_fd(&fd);
		(void)err_msg(err, E2BIG, "more than %d disks", VM_MAX_DISKS);
		return NULL;
	}
	s->n_disks++;
	*disk = (struct setup_disk){ .vm = { .fd = fd, .dir_fd = -1, .read_only = read_only } };
	(void)snprintf(disk->id, sizeof(disk->id), "%.12s", id);
	make_unique(disk->id, s->n_disks);
	return disk;
}

void setup_label(struct setup_disk *disk, const char *fmt, ...)
{
	va_list ap;

	free(disk->label);
	va_start(ap, fmt);
	if (vasprintf(&disk->label, fmt, ap) < 0)
		disk->label = NULL;
	va_end(ap);
}

/* "/a/b" of "/a/b/image.vmdk" */
static char *folder_of(const char *path)
{
	char *dir = strdup(path), *slash = dir ? strrchr(dir, '/') : NULL;

	if (slash)
		slash[slash == dir] = '\0';
	return dir;
}

/* The other files of an image: the extents of a vmdk lie beside it, what a qcow2 image builds on
 * is where the user allows it. */
static int open_folder(struct setup_disk *disk, const struct backing_arg *backing, struct err *err)
{
	bool own = disk->vm.format == BLOCK_VMDK || (backing->on && !backing->folder);

	if (own)
		disk->folder = folder_of(disk->path);
	else if (backing->on)
		disk->folder = realpath(backing->folder, NULL);
	else
		return 0;
	disk->vm.dir_fd = disk->folder ? open(disk->folder, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
	if (disk->vm.dir_fd < 0)
		return err_set(err, errno, "%s '%s', for what disk image '%s' builds on",
			own ? "the folder of" : "folder", own ? disk->path : backing->folder,
			disk->path);
	disk->vm.path = disk->path;
	disk->vm.dir_path = disk->folder;
	disk->vm.backing = backing->on;
	return 0;
}

static int lock_image(int fd, bool writable, const char *path, struct err *err)
{
	if (flock(fd, (writable ? LOCK_EX : LOCK_SH) | LOCK_NB) == 0)
		return 0;
	if (errno == EWOULDBLOCK)
		return err_msg(err, EBUSY, "disk image '%s' is in use by another sandbox", path);
	return err_set(err, errno, "lock disk image '%s'", path);
}

static int check_unused(const struct run_setup *s, const char *path, struct err *err)
{
	for (unsigned i = 0; i < s->n_disks; i++) {
		if (s->disk[i].path && strcmp(s->disk[i].path, path) == 0)
			return err_msg(err, EBUSY,
				"disk image '%s' cannot be attached more than once", path);
	}
	return 0;
}

static int open_image(const char *path, bool writable, int *ret_fd, struct err *err)
{
	/* A FIFO would make us wait for its other end. */
	cleanup_fd int fd =
		open(path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(err, errno, "open disk image '%s'", path);
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return err_msg(err, EINVAL, "'%s' is no disk image", path);
	*ret_fd = take_fd(&fd);
	return lock_image(*ret_fd, writable, path, err);
}

struct setup_disk *setup_open_disk(struct run_setup *s, const char *id, const char *path,
	enum block_format format, bool writable, const struct backing_arg *backing, struct err *err)
{
	cleanup_free char *real = realpath(path, NULL);
	struct setup_disk *disk;
	cleanup_fd int fd = -1;

	if (!real) {
		(void)err_set(err, errno, "disk image '%s'", path);
		return NULL;
	}
	writable = writable && format != BLOCK_VMDK;
	if (check_unused(s, real, err) < 0 || open_image(real, writable, &fd, err) < 0)
		return NULL;
	disk = setup_add_disk(s, id, take_fd(&fd), !writable, err);
	if (!disk)
		return NULL;
	disk->vm.format = format;
	disk->path = take_ptr(&real);
	setup_label(disk, "disk image '%s'", path);
	s->lasting |= writable;
	return open_folder(disk, backing, err) < 0 ? NULL : disk;
}

/* ---- the whole ---- */

int setup_prepare(struct run_setup *s, const struct run_args *args, struct err *err)
{
	int rc;

	s->trust_host_cas = args->net.config.trust_host_cas;
	rc = setup_root(s, args, err);
	return rc < 0 ? rc : setup_mounts(s, args, err);
}

const struct image_config *setup_config(const struct run_setup *s)
{
	return s->image ? &s->image->config : NULL;
}

void setup_describe_machine(struct run_setup *s, struct vm_config *cfg)
{
	s->share[0].extra[0] = (struct fs_extra){
		.name = "init.krun", .data = agentd_blob, .len = agentd_blob_len, .mode = 0755
	};
	s->share[0].n_extra =
		1 + etc_covers(s->share[0].fd, s->trust_host_cas, s->share[0].extra + 1);
	for (cfg->n_fs = 0; cfg->n_fs < s->n_shares; cfg->n_fs++) {
		struct setup_share *share = &s->share[cfg->n_fs];

		cfg->fs[cfg->n_fs] = (struct vm_fs){
			.tag = share->tag,
			.cfg = { .root_fd = share->fd,
				.read_only = share->read_only,
				.quota = share->quota,
				.owner = share->owner,
				.records = share->records,
				.extra = share->extra,
				.n_extra = share->n_extra },
		};
	}
	for (cfg->n_disks = 0; cfg->n_disks < s->n_disks; cfg->n_disks++) {
		cfg->disk[cfg->n_disks] = s->disk[cfg->n_disks].vm;
		cfg->disk[cfg->n_disks].id = s->disk[cfg->n_disks].id;
		cfg->disk[cfg->n_disks].label = s->disk[cfg->n_disks].label;
	}
}

void setup_describe_guest(const struct run_setup *s, struct bootstrap *boot)
{
	boot->block_root = s->root;
	boot->dir_mounts = (struct list){ (void *)s->dirs, s->n_dirs };
	boot->file_mounts = (struct list){ (void *)s->files, s->n_files };
	boot->disk_mounts = (struct list){ (void *)s->disks, s->n_disk_mounts };
	boot->tmpfs_mounts = (struct list){ (void *)s->tmpfs, s->n_tmpfs };
}

void setup_close_worker_ends(struct run_setup *s)
{
	for (unsigned i = 0; i < s->n_shares; i++) {
		struct setup_share *share = &s->share[i];

		close_fd(&share->fd);
		for (unsigned j = 0; j < share->n_extra; j++) {
			if (share->extra[j].bound)
				close_fd(&share->extra[j].fd);
		}
	}
	for (unsigned i = 0; i < s->n_disks; i++) {
		close_fd(&s->disk[i].vm.fd);
		close_fd(&s->disk[i].vm.dir_fd);
	}
}

void setup_release(struct run_setup *s)
{
	setup_close_worker_ends(s);
	for (unsigned i = 0; i < s->n_disks; i++) {
		free(s->disk[i].path);
		free(s->disk[i].folder);
		free(s->disk[i].label);
	}
	free(s->parts);
	image_free(s->image);
	s->image = NULL;
	s->n_shares = s->n_disks = 0;
	s->parts = NULL;
}
