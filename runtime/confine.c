/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Three layers, each of which may be missing on an old kernel without the others being lost.
 *
 * Landlock: a path can be opened only below a shared directory, so that a hole in the file server
 * does not reach the rest of the host. Needs version 2, since version 1 cannot allow renames from
 * one directory to another.
 *
 * seccomp: a list of what a VMM never does once it runs. It is a deny list: the calls that a file
 * server needs are many and differ with the C library, and a call missing from an allow list
 * would be a guest's error at some later day.
 */
#include "runtime/confine.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/num.h"

/* ---- detach ---- */

static void default_signals(void)
{
	const struct sigaction dfl = { .sa_handler = SIG_DFL }, ign = { .sa_handler = SIG_IGN };
	sigset_t none;

	for (int sig = 1; sig < NSIG; sig++)
		(void)sigaction(sig, &dfl, NULL);
	(void)sigaction(SIGPIPE, &ign, NULL); /* a closed console is an error code, not an end */
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static int compare_fds(const void *a, const void *b)
{
	int x = *(const int *)a, y = *(const int *)b;

	return (x > y) - (x < y);
}

static int close_span(unsigned first, unsigned last)
{
	if (first > last || syscall(SYS_close_range, first, last, 0U) == 0)
		return 0;
	if (errno != ENOSYS)
		return -errno;
	for (unsigned fd = first; fd <= MIN_OF(last, 65535U); fd++)
		(void)close((int)fd);
	return 0;
}

static int close_all_but(const int *keep, unsigned n_keep)
{
	int sorted[CONFINE_MAX_KEEP];
	unsigned n = 0, next = STDERR_FILENO + 1;
	int rc;

	for (unsigned i = 0; i < n_keep; i++) {
		if (keep[i] > STDERR_FILENO)
			sorted[n++] = keep[i];
	}
	qsort(sorted, n, sizeof(sorted[0]), compare_fds);
	for (unsigned i = 0; i < n; i++) {
		if ((unsigned)sorted[i] > next) {
			rc = close_span(next, (unsigned)sorted[i] - 1);
			if (rc < 0)
				return rc;
		}
		next = MAX_OF(next, (unsigned)sorted[i] + 1);
	}
	return close_span(next, ~0U);
}

static int null_std_streams(const int *keep, unsigned n_keep, struct err *err)
{
	cleanup_fd int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null_fd < 0)
		return err_set(err, errno, "open /dev/null");
	for (int fd = 0; fd <= STDERR_FILENO; fd++) {
		bool kept = false;

		for (unsigned i = 0; i < n_keep; i++)
			kept |= keep[i] == fd;
		if (!kept && dup2(null_fd, fd) < 0)
			return err_set(err, errno, "redirect standard streams");
	}
	return 0;
}

static void limits(void)
{
	const struct rlimit no_core = { 0, 0 }; /* guest memory does not belong on disk */
	struct rlimit files;

	(void)setrlimit(RLIMIT_CORE, &no_core);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max; /* the guest's open files are ours */
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
}

int confine_detach(const int *keep, unsigned n_keep, struct err *err)
{
	int rc;

	if (n_keep > CONFINE_MAX_KEEP)
		return err_msg(err, E2BIG, "worker needs too many descriptors");
	default_signals();
	(void)setsid(); /* fails only if we lead a group already, which a forked child does not */
	rc = null_std_streams(keep, n_keep, err);
	if (rc < 0)
		return rc;
	rc = close_all_but(keep, n_keep);
	if (rc < 0)
		return err_set(err, rc, "close descriptors");
	limits();
	return 0;
}

/* ---- Landlock ---- */

#define READ_ACCESS                                                                                \
	(LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)

/* Everything of version 2; rights that later versions added are left as they are. */
#define ALL_ACCESS                                                                                 \
	(READ_ACCESS | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |             \
		LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_CHAR |                    \
		LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |                        \
		LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO |                      \
		LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM |                      \
		LANDLOCK_ACCESS_FS_REFER)

static int add_rule(int ruleset, int root_fd, bool read_only, struct err *err)
{
	struct landlock_path_beneath_attr rule = {
		.allowed_access = read_only ? READ_ACCESS : ALL_ACCESS,
		.parent_fd = root_fd,
	};

	if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
		return err_set(err, errno, "allow shared directory to Landlock");
	return 0;
}

