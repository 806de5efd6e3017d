/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs scripts of file system calls and prints what each call said, so that two file systems can be
 * compared line by line: one is the oracle, the other the one under test.
 *
 *	posix_suite [-r] CASES DIR
 *
 * A line of CASES is "name: call args; call args; ...". Each case runs in a fresh directory below
 * DIR (mode 0777), as root, umask 022, and is removed afterwards; with -r in DIR itself. In
 *arguments "@255" stands for a name of 255 bytes and "@p4096" for a path of 4096 bytes made of
 *"./". Numbers are octal where they are modes. Calls are listed in the table at the bottom.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/num.h"

#define MAX_ARGS    6
#define ARG_MAX_LEN 8192

/* One call with its arguments expanded; missing ones are "". */
struct call {
	char *a[MAX_ARGS];
	int n;
};

static struct stat marked;

static void say(int rc)
{
	if (rc < 0)
		printf(" %s", strerrorname_np(errno));
	else
		printf(" ok");
}

static mode_t oct(const char *s)
{
	return (mode_t)strtoul(s, NULL, 8);
}

static long dec(const char *s)
{
	return strtol(s, NULL, 10);
}

static int flags_of(const char *s)
{
	static const struct {
		const char *name;
		int flag;
	} t[] = { { "r", O_RDONLY }, { "w", O_WRONLY }, { "rw", O_RDWR }, { "creat", O_CREAT },
		{ "excl", O_EXCL }, { "trunc", O_TRUNC }, { "append", O_APPEND },
		{ "dir", O_DIRECTORY }, { "nofollow", O_NOFOLLOW }, { "nonblock", O_NONBLOCK },
		{ "path", O_PATH }, { "sync", O_SYNC }, { "noatime", O_NOATIME },
		{ "direct", O_DIRECT }, { "tmpfile", O_TMPFILE } };
	char buf[128], *save = NULL;
	int flags = 0;

	(void)snprintf(buf, sizeof(buf), "%s", s);
	for (char *p = strtok_r(buf, ",", &save); p; p = strtok_r(NULL, ",", &save)) {
		for (unsigned i = 0; i < ARRAY_LEN(t); i++)
			flags |= strcmp(p, t[i].name) ? 0 : t[i].flag;
	}
	return flags;
}

static void do_open(struct call *c)
{
	cleanup_fd int fd = open(c->a[1], flags_of(c->a[2]) | O_CLOEXEC, oct(c->a[3]));

	say(fd);
}

static void do_mkdir(struct call *c)
{
	say(mkdir(c->a[1], oct(c->a[2])));
}

static void do_rmdir(struct call *c)
{
	say(rmdir(c->a[1]));
}

static void do_unlink(struct call *c)
{
	say(unlink(c->a[1]));
}

static void do_rename(struct call *c)
{
	unsigned flags = !strcmp(c->a[3], "noreplace")	? RENAME_NOREPLACE
			 : !strcmp(c->a[3], "exchange") ? RENAME_EXCHANGE
							: 0;
	say(renameat2(AT_FDCWD, c->a[1], AT_FDCWD, c->a[2], flags));
}

static void do_link(struct call *c)
{
	say(link(c->a[1], c->a[2]));
}

static void do_symlink(struct call *c)
{
	say(symlink(c->a[1], c->a[2]));
}

static void do_readlink(struct call *c)
{
	char buf[PATH_MAX + 1];
	ssize_t n = readlink(c->a[1], buf, sizeof(buf) - 1);

	say((int)n);
	if (n >= 0)
		printf(" %zd %.60s", n, (buf[n] = 0, buf));
}

static void do_chmod(struct call *c)
{
	say(chmod(c->a[1], oct(c->a[2])));
}

static void do_chown(struct call *c)
{
	say(chown(c->a[1], (uid_t)dec(c->a[2]), (gid_t)dec(c->a[3])));
}

static void do_lchown(struct call *c)
{
	say(lchown(c->a[1], (uid_t)dec(c->a[2]), (gid_t)dec(c->a[3])));
}

static void do_truncate(struct call *c)
{
	say(truncate(c->a[1], dec(c->a[2])));
}

static void do_ftruncate(struct call *c)
{
	cleanup_fd int fd = open(c->a[1], flags_of(c->a[2]) | O_CLOEXEC);

	say(fd < 0 ? fd : ftruncate(fd, dec(c->a[3])));
}

