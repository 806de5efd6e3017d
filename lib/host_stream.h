/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One direction of a host descriptor, read or written without ever blocking and without changing
 * O_NONBLOCK on it: that flag lives in the open file description, which a terminal or pipe shares
 * with other processes (a shell whose stdin becomes non-blocking misbehaves long after we are
 * gone).
 *
 * Instead, by kind of file:
 *   socket       MSG_DONTWAIT on every call
 *   pipe, tty    a description of our own, O_NONBLOCK, opened through /proc/self/fd
 *   others, and where that open is refused: poll first, then write little enough to fit. A second
 *                writer can still take the room in between; the call then blocks until the reader
 *                reads on. No worse than what any ordinary program does with such a file.
 *   files        read and written directly: they are never "full", only slow
 *
 * Writing to a pipe without reader raises SIGPIPE: the process must ignore it.
 */
#ifndef LIB_HOST_STREAM_H
#define LIB_HOST_STREAM_H

#include <stdbool.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "lib/err.h"

enum host_stream_kind { HOST_STREAM_SOCKET, HOST_STREAM_OWN, HOST_STREAM_POLL, HOST_STREAM_FILE };

/* struct host_stream - @fd is our own descriptor, -1 when there is none */
struct host_stream {
	int fd;
	enum host_stream_kind kind;
};

#define HOST_STREAM_INIT ((struct host_stream){ .fd = -1 })

/*
 * host_stream_open() - duplicate or reopen @fd for one direction; @fd stays the caller's
 * @fd: -1 gives a stream with fd -1, which must not be read or written
 * @for_write: the direction wanted
 * Return: 0; -errno (EBADF, EMFILE). Needs /proc; without it pipes and terminals are polled.
 */
int host_stream_open(struct host_stream *s, int fd, bool for_write, struct err *err);

/* host_stream_release() - close; the struct is as HOST_STREAM_INIT. */
void host_stream_release(struct host_stream *s);

/*
 * host_stream_readv() - Return: bytes (>= 1), 0 end of input (also: terminal hung up, connection
 * reset), -EAGAIN nothing there now, -errno. @iov must hold at least one byte.
 */
ssize_t host_stream_readv(const struct host_stream *s, const struct iovec *iov, unsigned n);

/* host_stream_writev() - Return: bytes (>= 1, maybe not all), -EAGAIN full, -errno. */
ssize_t host_stream_writev(const struct host_stream *s, const struct iovec *iov, unsigned n);

#endif
