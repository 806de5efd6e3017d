/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/mounts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "lib/cleanup.h"
#include "lib/num.h"

static unsigned long mount_flags_of(const struct mount_flags *f)
{
	return MS_RELATIME | (f->readonly ? MS_RDONLY : 0) | (f->noexec ? MS_NOEXEC : 0) |
	       (f->nosuid ? MS_NOSUID : 0) | (f->nodev ? MS_NODEV : 0);
}

static int bad_path(struct text path, const char *why, struct err *err)
{
	return err_msg(err, EINVAL, "mount on '%.200s': %s", path.s, why);
}

/* "/a//b/./c/" to "/a/b/c" */
static int normalize(struct text path, char *dst, size_t max, struct err *err)
{
	size_t len = 0, n;

	if (path.len == 0 || path.s[0] != '/' || text_has_nul(path))
		return bad_path(path, "not an absolute path", err);
	if (path.len >= max)
		return bad_path(path, "path too long", err);
	for (const char *p = path.s; *p; p += n) {
		p += strspn(p, "/");
		n = strcspn(p, "/");
		if (n == 0 || (n == 1 && p[0] == '.'))
			continue;
		if (n == 2 && p[0] == '.' && p[1] == '.')
			return bad_path(path, "'..' in the path", err);
		dst[len++] = '/';
		memcpy(dst + len, p, n);
		len += n;
	}
	dst[len] = '\0';
	return len > 0 ? 0 : bad_path(path, "the root cannot be mounted over", err);
}

static int plan_dir(const struct dir_mount *m, struct mount_plan_entry *e, struct err *err)
{
	if (m->tag.len == 0 || text_has_nul(m->tag))
		return bad_path(m->guest_path, "malformed tag", err);
	e->source = m->tag.s;
	e->type = "virtiofs";
	e->flags = mount_flags_of(&m->flags);
	return normalize(m->guest_path, e->path, sizeof(e->path), err);
}

static int plan_tmpfs(const struct tmpfs_mount *m, struct mount_plan_entry *e, struct err *err)
{
	int ret = normalize(m->path, e->path, sizeof(e->path), err);
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

int mounts_plan(const struct bootstrap *boot, struct mount_plan_entry **ret, struct err *err)
{
	size_t n = boot->dir_mounts.n + boot->tmpfs_mounts.n;
	const struct dir_mount *dirs = boot->dir_mounts.v;
	const struct tmpfs_mount *tmps = boot->tmpfs_mounts.v;
	cleanup_free struct mount_plan_entry *plan = NULL;
	int res = 0;

	if (n > MOUNTS_MAX)
		return err_msg(err, E2BIG, "more than %d mounts", MOUNTS_MAX);
	if (n > 0) {
		plan = calloc(n, sizeof(*plan));
		if (!plan)
			return err_set(err, ENOMEM, "plan mounts");
	}
	for (size_t i = 0; i < boot->dir_mounts.n && res == 0; i++)
		res = plan_dir(&dirs[i], &plan[i], err);
	for (size_t i = 0; i < boot->tmpfs_mounts.n && res == 0; i++)
		res = plan_tmpfs(&tmps[i], &plan[boot->dir_mounts.n + i], err);
	if (res < 0)
		return res;
	if (n > 0)
		qsort(plan, n, sizeof(*plan), compare);
	for (size_t i = 1; i < n; i++) {
		if (strcmp(plan[i - 1].path, plan[i].path) == 0)
			return err_msg(err, EINVAL, "two mounts on '%s'", plan[i].path);
	}
	*ret = take_ptr(&plan);
	return n;
}

static int make_dirs(char *path)
{
	for (char *p = path + 1;; p++) {
		char c = *p;

		if (c && c != '/')
			continue;
		*p = '\0';
		if (mkdir(path, 0755) < 0 && errno != EEXIST)
			return -errno;
		*p = c;
		if (!c)
			return 0;
	}
}

static int mount_entry(struct mount_plan_entry *e, struct err *err)
{
	int ret = make_dirs(e->path);

	if (ret < 0)
		return err_set(err, ret, "create mount point '%s'", e->path);
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
