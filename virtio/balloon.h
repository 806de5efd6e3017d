/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The balloon device (virtio 1.2, 5.5): gives guest memory back to the host. Free page reporting
 * does so all by itself whenever the guest has free pages; a target makes the guest give up memory
 * on request; statistics tell what the guest does with it.
 *
 * Whatever the guest names, only whole pages of its own ordinary memory are discarded: what lies
 * outside, or is lent to it (a bundled kernel), stays as it is.
 *
 * The functions below may be called on any thread, without dev->lock.
 */
#ifndef VIRTIO_BALLOON_H
#define VIRTIO_BALLOON_H

#include <stdint.h>

#include "lib/err.h"
#include "virtio/device.h"

#define VIRTIO_BALLOON_STATS 10 /* VIRTIO_BALLOON_S_*: tags we know, in linux/virtio_balloon.h */

/*
 * struct virtio_balloon_stats - the guest's word, not to be trusted
 * @value: by tag, in the units of virtio 1.2, 5.5.6.4; @have: bit per tag that is filled in
 * @rounds: how often the guest has answered so far, 0: never
 */
struct virtio_balloon_stats {
	uint64_t value[VIRTIO_BALLOON_STATS];
	uint32_t have;
	uint64_t rounds;
};

/* virtio_balloon_new() - for a guest with @ram_bytes of memory. Return: 0 and *ret_dev; -ENOMEM */
int virtio_balloon_new(uint64_t ram_bytes, struct virtio_dev **ret_dev, struct err *err);

/*
 * virtio_balloon_set_target() - ask the guest to give up @bytes (whole 4 KiB pages, rounded down)
 * Return: 0, whether or not there is a driver that listens; -EINVAL more than the guest has
 */
int virtio_balloon_set_target(struct virtio_dev *dev, uint64_t bytes);

/* virtio_balloon_actual() - bytes the guest says it has given up, at most all it has. */
uint64_t virtio_balloon_actual(struct virtio_dev *dev);

/* virtio_balloon_stats() - the latest statistics. */
void virtio_balloon_stats(struct virtio_dev *dev, struct virtio_balloon_stats *ret);

/* virtio_balloon_ask_stats() - ask for new ones. Return: 0; -EAGAIN no driver that reports them, or
 * it has not answered the last time yet. */
int virtio_balloon_ask_stats(struct virtio_dev *dev);

#endif
