/* SPDX-License-Identifier: Apache-2.0 */
#include "store/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "lib/clock.h"
#include "lib/num.h"
#include "store/internal.h"

/* flock(2) has no deadline: ask again, at first often, then 20 times a second. */
#define POLL_FIRST_NS (2 * NS_PER_MS)
#define POLL_LAST_NS  (50 * NS_PER_MS)

/*
 * A line of /proc/locks: "1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF". A POSIX lock counts if
 * it is for writing: databases also have some that are in nobody's way.
 */
static bool parse_holder(const char *line, const struct stat *st, int *ret_pid)
{
	unsigned long inode;
	char type[16], mode[16];
	int pid;

	/* The device is not compared: overlayfs and btrfs report another one here than in stat. */
	/* NOLINTNEXTLINE(cert-err34-c): the kernel's own numbers */
	if (sscanf(line, "%*u: %15s %*s %15s %d %*x:%*x:%lu", type, mode, &pid, &inode) != 4)
		return false;
	if (strcmp(type, "POSIX") == 0 && strcmp(mode, "WRITE") != 0)
		return false;
	if (pid <= 0 || inode != st->st_ino)
		return false;
	*ret_pid = pid;
	return true;
}

static void describe(int pid, char *ret, size_t size)
{
	char path[64], comm[32] = "";
	cleanup_file FILE *f = NULL;

	(void)snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	f = fopen(path, "re");
	if (f && fgets(comm, sizeof(comm), f))
		comm[strcspn(comm, "\n")] = '\0';
	(void)snprintf(ret, size, "%s (pid %d)", comm[0] ? comm : "a process", pid);
}

void lock_holder_stat(const struct stat *st, char *ret, size_t size)
{
	cleanup_file FILE *f = fopen("/proc/locks", "re");
	char line[256];
	int pid;

	(void)snprintf(ret, size, "another process");
	while (f && fgets(line, sizeof(line), f)) {
		if (parse_holder(line, st, &pid)) {
			describe(pid, ret, size);
			return;
		}
	}
}

void lock_holder(int fd, char *ret, size_t size)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		(void)snprintf(ret, size, "another process");
	else
		lock_holder_stat(&st, ret, size);
}

static int busy(int fd, uint64_t timeout_ms, const char *what, struct err *err)
{
	char holder[96];

	lock_holder(fd, holder, sizeof(holder));
	if (!timeout_ms)
		return err_msg(err, EBUSY, "%s is in use by %s", what, holder);
	return err_msg(err, EBUSY, "%s is still in use by %s after %llu s; try again later", what,
		holder, (unsigned long long)(timeout_ms / 1000));
}

int lock_fd(int fd, enum lock_kind kind, uint64_t timeout_ms, const char *what, struct err *err)
{
	uint64_t end = clock_mono_ns() + timeout_ms * NS_PER_MS, wait = POLL_FIRST_NS;
	int op = (kind == LOCK_SHARED ? LOCK_SH : LOCK_EX) | LOCK_NB;

	while (flock(fd, op) < 0) {
		struct timespec ts = { .tv_nsec = (long)wait };

		if (errno == EINTR)
			continue;
		if (errno != EWOULDBLOCK)
			return err_set(err, errno, "lock %s", what);
		if (clock_mono_ns() >= end)
			return busy(fd, timeout_ms, what, err);
		(void)nanosleep(&ts, NULL);
		wait = MIN_OF(wait * 2, POLL_LAST_NS);
	}
	return 0;
}

/* Whoever held the lock before us may have deleted the file; then the lock protects nothing. */
static bool still_named(int dirfd, const char *name, int fd)
{
	struct stat here, there;

	return fstat(fd, &here) == 0 && fstatat(dirfd, name, &there, AT_SYMLINK_NOFOLLOW) == 0 &&
	       here.st_ino == there.st_ino && here.st_dev == there.st_dev;
}

int lock_take(int dirfd, const char *name, enum lock_kind kind, uint64_t timeout_ms,
	const char *what, struct lock *ret, struct err *err)
{
	uint64_t end = clock_mono_ns() + timeout_ms * NS_PER_MS;

	for (;;) {
		uint64_t now = clock_mono_ns();
		cleanup_fd int fd = openat(
			dirfd, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0644);
		int rc;

		if (fd < 0)
			return err_set(err, errno, "open the lock file '%s' of %s", name, what);
		rc = lock_fd(fd, kind, now < end ? (end - now) / NS_PER_MS : 0, what, err);
		if (rc < 0)
			return rc;
		if (still_named(dirfd, name, fd)) {
			ret->fd = take_fd(&fd);
			return 0;
		}
	}
}

void lock_release(struct lock *lock)
{
	close_fd(&lock->fd);
}

void lock_remove(int dirfd, const char *name, struct lock *lock)
{
	(void)unlinkat(dirfd, name, 0);
	lock_release(lock);
}
