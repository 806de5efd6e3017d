/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/host_stream.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/iov.h"
#include "lib/num.h"

/* What POLLOUT promises for a pipe (PIPE_BUF on every kernel) and in practice for a terminal. */
#define POLL_WRITE_MAX	512
#define POLL_WRITE_SEGS 16

/* The other end of a pty cannot be reopened: opening its path makes a new pair. */
static bool is_pty_master(int fd)
{
	unsigned number;

	return ioctl(fd, TIOCGPTN, &number) == 0;
}

static bool can_reopen(int fd, mode_t mode)
{
	return S_ISFIFO(mode) || (S_ISCHR(mode) && isatty(fd) && !is_pty_master(fd));
}

static int reopen(int fd, bool for_write)
{
	char path[32];

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, (for_write ? O_WRONLY : O_RDONLY) | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

int host_stream_open(struct host_stream *s, int fd, bool for_write, struct err *err)
{
	struct host_stream new = { .fd = -1, .kind = HOST_STREAM_POLL };
	struct stat st;

	*s = HOST_STREAM_INIT;
	if (fd < 0)
		return 0;
	if (fstat(fd, &st) < 0)
		return err_set(err, errno, "look at descriptor %d", fd);
	if (S_ISSOCK(st.st_mode))
		new.kind = HOST_STREAM_SOCKET;
	else if (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode))
		new.kind = HOST_STREAM_FILE;
	else if (can_reopen(fd, st.st_mode) && (new.fd = reopen(fd, for_write)) >= 0)
		new.kind = HOST_STREAM_OWN;
	if (new.fd < 0)
		new.fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (new.fd < 0)
		return err_set(err, errno, "duplicate descriptor %d", fd);
	*s = new;
	return 0;
}

void host_stream_release(struct host_stream *s)
{
	close_fd(&s->fd);
	*s = HOST_STREAM_INIT;
}

static bool ready(int fd, short events)
{
	struct pollfd p = { .fd = fd, .events = events };

	return poll(&p, 1, 0) > 0;
}

/* The ends of input that read(2) reports as errors. */
static ssize_t read_result(ssize_t n)
{
	if (n >= 0)
		return n;
	if (errno == EIO || errno == ECONNRESET) /* EIO: a terminal hung up */
		return 0;
	return -errno;
}

ssize_t host_stream_readv(const struct host_stream *s, const struct iovec *iov, unsigned n)
{
	struct msghdr msg = { .msg_iov = (struct iovec *)iov, .msg_iovlen = n };
	ssize_t r;

	if (s->kind == HOST_STREAM_POLL && !ready(s->fd, POLLIN))
		return -EAGAIN;
	do {
		if (s->kind == HOST_STREAM_SOCKET)
			r = recvmsg(s->fd, &msg, MSG_DONTWAIT);
		else
			r = readv(s->fd, iov, (int)MIN_OF(n, (unsigned)IOV_MAX));
	} while (r < 0 && errno == EINTR);
	return s->kind == HOST_STREAM_FILE && r < 0 ? -errno : read_result(r);
}

static ssize_t write_little(const struct host_stream *s, const struct iovec *iov, unsigned n)
{
	struct iovec part[POLL_WRITE_SEGS];

	if (!ready(s->fd, POLLOUT))
		return -EAGAIN;
	n = iov_slice(iov, n, 0, POLL_WRITE_MAX, part, POLL_WRITE_SEGS);
	return writev(s->fd, part, (int)n);
}

ssize_t host_stream_writev(const struct host_stream *s, const struct iovec *iov, unsigned n)
{
	struct msghdr msg = { .msg_iov = (struct iovec *)iov, .msg_iovlen = n };
	ssize_t r;

	do {
		if (s->kind == HOST_STREAM_SOCKET)
			r = sendmsg(s->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
		else if (s->kind == HOST_STREAM_POLL)
			r = write_little(s, iov, n);
		else
			r = writev(s->fd, iov, (int)MIN_OF(n, (unsigned)IOV_MAX));
		if (r == -EAGAIN)
			return r;
	} while (r < 0 && errno == EINTR);
	if (r == 0) /* no error and no progress: a caller that tries again must not spin */
		return -EIO;
	return r < 0 ? -errno : r;
}
