/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The block device (virtio 1.2, 5.2): read, write, flush, discard, write zeroes, get id, over an
 * image of block/. Requests run on worker threads of the device, several at a time; the loop only
 * passes kicks on. Threads are started with the first activation, so they inherit whatever
 * confinement the process has put on itself by then.
 */
#ifndef VIRTIO_BLOCK_H
#define VIRTIO_BLOCK_H

#include <stdbool.h>

#include "block/block.h"
#include "lib/err.h"
#include "virtio/device.h"

#define VIRTIO_BLOCK_MAX_THREADS 8

/*
 * struct virtio_block_config - plain data
 * @image: taken over by the device on success; image->read_only decides about writing
 * @serial: what GET_ID answers, at most BLOCK_ID_LEN bytes count; NULL: the image's own id
 * @unsafe: no flushes: what the guest wrote may be lost when the host crashes. Otherwise a driver
 * that knows flushes decides when, and one that does not gets every write flushed.
 * @threads: requests in flight at a time, 1 to VIRTIO_BLOCK_MAX_THREADS; 0: a default
 */
struct virtio_block_config {
	struct block *image;
	const char *serial;
	bool unsafe;
	unsigned threads;
};

/* virtio_block_new() - Return: 0 and *ret_dev (virtio_dev_free()); -EINVAL too many threads; -errno
 */
int virtio_block_new(
	const struct virtio_block_config *cfg, struct virtio_dev **ret_dev, struct err *err);

#endif