static void do_mkfifo(struct call *c)
{
	say(mkfifo(c->a[1], oct(c->a[2])));
}

static void do_mknod(struct call *c)
{
	mode_t type = c->a[2][0] == 'c' ? S_IFCHR : c->a[2][0] == 'b' ? S_IFBLK : S_IFREG;

	say(mknod(c->a[1], type | oct(c->a[3]),
		makedev((unsigned)dec(c->a[4]), (unsigned)dec(c->a[5]))));
}

static void do_bind(struct call *c)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	cleanup_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", c->a[1]);
	say(bind(fd, (struct sockaddr *)&sa, sizeof(sa)));
}

static void print_stat(const struct stat *st)
{
	printf(" %o nlink %lu owner %u:%u", st->st_mode, st->st_nlink, st->st_uid, st->st_gid);
	if (!S_ISDIR(st->st_mode))
		printf(" size %ld", (long)st->st_size);
	if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode))
		printf(" dev %u:%u", major(st->st_rdev), minor(st->st_rdev));
}

static void do_lstat(struct call *c)
{
	struct stat st;
	int rc = lstat(c->a[1], &st);

	say(rc);
	if (rc == 0)
		print_stat(&st);
}

static void do_stat(struct call *c)
{
	struct stat st;
	int rc = stat(c->a[1], &st);

	say(rc);
	if (rc == 0)
		print_stat(&st);
}

static void do_mark(struct call *c)
{
	say(lstat(c->a[1], &marked));
	(void)usleep(20000); /* longer than a tick of the coarse clock that stamps files */
}

