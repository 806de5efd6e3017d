/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/poweroff.h"

#include <errno.h>
#include <mntent.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/num.h"

/* Together they keep the whole pass below a second; disks may have much to write back, on hosts
 * whose disks are slow. */
#define REAP_NS	   (300 * NS_PER_MS)
#define DETACH_NS  (500 * NS_PER_MS)
#define DISKS_NS   (30 * NS_PER_S)
#define MOUNTS_MAX 1024

/* Wait until every child, or @pid, is gone. Return: false at the deadline. */
static bool wait_gone(pid_t pid, uint64_t limit_ns)
{
	uint64_t now, end = clock_mono_ns() + limit_ns;
	sigset_t chld;

	(void)sigemptyset(&chld);
	(void)sigaddset(&chld, SIGCHLD);
	for (;;) {
		pid_t got = waitpid(-1, NULL, WNOHANG);
		struct timespec left;

		if ((got < 0 && errno == ECHILD) || (got > 0 && got == pid))
			return true;
		if (got > 0)
			continue;
		now = clock_mono_ns();
		if (now >= end)
			return false;
		left = (struct timespec){ 0, (long)(end - now) };
		(void)sigtimedwait(&chld, NULL, &left);
	}
}

static bool is_pseudo(const char *type)
{
	static const char *const types[] = { "tmpfs", "proc", "sysfs", "devtmpfs", "devpts",
		"cgroup2", "cgroup", "debugfs", "tracefs", "securityfs", "mqueue", "bpf" };

	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		if (strcmp(type, types[i]) == 0)
			return true;
	}
	return false;
}

/* The mount points that hold data, in the order they were made. */
static size_t list_mounts(char **paths, size_t max, bool *ret_disks)
{
	FILE *f = setmntent("/proc/self/mounts", "re");
	struct mntent *m;
	size_t n = 0;

	if (!f)
		return 0;
	while (n < max && (m = getmntent(f))) {
		if (is_pseudo(m->mnt_type) || !(paths[n] = strdup(m->mnt_dir)))
			continue;
		n++;
		*ret_disks |= strncmp(m->mnt_fsname, "/dev/", 5) == 0;
	}
	(void)endmntent(f);
	return n;
}

/* It has no path any more, but its journal is to end clean as well. */
static void detach_upper(int fd)
{
	char path[40];

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (fd >= 0)
		(void)mount(NULL, path, NULL, MS_REMOUNT | MS_RDONLY, NULL);
}

static void detach_file_systems(char **paths, size_t n, int upper_fd)
{
	while (n-- > 0) {
		if (strcmp(paths[n], "/") != 0 && umount2(paths[n], 0) == 0)
			continue;
		(void)mount(NULL, paths[n], NULL, MS_REMOUNT | MS_RDONLY, NULL);
	}
	detach_upper(upper_fd);
	sync();
}

_Noreturn void poweroff_now(int upper_fd)
{
	char *paths[MOUNTS_MAX];
	bool disks = upper_fd >= 0; /* no list of mounts has it */
	size_t n = list_mounts(paths, MOUNTS_MAX, &disks);
	pid_t pid;

	/* Without children there is no process at all: orphans become ours. */
	if (kill(-1, SIGKILL) == 0)
		(void)wait_gone(-1, REAP_NS);
	/* In a process of its own, for a file system whose host is gone may never answer. */
	pid = fork();
	if (pid == 0) {
		detach_file_systems(paths, n, upper_fd);
		_exit(0);
	}
	if (pid > 0)
		(void)wait_gone(pid, disks ? DISKS_NS : DETACH_NS);
	(void)reboot(RB_AUTOBOOT);
	/* Not reached; the end of PID 1 would end the machine as well, by a panic. */
	_exit(1);
}
