/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The console device (virtio 1.2, 5.3) with several ports: port 0 is the guest's hvc0, the others
 * are byte channels that the guest finds by name (/sys/class/virtio-ports/N/name).
 *
 * Per port and direction there is one host descriptor. Data moves between it and guest memory
 * without a copy of ours. When the host side is full, the guest's queue is left alone until there
 * is room; when the guest offers no buffers, or nobody in it has the port open, the host side is
 * not read.
 *
 * Ends: end of input on the host side closes the port towards the guest (a reader in the guest
 * sees end of file; for consoles input just ends). When the host side of the output is gone (EPIPE,
 * disk full) or @out_limit is used up, further output is accepted and dropped, with one log line.
 *
 * The host descriptors are watched on dev->loop.
 */
#ifndef VIRTIO_CONSOLE_H
#define VIRTIO_CONSOLE_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/err.h"
#include "virtio/device.h"

#define VIRTIO_CONSOLE_MAX_PORTS 30
#define VIRTIO_CONSOLE_NAME_MAX	 63

/*
 * struct virtio_console_port - one port, plain data
 * @name: NULL or empty: none; at most VIRTIO_CONSOLE_NAME_MAX bytes
 * @in_fd: host descriptor whose bytes the guest reads; -1: none, the guest never reads anything
 * @out_fd: host descriptor that gets what the guest writes; may equal @in_fd; -1: output is dropped
 * @console: a terminal of the guest (hvcN) rather than a channel; it has a size
 * @rows, @cols: size at start; 0: unknown, not told
 * @out_limit: most bytes ever written to @out_fd, 0: no limit (for logs that a guest could fill)
 */
struct virtio_console_port {
	const char *name;
	int in_fd, out_fd;
	bool console;
	uint16_t rows, cols;
	uint64_t out_limit;
};

/*
 * How a RESIZE message is laid out. The specification says cols, rows, and so do kernels since
 * commit 5326ab737a47 (libkrunfw 5.2 and later, Linux 6.17); older ones read rows, cols.
 */
enum virtio_console_resize_order { VIRTIO_CONSOLE_COLS_ROWS, VIRTIO_CONSOLE_ROWS_COLS };

/*
 * virtio_console_new() - a console with @n ports (1 to VIRTIO_CONSOLE_MAX_PORTS)
 * @ports: copied; the descriptors are duplicated (host_stream.h) and stay the caller's, who closes
 * his where the other side is to see an end when the device goes
 * Return: 0 and *ret_dev (virtio_dev_free() on the loop's thread or when the loop has stopped, and
 * before loop_free(): watches are the loop's);
 * -EINVAL bad port count or name; -errno
 */
int virtio_console_new(const struct virtio_console_port *ports, unsigned n,
	enum virtio_console_resize_order order, struct virtio_dev **ret_dev, struct err *err);

/*
 * virtio_console_resize() - the terminal behind console port @port has a new size
 * Any thread, without dev->lock. Remembered until the guest can be told; of several sizes in a row
 * the guest may see only the last. Return: 0; -EINVAL no such port, or not a console
 */
int virtio_console_resize(struct virtio_dev *dev, unsigned port, uint16_t rows, uint16_t cols);

/*
 * virtio_console_has_output() - is there anything the guest has written and the host side has not
 * taken yet? For an orderly end: what is written in part counts, which the queues do not show. Any
 * thread, without dev->lock.
 */
bool virtio_console_has_output(struct virtio_dev *dev);

#endif
