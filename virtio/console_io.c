/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bytes of the console's ports.
 *
 * Output: a chain that did not fit stays popped (port->out_held) with the offset reached, and the
 * host descriptor is watched for EPOLLOUT. Nothing else of that queue is popped until it is done.
 *
 * Input: a chain is popped, read into, and put back if nothing was there. The watch is paused
 * whenever input could not be used, because EPOLLIN and EPOLLHUP would otherwise spin the loop.
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

#include "lib/iov.h"
#include "lib/log.h"
#include "lib/num.h"
#include "virtio/console_internal.h"

/* --- input: host to guest --- */

static void on_host_input(void *ctx, int fd, uint32_t events);

static void watch_input(struct port *p)
{
	struct virtio_dev *dev = &p->con->dev;
	int r;

	if (p->in_watch) {
		loop_modify(p->in_watch, EPOLLIN);
		return;
	}
	r = loop_add(dev->loop, p->in.fd, EPOLLIN, on_host_input, p, &p->in_watch, NULL);
	if (r < 0)
		virtio_dev_fail(dev, "cannot watch the host side of a port");
}

static void pause_input(struct port *p)
{
	if (p->in_watch)
		loop_pause(p->in_watch);
}

static void end_input(struct port *p)
{
	p->in_ended = true;
	pause_input(p);
	if (p->console)
		return; /* a terminal has no end of file, and its output goes on */
	port_say_open(p, false);
	console_send_due(p->con);
}

/* Return: 1 go on; 0 stop for now (no buffer or no input). */
static int input_chain(struct port *p)
{
	struct iovec iov[SEGS_MAX];
	struct virtq_chain c = { .iov = iov, .iov_max = SEGS_MAX };
	unsigned qi = port_queue_in(p);
	ssize_t n;
	int r = virtio_dev_pop(&p->con->dev, qi, &c);

	if (r == 0) {
		pause_input(p);
		return 0;
	}
	if (r < 0 || c.writable_len == 0) {
		virtio_dev_complete(&p->con->dev, qi, c.head, 0);
		return 1;
	}
	n = host_stream_readv(&p->in, chain_writable(&c), c.n_writable);
	if (n > 0) {
		virtio_dev_complete(&p->con->dev, qi, c.head, (uint32_t)n);
		return 1;
	}
	virtqueue_pop_undo(&p->con->dev.queue[qi], &c);
	if (n == -EAGAIN)
		watch_input(p);
	else
		end_input(p);
	return 0;
}

void port_run_input(struct port *p)
{
	unsigned qi = port_queue_in(p), i;

	/* an unopened port: Linux would throw the bytes away, so they stay with the host */
	if (!p->guest_open || p->in_ended || p->in.fd < 0) {
		pause_input(p);
		return;
	}
	for (i = 0; i < CHAINS_PER_RUN; i++) {
		if (!input_chain(p))
			break;
	}
	virtio_dev_flush(&p->con->dev, qi);
	if (i == CHAINS_PER_RUN)
		virtio_dev_rekick(&p->con->dev, qi);
}

static void on_host_input(void *ctx, int fd, uint32_t events)
{
	struct port *p = ctx;
	struct virtio_dev *dev = &p->con->dev;

	(void)pthread_mutex_lock(&dev->lock);
	if (dev->active && !dev->broken)
		port_run_input(p);
	else
		pause_input(p);
	(void)pthread_mutex_unlock(&dev->lock);
}

/* --- output: guest to host --- */

static void on_host_room(void *ctx, int fd, uint32_t events);

static void watch_output(struct port *p)
{
	struct virtio_dev *dev = &p->con->dev;
	int r;

	p->out_blocked = true;
	if (p->out_watch) {
		loop_modify(p->out_watch, EPOLLOUT);
		return;
	}
	r = loop_add(dev->loop, p->out.fd, EPOLLOUT, on_host_room, p, &p->out_watch, NULL);
	if (r < 0)
		virtio_dev_fail(dev, "cannot watch the host side of a port");
}

static void end_output(struct port *p, const char *why)
{
	p->out_ended = true;
	log_once(p->con->warned_output, LOG_WARN, "console: output of port %u (%s) is dropped: %s",
		p->id, p->name, why);
}

static void finish_output(struct port *p)
{
	virtio_dev_complete(&p->con->dev, port_queue_out(p), p->out_chain.head, 0);
	p->out_held = false;
}

/* Write more of the held chain. Return: bytes gone (0: the chain is finished) or -EAGAIN. */
static ssize_t output_some(struct port *p)
{
	const struct virtq_chain *c = &p->out_chain;
	size_t left = c->readable_len - p->out_off;
	struct iovec iov[SEGS_MAX];
	unsigned n;
	ssize_t r;

	if (!left || p->out_ended || p->out.fd < 0) {
		finish_output(p);
		return 0;
	}
	if (!p->out_left) {
		end_output(p, "it has reached its limit");
		return 0;
	}
	left = MIN_OF(left, (uint64_t)BYTES_PER_RUN);
	left = MIN_OF(left, p->out_left);
	n = iov_slice(chain_readable(c), c->n_readable, p->out_off, left, iov, SEGS_MAX);
	r = host_stream_writev(&p->out, iov, n);
	if (r < 0 && r != -EAGAIN)
		end_output(p, strerror((int)-r));
	if (r <= 0)
		return r == -EAGAIN ? r : 0;
	p->out_off += (size_t)r;
	if (p->out_left != UINT64_MAX)
		p->out_left -= (uint64_t)r;
	return r;
}

/* Return: false when there is nothing to write. */
static bool hold_output(struct port *p)
{
	int r;

	if (p->out_held)
		return true;
	p->out_chain.iov = p->out_iov;
	p->out_chain.iov_max = SEGS_MAX;
	r = virtio_dev_pop(&p->con->dev, port_queue_out(p), &p->out_chain);
	if (r == 0)
		return false;
	p->out_held = true; /* one with too many segments counts as empty */
	p->out_off = 0;
	return true;
}

void port_run_output(struct port *p)
{
	size_t bytes = 0;
	unsigned steps = 0;

	while (!p->out_blocked && bytes < BYTES_PER_RUN && steps < 2 * CHAINS_PER_RUN) {
		ssize_t r;

		if (!hold_output(p))
			break;
		r = output_some(p);
		if (r == -EAGAIN)
			watch_output(p);
		else
			bytes += (size_t)r;
		steps++;
	}
	virtio_dev_flush(&p->con->dev, port_queue_out(p));
	if (bytes >= BYTES_PER_RUN || steps == 2 * CHAINS_PER_RUN)
		virtio_dev_rekick(&p->con->dev, port_queue_out(p));
}

static void on_host_room(void *ctx, int fd, uint32_t events)
{
	struct port *p = ctx;
	struct virtio_dev *dev = &p->con->dev;

	(void)pthread_mutex_lock(&dev->lock);
	loop_pause(p->out_watch);
	p->out_blocked = false;
	if (dev->active && !dev->broken)
		port_run_output(p);
	(void)pthread_mutex_unlock(&dev->lock);
}
