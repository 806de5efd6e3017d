/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Landlock does one more thing that matters: a process in a domain may not trace one outside of
 * it, nor open its /proc/PID/mem. Without, QEMUs of different machines, all of them "nobody", could
 * look into each other.
 */
#include "vmm/qemu/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/landlock.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/num.h"

#define READ (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define WRITE                                                                                      \
	(LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |                           \
		LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_CHAR |                    \
		LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |                        \
		LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO |                      \
		LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM)

/* Where programs find their libraries and data. What does not exist is skipped. */
static const char *const readable[] = { "/usr", "/lib", "/lib64", "/etc", "/proc", "/sys",
	"/dev/null", "/dev/urandom", "/nix/store", "/gnu/store" };

static int allow_read(int ruleset, const char *path, struct err *err)
{
	cleanup_fd int fd = open(path, O_PATH | O_CLOEXEC);
	struct landlock_path_beneath_attr rule = { .allowed_access = READ, .parent_fd = fd };
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return 0;
	if (!S_ISDIR(st.st_mode))
		rule.allowed_access = LANDLOCK_ACCESS_FS_READ_FILE;
	if (S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3)) /* /dev/null */
		rule.allowed_access |= LANDLOCK_ACCESS_FS_WRITE_FILE;
	if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
		return err_set(err, errno, "allow '%s' to Landlock", path);
	return 0;
}

/* The folder above the program's own: /opt/qemu for /opt/qemu/bin/qemu-system-x86_64. */
static int allow_prefix(int ruleset, int program_fd, struct err *err)
{
	char path[PATH_MAX], link[64];
	ssize_t n;

	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", program_fd);
	n = readlink(link, path, sizeof(path) - 1);
	if (n < 0)
		return err_set(err, errno, "find QEMU's folder");
	path[n] = '\0';
	for (int i = 0; i < 2 && strchr(path + 1, '/'); i++)
		*strrchr(path, '/') = '\0';
	return allow_read(ruleset, path[0] ? path : "/usr", err);
}

static int make_ruleset(int program_fd, int *ret, struct err *err)
{
	const struct landlock_ruleset_attr attr = { .handled_access_fs = READ | WRITE };
	cleanup_fd int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
	int rc = 0;

	*ret = -1;
	if (ruleset < 0) {
		log_debug("no Landlock on this kernel");
		return 0;
	}
	for (unsigned i = 0; rc == 0 && i < ARRAY_LEN(readable); i++)
		rc = allow_read(ruleset, readable[i], err);
	if (rc == 0)
		rc = allow_prefix(ruleset, program_fd, err);
	if (rc == 0)
		*ret = take_fd(&ruleset);
	return rc;
}

/* See sandbox.h. The C library's own attempts (nscd, syslog) are of other types. */
static void fake_unix_connect(struct seccomp *filter)
{
	static const struct seccomp_arg unix_stream[] = {
		{ 0, ~0u, AF_UNIX },
		{ 1, ~0u, SOCK_STREAM | SOCK_CLOEXEC },
	};
	static const struct seccomp_arg on_stdin = { 0, ~0u, STDIN_FILENO };

	seccomp_when(filter, SYS_socket, unix_stream, ARRAY_LEN(unix_stream), SECCOMP_PRETEND);
	seccomp_when(filter, SYS_connect, &on_stdin, 1, SECCOMP_PRETEND);
}

int qemu_sandbox_init(struct qemu_sandbox *s, int program_fd, bool fake_connect, struct err *err)
{
	seccomp_begin(&s->filter);
	if (fake_connect)
		fake_unix_connect(&s->filter);
	seccomp_common(&s->filter);
	seccomp_end(&s->filter);
	return make_ruleset(program_fd, &s->ruleset, err);
}

void qemu_sandbox_release(struct qemu_sandbox *s)
{
	close_fd(&s->ruleset);
}

int qemu_sandbox_enter(struct qemu_sandbox *s)
{
	int rc;

	if (s->ruleset >= 0 && syscall(SYS_landlock_restrict_self, s->ruleset, 0) < 0)
		return -1;
	seccomp_set_pid(&s->filter, getpid());
	rc = seccomp_install(&s->filter, 0);
	if (rc == 0 || rc == -ENOSYS || rc == -EINVAL)
		return 0;
	errno = -rc;
	return -1;
}