static int restrict_paths(const int *root_fd, const bool *read_only, unsigned n, struct err *err)
{
	const struct landlock_ruleset_attr attr = { .handled_access_fs = ALL_ACCESS };
	cleanup_fd int ruleset = -1;
	long version;

	version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	if (version < 2) {
		log_debug("no Landlock on this kernel (version %ld)", version);
		return 0;
	}
	ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
	if (ruleset < 0)
		return err_set(err, errno, "create Landlock rules");
	for (unsigned i = 0; i < n; i++) {
		int rc = add_rule(ruleset, root_fd[i], read_only[i], err);

		if (rc < 0)
			return rc;
	}
	if (syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
		return err_set(err, errno, "apply Landlock rules");
	return 0;
}

/* ---- seccomp ---- */

static const int denied[] = {
	/* other programs and processes */
	SYS_execve,
	SYS_execveat,
	SYS_ptrace,
	SYS_process_vm_readv,
	SYS_process_vm_writev,
	SYS_process_madvise,
	SYS_kcmp,
	SYS_pidfd_getfd,
	/* new connections; sockets that exist were opened while preparing */
	SYS_socket,
	SYS_connect,
	SYS_bind,
	SYS_listen,
	/* the shape of the system */
	SYS_mount,
	SYS_umount2,
	SYS_pivot_root,
	SYS_chroot,
	SYS_setns,
	SYS_open_tree,
	SYS_move_mount,
	SYS_fsopen,
	SYS_fsconfig,
	SYS_fsmount,
	SYS_fspick,
	SYS_mount_setattr,
	SYS_swapon,
	SYS_swapoff,
	SYS_reboot,
	SYS_sethostname,
	SYS_setdomainname,
	SYS_quotactl,
	SYS_acct,
	SYS_syslog,
	SYS_settimeofday,
	SYS_clock_settime,
	SYS_adjtimex,
	SYS_clock_adjtime,
	SYS_iopl,
	SYS_ioperm,
	SYS_personality,
	/* kernel code and the parts of the kernel that are attacked most */
	SYS_init_module,
	SYS_finit_module,
	SYS_delete_module,
	SYS_kexec_load,
	SYS_kexec_file_load,
	SYS_bpf,
	SYS_perf_event_open,
	SYS_userfaultfd,
	SYS_io_uring_setup,
	SYS_io_uring_enter,
	SYS_io_uring_register,
	SYS_add_key,
	SYS_request_key,
	SYS_keyctl,
	SYS_modify_ldt,
	SYS_lookup_dcookie,
	SYS_vhangup,
	SYS_nfsservctl,
};

#define X32_BIT 0x40000000u

/* A compare-and-return pair each, since jumps to a common end would not reach (8 bits). */
#define FILTER_LEN (4 + 2 * ARRAY_LEN(denied) + 7)

static void build_filter(struct sock_filter *f)
{
	unsigned n = 0;

	f[n++] = (struct sock_filter)BPF_STMT(
		BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
	f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0);
	f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
	f[n++] = (struct sock_filter)BPF_STMT(
		BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	for (unsigned i = 0; i < ARRAY_LEN(denied); i++) {
		f[n++] = (struct sock_filter)BPF_JUMP(
			BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)denied[i], 0, 1);
		f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
	}
	/* The same calls under their x32 numbers would pass by the list. */
	f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32_BIT, 0, 1);
	f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
	/* Threads of the file server take a umask of their own, and nothing else. */
	f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_unshare, 0, 3);
	f[n++] = (struct sock_filter)BPF_STMT(
		BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0]));
	f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, CLONE_FS, 1, 0);
	f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
	f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	assert(n == FILTER_LEN);
}

static int restrict_calls(struct err *err)
{
	struct sock_filter filter[FILTER_LEN];
	const struct sock_fprog prog = { .len = ARRAY_LEN(filter), .filter = filter };

	build_filter(filter);
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &prog) == 0)
		return 0;
	if (errno == ENOSYS || errno == EINVAL) {
		log_debug("no seccomp filters on this kernel");
		return 0;
	}
	return err_set(err, errno, "install seccomp filter");
}

int confine_seal(const int *root_fd, const bool *read_only, unsigned n, struct err *err)
{
	int rc;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_set(err, errno, "no_new_privs");
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return err_set(err, errno, "forbid tracing");
	rc = restrict_paths(root_fd, read_only, n, err);
	return rc < 0 ? rc : restrict_calls(err);
}
