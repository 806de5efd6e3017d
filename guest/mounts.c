/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guest/disks.h"
#include "guest/paths.h"
#include "lib/cleanup.h"
#include "lib/num.h"

#define STAGING "/dev/.msb-files"

static unsigned long mount_flags_of(const struct mount_flags *f)
{
	return MS_RELATIME | (f->readonly ? MS_RDONLY : 0) | (f->noexec ? MS_NOEXEC : 0) |
	       (f->nosuid ? MS_NOSUID : 0) | (f->nodev ? MS_NODEV : 0);
}

static int bad_mount(struct text path, const char *why, struct err *err)
{
	return err_msg(err, EINVAL, "mount on '%.200s': %s", path.s ? path.s : "", why);
}

static int plan_path(struct text path, struct mount_plan_entry *e, struct err *err)
{
	return path_normalize(path, "mount on", e->path, sizeof(e->path), err);
}

static int plan_dir(const struct dir_mount *m, struct mount_plan_entry *e, struct err *err)
{
	if (m->tag.len == 0 || text_has_nul(m->tag))
		return bad_mount(m->guest_path, "malformed tag", err);
	e->source = m->tag.s;
	e->type = "virtiofs";
	e->flags = mount_flags_of(&m->flags);
	return plan_path(m->guest_path, e, err);
}

static int plan_file(const struct file_mount *m, struct mount_plan_entry *e, struct err *err)
{
	if (m->tag.len == 0 || text_has_nul(m->tag))
		return bad_mount(m->guest_path, "malformed tag", err);
	if (m->filename.len == 0 || m->filename.len > NAME_MAX || text_has_nul(m->filename) ||
		strchr(m->filename.s, '/') || text_is(m->filename, "..") ||
		text_is(m->filename, "."))
		return bad_mount(m->guest_path, "malformed file name", err);
	e->kind = MOUNT_FILE;
	e->source = m->tag.s;
	e->filename = m->filename.s;
	e->type = "virtiofs";
	e->flags = mount_flags_of(&m->flags);
	return plan_path(m->guest_path, e, err);
}

static int plan_disk(const struct disk_mount *m, struct mount_plan_entry *e, struct err *err)
{
	if (m->id.len == 0 || text_has_nul(m->id) || text_has_nul(m->fstype))
		return bad_mount(m->guest_path, "malformed id or type", err);
	e->kind = MOUNT_DISK;
	e->source = m->id.s;
	e->type = m->fstype.s;
	e->flags = mount_flags_of(&m->flags);
	return plan_path(m->guest_path, e, err);
}

static int plan_tmpfs(const struct tmpfs_mount *m, struct mount_plan_entry *e, struct err *err)
{
	int ret = plan_path(m->path, e, err);
	bool tmp = !strcmp(e->path, "/tmp") || !strcmp(e->path, "/var/tmp");
	unsigned mode = m->mode ? m->mode : tmp ? 01777 : 0755;

	e->source = "tmpfs";
	e->type = "tmpfs";
	e->flags = mount_flags_of(&m->flags);
	if (m->size_mib)
		(void)snprintf(e->data, sizeof(e->data), "size=%llu,mode=%o",
			(unsigned long long)MIB(m->size_mib), mode);
	else
		(void)snprintf(e->data, sizeof(e->data), "mode=%o", mode);
	return ret;
}

static int depth_of(const char *path)
{
	int depth = 0;

	for (; *path; path++)
		depth += *path == '/';
	return depth;
}

static int compare(const void *a, const void *b)
{
	const struct mount_plan_entry *x = a, *y = b;
	int diff = depth_of(x->path) - depth_of(y->path);

	return diff ? diff : strcmp(x->path, y->path);
}

static bool is_below(const char *path, const char *top)
{
	size_t len = strlen(top);

	return strncmp(path, top, len) == 0 && path[len] == '/';
}

/* Sorted: the same path twice stands side by side, what is below a file behind it. */
static int check_plan(const struct mount_plan_entry *plan, size_t n, struct err *err)
{
	for (size_t i = 0; i < n; i++) {
		if (i > 0 && strcmp(plan[i - 1].path, plan[i].path) == 0)
			return err_msg(err, EINVAL, "two mounts on '%.400s'", plan[i].path);
		for (size_t j = i + 1; plan[i].kind == MOUNT_FILE && j < n; j++) {
			if (is_below(plan[j].path, plan[i].path))
				return err_msg(err, EINVAL,
					"mount on '%.200s': below the file '%.200s'", plan[j].path,
					plan[i].path);
		}
	}
	return 0;
}

