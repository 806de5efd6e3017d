/* SPDX-License-Identifier: Apache-2.0 */
/* The local streams of a session: sinks for stdout and stderr, a source for stdin. */
#ifndef RUNTIME_SESSION_IO_H
#define RUNTIME_SESSION_IO_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/buf.h"
#include "lib/host_stream.h"
#include "lib/loop.h"

/*
 * struct sink - where output goes
 * @pending: could not be written yet; @watch then waits for room
 * @changed: called after each attempt from the loop, with the sink's state up to date
 * @error:   errno of the write that ended it; what comes later is thrown away
 */
struct sink {
	struct loop *loop;
	struct host_stream stream;
	struct loop_watch *watch;
	struct loop_timer *retry;
	struct buf pending;
	loop_fn *changed;
	void *ctx;
	int error;
};

/* sink_init() - @fd -1: throws everything away. Return: 0, -errno. */
int sink_init(
	struct sink *k, struct loop *loop, int fd, loop_fn *changed, void *ctx, struct err *err);
void sink_release(struct sink *k);

/* sink_write() - write now what goes, keep the rest. Look at k->error afterwards. */
void sink_write(struct sink *k, const void *data, size_t len);

/*
 * struct source - where input comes from
 * Only watched while wanted: a hung-up pipe that nobody reads would wake the loop for ever.
 * @unwatchable: epoll refuses it, so a timer stands in; @idle: the last read found nothing
 * @readable: called when a read will bring something, or the end
 */
struct source {
	struct loop *loop;
	struct host_stream stream;
	struct loop_watch *watch;
	struct loop_timer *poke;
	bool unwatchable, idle;
	loop_fn *readable;
	void *ctx;
};

/* source_init() - @fd -1: nothing to read; source_read() returns 0. Return: 0, -errno. */
int source_init(
	struct source *c, struct loop *loop, int fd, loop_fn *readable, void *ctx, struct err *err);
void source_release(struct source *c);

/* source_want() - call back when there is something to read, until told otherwise. */
void source_want(struct source *c, bool want);

/* source_read() - Return: bytes; 0 at the end; -EAGAIN; -errno. */
ssize_t source_read(struct source *c, void *dst, size_t len);

#endif
