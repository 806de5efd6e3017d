/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Test tool: mounts the file server on this machine through /dev/fuse, so that Linux, as the
 * client, and ordinary test suites can judge it without a virtual machine. Needs root.
 *
 *	fuse_mount [--ro] [--xattr] [--threads N] [--fds N] [--extra NAME=FILE] DIR MOUNTPOINT
 *
 * Prints "mounted" once the mount is up, serves until it is unmounted (or gets SIGTERM, which
 * unmounts it), and exits 0. Replies are scattered over odd-sized buffers as a guest's would be.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/fs.h"
#include "lib/num.h"

#define MAX_THREADS 16
#define REQ_SIZE    ((1u << 20) + 4096)
#define OUT_SEGS    300
#define SEG_SIZE    4096

struct mount_args {
	struct fs_config cfg;
	struct fs_extra extra;
	unsigned threads;
	const char *dir, *mountpoint;
};

struct server_thread {
	pthread_t thread;
	struct fs_server *fs;
	int fuse_fd;
};

/* An odd first piece, so that nothing is aligned by luck, then pages. */
static unsigned scatter(char *buf, size_t len, struct iovec *iov)
{
	size_t off = 0;
	unsigned n = 0;

	while (off < len && n < OUT_SEGS) {
		size_t piece = MIN_OF(n == 0 ? 7 : SEG_SIZE, len - off);
		iov[n++] = (struct iovec){ buf + off, piece };
		off += piece;
	}
	return n;
}

static void *serve(void *arg)
{
	struct server_thread *t = arg;
	struct iovec in_iov[OUT_SEGS], out_iov[OUT_SEGS];
	char *in = malloc(REQ_SIZE), *out = malloc(REQ_SIZE);
	struct err error = ERR_INIT;

	if (!in || !out || fs_thread_init(t->fs, &error) < 0)
		errx(1, "thread: %s", error.msg);
	for (;;) {
		ssize_t n = read(t->fuse_fd, in, REQ_SIZE);
		if (n < 0 && (errno == EINTR || errno == ENOENT || errno == EAGAIN))
			continue;
		if (n < 0)
			break; /* ENODEV: unmounted */
		unsigned n_in = scatter(in, (size_t)n, in_iov);
		unsigned n_out = scatter(out, REQ_SIZE, out_iov);
		ssize_t len = fs_server_handle(t->fs, in_iov, n_in, out_iov, n_out);
		if (len < 0)
			errx(1, "a request without a possible answer");
		/* ENOENT: the request was interrupted meanwhile */
		if (len > 0 && write(t->fuse_fd, out, (size_t)len) < 0 && errno != ENOENT)
			warn("reply");
	}
	free(in);
	free(out);
	return NULL;
}

static int clone_fuse(int fuse_fd)
{
	uint32_t master = (uint32_t)fuse_fd;
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	if (fd < 0 || ioctl(fd, FUSE_DEV_IOC_CLONE, &master) != 0)
		err(1, "clone /dev/fuse");
	return fd;
}

static int do_mount(const struct mount_args *a)
{
	char opts[160];
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		err(77, "open /dev/fuse"); /* 77: skipped, in the words of the test runner */
	(void)snprintf(opts, sizeof(opts),
		"fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions", fd);
	if (mount("msb-test", a->mountpoint, "fuse.msb-test", 0, opts) != 0)
		err(77, "mount on '%s'", a->mountpoint);
	return fd;
}

static void load_extra(struct mount_args *a, char *spec)
{
	char *eq = strchr(spec, '=');
	struct stat st;

	if (!eq)
		errx(2, "--extra NAME=FILE");
	*eq = 0;
	int fd = open(eq + 1, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) != 0)
		err(1, "open '%s'", eq + 1);
	char *data = malloc((size_t)st.st_size + 1);
	if (!data || read(fd, data, (size_t)st.st_size) != st.st_size)
		err(1, "read '%s'", eq + 1);
	(void)close(fd);
	a->extra = (struct fs_extra){ spec, data, (size_t)st.st_size, 0755 };
	a->cfg.extra = &a->extra;
	a->cfg.n_extra = 1;
}

static void parse(struct mount_args *a, int argc, char **argv)
{
	static const struct option options[] = { { "ro", 0, NULL, 'r' }, { "xattr", 0, NULL, 'x' },
		{ "threads", 1, NULL, 't' }, { "fds", 1, NULL, 'f' }, { "extra", 1, NULL, 'e' },
		{ 0 } };
	uint64_t n;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'r')
			a->cfg.read_only = true;
		else if (c == 'x')
			a->cfg.owner = FS_OWNER_XATTR;
		else if (c == 'e')
			load_extra(a, optarg);
		else if (c == 't' &&
			 num_parse_u64(optarg, "threads", 1, MAX_THREADS, &n, NULL) == 0)
			a->threads = (unsigned)n;
		else if (c == 'f' && num_parse_u64(optarg, "descriptors", 1, 65536, &n, NULL) == 0)
			a->cfg.max_fds = (unsigned)n;
		else
			errx(2, "usage: fuse_mount [options] DIR MOUNTPOINT");
	}
	if (argc - optind != 2)
		errx(2, "usage: fuse_mount [options] DIR MOUNTPOINT");
	a->dir = argv[optind];
	a->mountpoint = argv[optind + 1];
}

struct signal_wait {
	sigset_t set;
	const char *mountpoint;
};

/* Ends with the process. */
static void *unmount_on_signal(void *arg)
{
	struct signal_wait *w = arg;
	int sig;

	if (sigwait(&w->set, &sig) == 0)
		(void)umount2(w->mountpoint, MNT_DETACH);
	return NULL;
}

static void watch_signals(struct signal_wait *w)
{
	pthread_t thread;

	(void)sigemptyset(&w->set);
	(void)sigaddset(&w->set, SIGTERM);
	(void)sigaddset(&w->set, SIGINT);
	(void)pthread_sigmask(SIG_BLOCK, &w->set, NULL);
	if (pthread_create(&thread, NULL, unmount_on_signal, w) != 0)
		errx(1, "thread");
	(void)pthread_detach(thread);
}

int main(int argc, char **argv)
{
	struct mount_args a = { .threads = 4 };
	struct server_thread t[MAX_THREADS];
	struct err error = ERR_INIT;

	parse(&a, argc, argv);
	a.cfg.root_fd = open(a.dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (a.cfg.root_fd < 0)
		err(1, "open '%s'", a.dir);
	if (fs_server_new(&a.cfg, &t[0].fs, &error) < 0)
		errx(1, "%s", error.msg);
	struct signal_wait w = { .mountpoint = a.mountpoint };
	watch_signals(&w);
	t[0].fuse_fd = do_mount(&a);
	for (unsigned i = 0; i < a.threads; i++) {
		t[i].fs = t[0].fs;
		t[i].fuse_fd = i ? clone_fuse(t[0].fuse_fd) : t[0].fuse_fd;
		if (pthread_create(&t[i].thread, NULL, serve, &t[i]) != 0)
			errx(1, "thread");
	}
	puts("mounted");
	(void)fflush(stdout);
	for (unsigned i = 0; i < a.threads; i++) {
		(void)pthread_join(t[i].thread, NULL);
		(void)close(t[i].fuse_fd);
	}
	fs_server_free(t[0].fs);
	free((void *)(uintptr_t)a.extra.data);
	return 0;
}