static int plan_all(const struct bootstrap *boot, struct mount_plan_entry *e, struct err *err)
{
	const struct dir_mount *dirs = boot->dir_mounts.v;
	const struct file_mount *files = boot->file_mounts.v;
	const struct disk_mount *disks = boot->disk_mounts.v;
	const struct tmpfs_mount *tmps = boot->tmpfs_mounts.v;
	int res = 0;

	for (size_t i = 0; i < boot->dir_mounts.n && res == 0; i++)
		res = plan_dir(&dirs[i], e++, err);
	for (size_t i = 0; i < boot->file_mounts.n && res == 0; i++)
		res = plan_file(&files[i], e++, err);
	for (size_t i = 0; i < boot->disk_mounts.n && res == 0; i++)
		res = plan_disk(&disks[i], e++, err);
	for (size_t i = 0; i < boot->tmpfs_mounts.n && res == 0; i++)
		res = plan_tmpfs(&tmps[i], e++, err);
	return res;
}

int mounts_plan(const struct bootstrap *boot, struct mount_plan_entry **ret, struct err *err)
{
	size_t n = boot->dir_mounts.n + boot->file_mounts.n + boot->disk_mounts.n +
		   boot->tmpfs_mounts.n;
	cleanup_free struct mount_plan_entry *plan = NULL;
	int res;

	if (n > MOUNTS_MAX)
		return err_msg(err, E2BIG, "more than %d mounts", MOUNTS_MAX);
	if (n == 0)
		return 0;
	plan = calloc(n, sizeof(*plan));
	if (!plan)
		return err_set(err, ENOMEM, "plan mounts");
	res = plan_all(boot, plan, err);
	if (res < 0)
		return res;
	qsort(plan, n, sizeof(*plan), compare);
	res = check_plan(plan, n, err);
	if (res < 0)
		return res;
	*ret = take_ptr(&plan);
	return n;
}

static int mount_disk(struct mount_plan_entry *e, struct err *err)
{
	char node[DISK_PATH_MAX];
	int ret = disk_find_id(text_of(e->source), node, err);

	if (ret == 0)
		ret = disk_mount(node, e->path, e->type, e->flags, err);
	return ret < 0 ? err_wrap(err, "mount disk on '%s'", e->path) : 0;
}

static int make_file(char *path)
{
	int ret = path_make_parents(path);
	cleanup_fd int fd = -1;

	if (ret < 0)
		return ret;
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	return fd < 0 && errno != EEXIST ? -errno : 0;
}

static int bind_file(struct mount_plan_entry *e)
{
	char source[sizeof(STAGING) + NAME_MAX + 1];
	/* A bind mount takes its flags only when mounted once more. */
	unsigned long flags = MS_REMOUNT | MS_BIND | e->flags;

	(void)snprintf(source, sizeof(source), STAGING "/%s", e->filename);
	if (mount(source, e->path, NULL, MS_BIND, NULL) < 0 ||
		mount(NULL, e->path, NULL, flags, NULL) < 0)
		return -errno;
	return 0;
}

/* The share is mounted aside, where the root need not be writable, for as long as it takes. */
static int mount_file(struct mount_plan_entry *e, struct err *err)
{
	int ret = make_file(e->path);

	if (ret < 0)
		return err_set(err, ret, "create mount point '%s'", e->path);
	if (mkdir(STAGING, 0700) < 0 && errno != EEXIST)
		return err_set(err, errno, "create '%s'", STAGING);
	if (mount(e->source, STAGING, "virtiofs", MS_RELATIME, NULL) < 0)
		return err_set(err, errno, "mount virtiofs '%s' on '%s'", e->source, STAGING);
	ret = bind_file(e);
	(void)umount2(STAGING, MNT_DETACH);
	(void)rmdir(STAGING);
	return ret < 0 ? err_set(err, ret, "mount file on '%s'", e->path) : 0;
}

static int mount_entry(struct mount_plan_entry *e, struct err *err)
{
	int ret;

	if (e->kind == MOUNT_FILE)
		return mount_file(e, err);
	ret = path_make_dirs(e->path);
	if (ret < 0)
		return err_set(err, ret, "create mount point '%s'", e->path);
	if (e->kind == MOUNT_DISK)
		return mount_disk(e, err);
	if (mount(e->source, e->path, e->type, e->flags, e->data) < 0)
		return err_set(err, errno, "mount %s '%s' on '%s'", e->type, e->source, e->path);
	return 0;
}

int mounts_apply(const struct bootstrap *boot, struct err *err)
{
	cleanup_free struct mount_plan_entry *plan = NULL;
	int n = mounts_plan(boot, &plan, err), ret = 0;

	for (int i = 0; i < n && ret == 0; i++)
		ret = mount_entry(&plan[i], err);
	return n < 0 ? n : ret;
}
