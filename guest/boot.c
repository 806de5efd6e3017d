/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/boot.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guest/mounts.h"
#include "guest/names.h"
#include "guest/netcfg.h"
#include "guest/rlimits.h"
#include "lib/cleanup.h"
#include "lib/num.h"

#define SAFE_FLAGS (MS_NODEV | MS_NOEXEC | MS_NOSUID | MS_RELATIME)

/* struct essential - @optional: kernels without it exist */
struct essential {
	const char *target, *type, *data;
	unsigned long flags;
	bool optional;
};

static const struct essential first_mounts[] = {
	{ "/dev", "devtmpfs", NULL, MS_RELATIME, false },
	{ "/sys", "sysfs", NULL, SAFE_FLAGS, false },
};

static const struct essential rest_mounts[] = {
	{ "/proc", "proc", NULL, SAFE_FLAGS, false },
	{ "/sys/fs/cgroup", "cgroup2", NULL, SAFE_FLAGS, true },
	{ "/dev/pts", "devpts", "gid=5,mode=620,ptmxmode=666", MS_NOEXEC | MS_NOSUID | MS_RELATIME,
		false },
	{ "/dev/shm", "tmpfs", "mode=1777", MS_NOEXEC | MS_NOSUID | MS_RELATIME, false },
};

/*
 * Where the root is to be made of disks, the share we were started from is read-only and holds
 * nothing but us: no place to mount anything on. A tmpfs goes on top of it. Its path is the same,
 * so the way into it is that of "..", which crosses mounts.
 */
static int make_base(struct err *err)
{
	if (mkdir("/dev", 0755) == 0 || errno != EROFS)
		return 0;
	if (mount("tmpfs", "/", "tmpfs", MS_NOSUID | MS_NOEXEC, "size=1m,mode=755") < 0)
		return err_set(err, errno, "mount tmpfs on /");
	if (chroot("/..") < 0 || chdir("/") < 0)
		return err_set(err, errno, "change to the tmpfs on /");
	return 0;
}

static int mount_essential(const struct essential *m, struct err *err)
{
	(void)mkdir(m->target, 0755);
	if (mount(m->type, m->target, m->type, m->flags, m->data) == 0 || errno == EBUSY ||
		m->optional)
		return 0;
	return err_set(err, errno, "mount %s on %s", m->type, m->target);
}

static int mount_essentials(const struct essential *m, size_t n, struct err *err)
{
	int ret = 0;

	for (size_t i = 0; i < n && ret == 0; i++)
		ret = mount_essential(&m[i], err);
	return ret;
}

/* The kernel opens /dev/console for us only if the root file system has one of its own. */
static void open_console(void)
{
	int fd;

	do
		fd = open("/dev/console", O_RDWR | O_NOCTTY);
	while (fd >= 0 && fd < 2);
	if (fd > 2)
		(void)close(fd);
}

int boot_mount_first(struct err *err)
{
	int ret = make_base(err);

	if (ret == 0)
		ret = mount_essentials(first_mounts, ARRAY_LEN(first_mounts), err);
	if (ret == 0)
		open_console();
	return ret;
}

int boot_mount_rest(struct err *err)
{
	int ret = mount_essentials(rest_mounts, ARRAY_LEN(rest_mounts), err);

	if (ret < 0)
		return ret;
	(void)symlink("/proc/self/fd", "/dev/fd");
	(void)symlink("/proc/self/fd/0", "/dev/stdin");
	(void)symlink("/proc/self/fd/1", "/dev/stdout");
	(void)symlink("/proc/self/fd/2", "/dev/stderr");
	return 0;
}

static int set_hostname(struct text name, struct err *err)
{
	if (name.s && sethostname(name.s, name.len) < 0)
		return err_set(err, errno, "set hostname '%s'", name.s);
	return 0;
}

/* Up is all it takes: the kernel then gives it 127.0.0.1/8 and ::1/128. A kernel without IP is
 * none of our business. */
static int loopback_up(struct err *err)
{
	cleanup_fd int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq req = { .ifr_name = "lo" };

	if (fd < 0)
		return errno == EAFNOSUPPORT ? 0 : err_set(err, errno, "open a socket");
	if (ioctl(fd, SIOCGIFFLAGS, &req) < 0)
		return errno == ENODEV ? 0 : err_set(err, errno, "read flags of lo");
	req.ifr_flags |= IFF_UP;
	if (ioctl(fd, SIOCSIFFLAGS, &req) < 0)
		return err_set(err, errno, "bring lo up");
	return 0;
}

/* Best effort: the root may be read-only. A link in its place is left alone. */
static void make_tmp(const char *path)
{
	struct stat st;

	if (mkdir(path, 01777) < 0 && errno != EEXIST)
		return;
	if (lstat(path, &st) == 0 && S_ISDIR(st.st_mode) && (st.st_mode & 07777) != 01777)
		(void)chmod(path, 01777);
}

int boot_apply(const struct bootstrap *boot, struct err *err)
{
	int ret = rlimits_check(&boot->rlimits, err);

	if (ret == 0) {
		ret = rlimits_apply(&boot->rlimits);
		if (ret < 0)
			return err_set(err, ret, "set resource limits");
		ret = mounts_apply(boot, err);
	}
	if (ret == 0)
		ret = set_hostname(boot->hostname, err);
	if (ret == 0)
		ret = loopback_up(err);
	if (ret == 0)
		ret = netcfg_apply(&boot->network, err);
	if (ret == 0)
		ret = names_apply(boot, err);
	if (ret < 0)
		return ret;
	make_tmp("/tmp");
	make_tmp("/var/tmp");
	return 0;
}
