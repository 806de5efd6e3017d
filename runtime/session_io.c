/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/session_io.h"

#include <errno.h>
#include <sys/epoll.h>

#include "lib/clock.h"

/* Streams that are full now and cannot be watched are tried again after this time. */
#define RETRY_NS (10 * NS_PER_MS)

/* ---- sinks ---- */

static void sink_flush(struct sink *k);

static void on_sink_room(void *ctx)
{
	struct sink *k = ctx;

	sink_flush(k);
	k->changed(k->ctx);
}

static void on_sink_watch(void *ctx, int fd, uint32_t events)
{
	on_sink_room(ctx);
}

int sink_init(
	struct sink *k, struct loop *loop, int fd, loop_fn *changed, void *ctx, struct err *err)
{
	int ret;

	*k = (struct sink){ .loop = loop, .changed = changed, .ctx = ctx };
	ret = host_stream_open(&k->stream, fd, true, err);
	if (ret < 0)
		return ret;
	return loop_timer_new(loop, on_sink_room, k, &k->retry, err);
}

void sink_release(struct sink *k)
{
	loop_remove(&k->watch);
	loop_timer_remove(&k->retry);
	host_stream_release(&k->stream);
	buf_release(&k->pending);
}

/* The loop calls us when there is room; where it cannot know, a timer does. */
static void sink_wait(struct sink *k)
{
	if (k->watch)
		return;
	if (loop_add(k->loop, k->stream.fd, EPOLLOUT, on_sink_watch, k, &k->watch, NULL) < 0)
		loop_timer_arm(k->retry, clock_mono_ns() + RETRY_NS);
}

static void sink_end(struct sink *k, int error)
{
	loop_remove(&k->watch);
	loop_timer_disarm(k->retry);
	buf_release(&k->pending);
	k->error = error;
}

/* Return: bytes written; what is missing did not fit, or the sink has ended. */
static size_t write_now(struct sink *k, const uint8_t *data, size_t len)
{
	size_t done = 0;

	while (done < len) {
		struct iovec iov = { (void *)(data + done), len - done };
		ssize_t n = host_stream_writev(&k->stream, &iov, 1);

		if (n == -EAGAIN)
			break;
		if (n < 0) {
			sink_end(k, (int)-n);
			break;
		}
		done += n;
	}
	return done;
}

static void sink_flush(struct sink *k)
{
	size_t n = write_now(k, buf_head(&k->pending), k->pending.len);

	if (k->error)
		return;
	buf_consume(&k->pending, n);
	if (k->pending.len > 0)
		sink_wait(k);
	else
		loop_remove(&k->watch);
}

void sink_write(struct sink *k, const void *data, size_t len)
{
	size_t n = 0;

	if (k->error || k->stream.fd < 0)
		return;
	if (k->pending.len == 0)
		n = write_now(k, data, len);
	if (k->error || n == len)
		return;
	if (buf_append(&k->pending, (const uint8_t *)data + n, len - n) < 0)
		sink_end(k, ENOMEM);
	else
		sink_wait(k);
}

/* ---- sources ---- */

static void on_source_watch(void *ctx, int fd, uint32_t events)
{
	struct source *c = ctx;

	c->readable(c->ctx);
}

static void on_source_poke(void *ctx)
{
	struct source *c = ctx;

	c->readable(c->ctx);
}

int source_init(
	struct source *c, struct loop *loop, int fd, loop_fn *readable, void *ctx, struct err *err)
{
	int ret;

	*c = (struct source){ .loop = loop, .readable = readable, .ctx = ctx };
	ret = host_stream_open(&c->stream, fd, false, err);
	if (ret < 0)
		return ret;
	c->unwatchable = c->stream.fd < 0;
	return loop_timer_new(loop, on_source_poke, c, &c->poke, err);
}

void source_release(struct source *c)
{
	loop_remove(&c->watch);
	loop_timer_remove(&c->poke);
	host_stream_release(&c->stream);
}

void source_want(struct source *c, bool want)
{
	if (!want) {
		loop_remove(&c->watch);
		loop_timer_disarm(c->poke);
		return;
	}
	if (c->watch)
		return;
	if (!c->unwatchable &&
		loop_add(c->loop, c->stream.fd, EPOLLIN, on_source_watch, c, &c->watch, NULL) < 0)
		c->unwatchable = true;
	/* Regular files and their like always have something, if only their end. */
	if (c->unwatchable)
		loop_timer_arm(c->poke, c->idle ? clock_mono_ns() + RETRY_NS : 0);
}

ssize_t source_read(struct source *c, void *dst, size_t len)
{
	struct iovec iov = { dst, len };
	ssize_t n = c->stream.fd < 0 ? 0 : host_stream_readv(&c->stream, &iov, 1);

	c->idle = n == -EAGAIN;
	return n;
}
