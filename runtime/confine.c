/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Four layers, each of which may be missing on an old kernel without the others being lost.
 *
 * Capabilities: of root's only those with which a file server keeps the guest's owners and modes.
 *
 * Landlock: a path can be opened only below a shared directory, so that a hole in the file server
 * does not reach the rest of the host. Needs version 2, since version 1 cannot allow renames from
 * one directory to another. From version 4 on it also keeps TCP ports from being bound.
 *
 * seccomp (lib/seccomp.h): a list of what a VMM never does once it runs. It is a deny list: the
 * calls that a file server needs are many and differ with the C library, and a call missing from an
 * allow list would be a guest's error at some later day.
 */
#include "runtime/confine.h"

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/num.h"
#include "lib/seccomp.h"

/* ---- detach ---- */

static void default_signals(void)
{
	const struct sigaction dfl = { .sa_handler = SIG_DFL }, ign = { .sa_handler = SIG_IGN };
	sigset_t none;

	for (int sig = 1; sig < NSIG; sig++)
		(void)sigaction(sig, &dfl, NULL);
	(void)sigaction(SIGPIPE, &ign, NULL); /* a closed console is an error code, not an end */
	(void)sigaction(SIGXFSZ, &ign, NULL); /* and so is a file that grows beyond ulimit -f */
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

/* The rights that a rule for a single file may hold. */
#define FILE_ACCESS                                                                                \
	(LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE)

static int add_rule(int ruleset, int root_fd, bool read_only, struct err *err)
{
	struct landlock_path_beneath_attr rule = {
		.allowed_access = read_only ? READ_ACCESS : ALL_ACCESS,
		.parent_fd = root_fd,
	};
	struct stat st;

	if (fstat(root_fd, &st) < 0)
		return err_set(err, errno, "look at shared directory");
	if (!S_ISDIR(st.st_mode))
		rule.allowed_access &= FILE_ACCESS;
	if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
		return err_set(err, errno, "allow shared directory to Landlock");
	return 0;
}

/* As in Linux 6.7; headers of Debian 12 end before the network. */
struct ruleset_attr {
	uint64_t handled_access_fs, handled_access_net;
};
#define NET_BIND_TCP	1u
#define NET_CONNECT_TCP 2u
#define VERSION_NET	4

/*
 * Of the network, Landlock knows the ports of TCP. The stack of a sandbox with a network may
 * connect to any, as far as its policy lets it; nobody binds one any more.
 */
static int make_ruleset(long version, bool network)
{
	struct ruleset_attr attr = { .handled_access_fs = ALL_ACCESS };

	attr.handled_access_net = network ? NET_BIND_TCP : NET_BIND_TCP | NET_CONNECT_TCP;
	return (int)syscall(SYS_landlock_create_ruleset, &attr,
		version < VERSION_NET ? sizeof(attr.handled_access_fs) : sizeof(attr), 0);
}

static int landlock(
	const int *root_fd, const bool *read_only, unsigned n, bool network, struct err *err)
{
	cleanup_fd int ruleset = -1;
	long version;

	version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	if (version < 2) {
		log_debug("no Landlock on this kernel (version %ld)", version);
		return 0;
	}
	ruleset = make_ruleset(version, network);
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

#define ALL_BITS ~0u

static void allow_socket(struct seccomp *s, int family, int type, int proto)
{
	const struct seccomp_arg args[] = {
		{ 0, ALL_BITS, (uint32_t)family },
		{ 1, ~(uint32_t)(SOCK_CLOEXEC | SOCK_NONBLOCK), (uint32_t)type },
		{ 2, ALL_BITS, (uint32_t)proto },
	};

	seccomp_when(s, SYS_socket, args, ARRAY_LEN(args), SECCOMP_ALLOW);
}

/*
 * The network stack opens one socket per flow of the guest. connect() needs no look at the address:
 * a socket that can be made here is of the Internet's families, and those that exist are connected.
 * Published ports were bound and are listening already.
 */
static void allow_network(struct seccomp *s)
{
	allow_socket(s, AF_INET, SOCK_STREAM, 0);
	allow_socket(s, AF_INET6, SOCK_STREAM, 0);
	allow_socket(s, AF_INET, SOCK_DGRAM, 0);
	allow_socket(s, AF_INET6, SOCK_DGRAM, 0);
	allow_socket(s, AF_INET, SOCK_DGRAM, IPPROTO_ICMP); /* ping; no raw ones */
	allow_socket(s, AF_INET6, SOCK_DGRAM, IPPROTO_ICMPV6);
	seccomp_when(s, SYS_connect, NULL, 0, SECCOMP_ALLOW);
}

static void build_filter(struct seccomp *s, bool network)
{
	/* Other programs; and processes, which no death signal would end with us. */
	static const int denied[] = { SYS_execve, SYS_execveat, SYS_fork, SYS_vfork, SYS_mknod };

	seccomp_begin(s);
	if (network)
		allow_network(s);
	seccomp_common(s);
	seccomp_deny(s, denied, ARRAY_LEN(denied));
	seccomp_with(s, SYS_clone, 0, CLONE_THREAD);
	/* Its flags are out of a filter's sight; C libraries fall back on clone. */
	seccomp_fail(s, SYS_clone3, ENOSYS);
	/* FIFOs, sockets and whiteouts are the only nodes that the file server makes. */
	seccomp_only(s, SYS_mknodat, 3, 0);
	/* Threads of the file server take a umask of their own, and nothing else. */
	seccomp_only(s, SYS_unshare, 0, CLONE_FS);
	seccomp_end(s);
}

static int restrict_calls(bool network, struct err *err)
{
	struct seccomp filter;
	int rc;

	build_filter(&filter, network);
	rc = seccomp_install(&filter, SECCOMP_FILTER_FLAG_TSYNC);
	if (rc == -ENOSYS || rc == -EINVAL) {
		log_debug("no seccomp filters on this kernel");
		return 0;
	}
	return rc < 0 ? err_set(err, rc, "install seccomp filter") : 0;
}

/* KILL is for the signal to a QEMU that runs as another user. A caller that is not root has none to
 * keep. */
static int restrict_capabilities(struct err *err)
{
	static const unsigned wanted[] = { CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH,
		CAP_FOWNER, CAP_FSETID, CAP_SETFCAP, CAP_KILL };
	bool held[ARRAY_LEN(wanted)];

	if (capng_get_caps_process() != 0)
		return err_set(err, errno, "read capabilities");
	for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
		held[i] = capng_have_capability(CAPNG_PERMITTED, wanted[i]);
	capng_clear(CAPNG_SELECT_CAPS);
	for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
		if (held[i])
			(void)capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, wanted[i]);
	}
	if (capng_apply(CAPNG_SELECT_CAPS) != 0)
		return err_set(err, errno, "drop capabilities");
	return 0;
}

/* Keys of the user's are in there, which a guest that gets hold of us must not find. */
static void forget_environment(void)
{
	for (char **e = environ; e && *e; e++)
		explicit_bzero(*e, strlen(*e));
	(void)clearenv();
}

int confine_seal(
	const int *root_fd, const bool *read_only, unsigned n, bool network, struct err *err)
{
	int rc;

	forget_environment();
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_set(err, errno, "no_new_privs");
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return err_set(err, errno, "forbid tracing");
	rc = restrict_capabilities(err);
	if (rc == 0)
		rc = landlock(root_fd, read_only, n, network, err);
	return rc < 0 ? rc : restrict_calls(network, err);
}
