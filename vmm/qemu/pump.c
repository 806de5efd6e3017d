/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/qemu/pump.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "lib/cleanup.h"

/*
 * A writable pipe has room for PIPE_BUF bytes at least; a write of no more than that does not block
 * even if the descriptor is in blocking mode.
 */
#define PIECE 4096

/* struct pump - either empty and waiting for @from, or holding bytes and waiting for @to */
struct pump {
	struct loop *loop;
	int from, to;
	struct loop_watch *from_watch, *to_watch; /* NULL: always ready (a regular file) */
	size_t off, len;
	char data[PIECE];
};

static void stop(struct pump *p)
{
	loop_remove(&p->from_watch);
	loop_remove(&p->to_watch);
}

static void wait_for(struct pump *p)
{
	if (p->from_watch)
		loop_modify(p->from_watch, p->len ? 0 : EPOLLIN);
	if (p->to_watch)
		loop_modify(p->to_watch, p->len || !p->from_watch ? EPOLLOUT : 0);
}

static bool would_block(void)
{
	return errno == EAGAIN || errno == EINTR;
}

/* Return: false when there is no more to come. */
static bool fill(struct pump *p)
{
	ssize_t n = read(p->from, p->data, sizeof(p->data));

	if (n < 0)
		return would_block();
	p->off = 0;
	p->len = n;
	return n > 0;
}

/* Return: false when nobody takes it. */
static bool drain(struct pump *p)
{
	ssize_t n = write(p->to, p->data + p->off, p->len);

	if (n < 0)
		return would_block();
	p->off += n;
	p->len -= n;
	return true;
}

static void on_from(void *ctx, int fd, uint32_t events)
{
	struct pump *p = ctx;

	if (p->len) { /* a hang-up is told whatever is waited for; the bytes go first */
		loop_remove(&p->from_watch);
		wait_for(p);
		return;
	}
	if (!fill(p) || (!p->to_watch && !drain(p)))
		stop(p);
	else
		wait_for(p);
}

static void on_to(void *ctx, int fd, uint32_t events)
{
	struct pump *p = ctx;

	if ((p->len == 0 && !p->from_watch && !fill(p)) || (p->len && !drain(p)) ||
		(events & (EPOLLERR | EPOLLHUP)))
		stop(p);
	else
		wait_for(p);
}

static int watch(struct pump *p, int fd, uint32_t events, loop_fd_fn *fn,
	struct loop_watch **ret_watch, struct err *err)
{
	int rc = loop_add(p->loop, fd, events, fn, p, ret_watch, err);

	return rc == -EPERM ? 0 : rc; /* a regular file is always ready */
}

int pump_new(struct loop *loop, int from, int to, struct pump **ret, struct err *err)
{
	struct pump *p = calloc(1, sizeof(*p));
	int rc;

	if (!p)
		return err_set(err, ENOMEM, "create console pump");
	p->loop = loop;
	p->from = from;
	p->to = to;
	rc = watch(p, from, EPOLLIN, on_from, &p->from_watch, err);
	if (rc == 0)
		rc = watch(p, to, 0, on_to, &p->to_watch, err);
	if (rc == 0 && !p->from_watch && !p->to_watch)
		rc = err_msg(err, EINVAL, "a console cannot copy one regular file to another");
	if (rc < 0) {
		stop(p);
		free(p);
		return rc;
	}
	wait_for(p);
	*ret = p;
	return 0;
}

static bool ready(int fd, short events)
{
	struct pollfd pfd = { .fd = fd, .events = events };

	return poll(&pfd, 1, 0) == 1 && (pfd.revents & events);
}

void pump_free(struct pump *p)
{
	if (!p)
		return;
	/* What the guest said last shall be heard. */
	for (unsigned i = 0; i < 256 && (p->from_watch || p->len); i++) {
		if (p->len == 0 && (!ready(p->from, POLLIN) || !fill(p)))
			break;
		if (p->len && (!ready(p->to, POLLOUT) || !drain(p)))
			break;
	}
	stop(p);
	free(p);
}