static bool ts_eq(struct timespec a, struct timespec b)
{
	return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static void do_changed(struct call *c)
{
	struct stat st;

	if (lstat(c->a[1], &st) != 0) {
		say(-1);
		return;
	}
	printf(" ctime %s, mtime %s", ts_eq(st.st_ctim, marked.st_ctim) ? "same" : "new",
		ts_eq(st.st_mtim, marked.st_mtim) ? "same" : "new");
}

static struct timespec time_of(const char *s)
{
	if (!strcmp(s, "now"))
		return (struct timespec){ .tv_nsec = UTIME_NOW };
	if (!strcmp(s, "omit"))
		return (struct timespec){ .tv_nsec = UTIME_OMIT };
	return (struct timespec){ .tv_sec = dec(s), .tv_nsec = 123456789 };
}

static void do_utimens(struct call *c)
{
	struct timespec ts[2] = { time_of(c->a[2]), time_of(c->a[3]) };

	say(utimensat(AT_FDCWD, c->a[1], ts, *c->a[4] ? AT_SYMLINK_NOFOLLOW : 0));
}

static void do_times(struct call *c)
{
	struct stat st;

	if (lstat(c->a[1], &st) != 0)
		say(-1);
	else
		printf(" atime %ld.%09ld mtime %ld.%09ld", (long)st.st_atim.tv_sec,
			st.st_atim.tv_nsec, (long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
}

static void do_access(struct call *c)
{
	int mode = (strchr(c->a[2], 'r') ? R_OK : 0) | (strchr(c->a[2], 'w') ? W_OK : 0) |
		   (strchr(c->a[2], 'x') ? X_OK : 0);

	say(faccessat(AT_FDCWD, c->a[1], mode, AT_EACCESS));
}

static void do_uid(struct call *c)
{
	gid_t groups[2] = { (gid_t)dec(c->a[3]) };

	if (seteuid(0) != 0 || setegid((gid_t)dec(c->a[2])) != 0 ||
		setgroups(*c->a[3] ? 1 : 0, groups) != 0 || seteuid((uid_t)dec(c->a[1])) != 0)
		err(1, "switch user");
}

static void do_umask(struct call *c)
{
	(void)umask(oct(c->a[1]));
}

static void do_write(struct call *c)
{
	cleanup_fd int fd = open(c->a[1], flags_of(c->a[3]) | O_WRONLY | O_CLOEXEC);

	say(fd < 0 ? fd : (int)write(fd, c->a[2], strlen(c->a[2])));
}

static void do_read(struct call *c)
{
	char buf[100];
	cleanup_fd int fd = open(c->a[1], O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? fd : read(fd, buf, sizeof(buf) - 1);

	say((int)n);
	if (n >= 0)
		printf(" '%.*s'", (int)n, buf);
}

static void do_fallocate(struct call *c)
{
	cleanup_fd int fd = open(c->a[1], O_RDWR | O_CLOEXEC);

	say(fd < 0 ? fd : fallocate(fd, (int)dec(c->a[2]), dec(c->a[3]), dec(c->a[4])));
}

static void do_setxattr(struct call *c)
{
	say(lsetxattr(c->a[1], c->a[2], c->a[3], strlen(c->a[3]), (int)dec(c->a[4])));
}

static void do_getxattr(struct call *c)
{
	char buf[256] = { 0 };
	ssize_t n = lgetxattr(c->a[1], c->a[2], buf, sizeof(buf) - 1);

	say((int)n);
	if (n >= 0)
		printf(" '%s'", buf);
}

static void do_removexattr(struct call *c)
{
	say(lremovexattr(c->a[1], c->a[2]));
}

/* A running program may not be written to. */
static void do_busy(struct call *c)
{
	int ready[2];
	char byte;

	if (pipe2(ready, O_CLOEXEC) != 0)
		err(1, "pipe");
	pid_t pid = fork();
	if (pid == 0) {
		(void)execl(c->a[1], "sleep", "30", (char *)NULL);
		_exit(127);
	}
	(void)close(ready[1]);
	(void)!read(ready[0], &byte, 1); /* ends when exec closes the other end */
	cleanup_fd int fd = open(c->a[1], O_WRONLY | O_CLOEXEC);
	say(fd);
	say(truncate(c->a[1], 0));
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, 0);
	(void)close(ready[0]);
}

static void do_copy(struct call *c)
{
	cleanup_fd int in = open(c->a[1], O_RDONLY | O_CLOEXEC);
	cleanup_fd int out = open(c->a[2], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
	ssize_t n;

	if (in < 0 || out < 0) {
		say(-1);
		return;
	}
	while ((n = copy_file_range(in, NULL, out, NULL, 1 << 20, 0)) > 0)
		;
	if (n < 0 && errno == EXDEV) { /* from another file system: by hand */
		char buf[65536];
		while ((n = read(in, buf, sizeof(buf))) > 0 && write(out, buf, (size_t)n) == n)
			;
	}
	say((int)n);
}

static void do_seek(struct call *c)
{
	cleanup_fd int fd = open(c->a[1], O_RDONLY | O_CLOEXEC);
	off_t off = lseek(fd, dec(c->a[3]), *c->a[2] == 'h' ? SEEK_HOLE : SEEK_DATA);

	say((int)off);
	printf(" %ld", (long)off);
}

static void do_lock(struct call *c)
{
	cleanup_fd int a = open(c->a[1], O_RDWR | O_CLOEXEC), b = open(c->a[1], O_RDWR | O_CLOEXEC);
	struct flock fl = { .l_type = F_WRLCK };

	say(flock(a, LOCK_EX));
	say(flock(b, LOCK_EX | LOCK_NB));
	say(fcntl(a, F_SETLK, &fl));
	fl.l_pid = 0;
	say(fcntl(b, F_OFD_SETLK, &fl));
}

/* An open file outlives its name. */
static void do_orphan(struct call *c)
{
	struct stat st;
	char buf[8];
	cleanup_fd int fd = open(c->a[1], O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	say(unlink(c->a[1]));
	say((int)write(fd, "orphan", 6));
	say((int)pread(fd, buf, 6, 0));
	say(fchmod(fd, 0640));
	say(ftruncate(fd, 3));
	say(fstat(fd, &st));
	printf(" nlink %lu size %ld mode %o", st.st_nlink, (long)st.st_size, st.st_mode);
}

static void do_tmpfile(struct call *c)
{
	char proc[64];
	cleanup_fd int fd = open(".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0640);

	say(fd);
	say((int)write(fd, "tmp", 3));
	(void)snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	say(linkat(AT_FDCWD, proc, AT_FDCWD, c->a[1], AT_SYMLINK_FOLLOW));
}

static const struct {
	const char *name;
	void (*fn)(struct call *c);
} calls[] = {
	{ "open", do_open },
	{ "mkdir", do_mkdir },
	{ "rmdir", do_rmdir },
	{ "unlink", do_unlink },
	{ "rename", do_rename },
	{ "link", do_link },
	{ "symlink", do_symlink },
	{ "readlink", do_readlink },
	{ "chmod", do_chmod },
	{ "chown", do_chown },
	{ "lchown", do_lchown },
	{ "truncate", do_truncate },
	{ "ftruncate", do_ftruncate },
	{ "mkfifo", do_mkfifo },
	{ "mknod", do_mknod },
	{ "bind", do_bind },
	{ "stat", do_stat },
	{ "lstat", do_lstat },
	{ "mark", do_mark },
	{ "changed", do_changed },
	{ "utimens", do_utimens },
	{ "times", do_times },
	{ "access", do_access },
	{ "uid", do_uid },
	{ "umask", do_umask },
	{ "write", do_write },
	{ "read", do_read },
	{ "fallocate", do_fallocate },
	{ "setxattr", do_setxattr },
	{ "getxattr", do_getxattr },
	{ "removexattr", do_removexattr },
	{ "busy", do_busy },
	{ "copy", do_copy },
	{ "seek", do_seek },
	{ "lock", do_lock },
	{ "orphan", do_orphan },
	{ "tmpfile", do_tmpfile },
};

/* "@255" and "@p4096", also within a longer argument ("d/@255"). */
static char *expand(const char *word)
{
	char *out = calloc(1, ARG_MAX_LEN);
	const char *at = strchr(word, '@');

	if (!out)
		err(1, "memory");
	if (!at) {
		(void)snprintf(out, ARG_MAX_LEN, "%s", word);
		return out;
	}
	bool path = at[1] == 'p';
	size_t n = strtoul(at + 1 + path, NULL, 10), head = (size_t)(at - word);
	memcpy(out, word, head);
	for (size_t i = 0; i < n; i++)
		out[head + i] = path ? "./"[i & 1] : 'n';
	if (path)
		out[head + n - 1] = 'x';
	return out;
}

static void run_call(char *text)
{
	struct call c = { 0 };
	char *save = NULL;

	for (char *w = strtok_r(text, " ", &save); w && c.n < MAX_ARGS;
		w = strtok_r(NULL, " ", &save)) {
		printf("%s%s", c.n ? " " : "  ", w);
		c.a[c.n++] = expand(w);
	}
	for (int i = c.n; i < MAX_ARGS; i++)
		c.a[i] = expand("");
	printf(" ->");
	unsigned i = 0;
	while (i < ARRAY_LEN(calls) && strcmp(calls[i].name, c.a[0]))
		i++;
	if (i == ARRAY_LEN(calls))
		errx(2, "no such call: %s", c.a[0]);
	calls[i].fn(&c);
	printf("\n");
	for (i = 0; i < MAX_ARGS; i++)
		free(c.a[i]);
}

static void remove_tree(const char *path)
{
	pid_t pid = fork();

	if (pid == 0) {
		(void)execlp("rm", "rm", "-rf", "--", path, (char *)NULL);
		_exit(127);
	}
	(void)waitpid(pid, NULL, 0);
}

static void case_enter(const char *dir, bool in_place)
{
	(void)umask(0);
	if (chdir(dir) != 0)
		err(1, "enter '%s'", dir);
	if (!in_place && (mkdir("case", 0777) != 0 || chdir("case") != 0))
		err(1, "prepare a directory in '%s'", dir);
	(void)umask(022);
}

static void run_case(char *line, const char *dir, bool in_place)
{
	char *colon = strchr(line, ':'), *save = NULL;

	if (!colon)
		errx(2, "no name: %s", line);
	*colon = 0;
	printf("%s\n", line);
	case_enter(dir, in_place);
	for (char *t = strtok_r(colon + 1, ";\n", &save); t; t = strtok_r(NULL, ";\n", &save))
		run_call(t);
	if (seteuid(0) != 0 || setegid(0) != 0 || setgroups(0, NULL) != 0 || chdir(dir) != 0)
		err(1, "go back");
	if (!in_place)
		remove_tree("case");
}

int main(int argc, char **argv)
{
	cleanup_file FILE *f = NULL;
	cleanup_free char *line = NULL;
	size_t size = 0;

	bool in_place = argc > 1 && !strcmp(argv[1], "-r");
	argv += in_place;
	if (argc - in_place != 3)
		errx(2, "usage: posix_suite [-r] CASES DIR");
	f = fopen(argv[1], "re");
	if (!f)
		err(1, "open '%s'", argv[1]);
	while (getline(&line, &size, f) > 0) {
		if (line[0] != '#' && line[0] != '\n')
			run_case(line, argv[2], in_place);
	}
	return 0;
}
