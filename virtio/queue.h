/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Split virtqueues, device side (virtio 1.2, 2.7), with indirect descriptors and event-idx.
 *
 * The driver is hostile: every descriptor is copied once and then checked; chains are bounded by
 * the queue size; a ring that lies marks the queue broken, which the device reports with
 * DEVICE_NEEDS_RESET and then leaves alone until the driver resets it.
 *
 * Locking: a queue belongs to its device; calls on one queue must not run at the same time. A
 * device that completes requests on several threads takes its own lock around pop, push and signal.
 */
#ifndef VIRTIO_QUEUE_H
#define VIRTIO_QUEUE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "lib/err.h"
#include "virtio/guest_mem.h"

#define VIRTQ_MAX_SIZE 1024

/* Transport-visible state of the ring, validated by virtqueue_enable(). */
struct virtqueue_addr {
	uint64_t desc, avail, used; /* gpa */
};

struct virtqueue_inflight; /* vhost-user in-flight log, vhost_user.c */

/*
 * struct virtqueue - states: disabled -> (virtqueue_enable) enabled -> (broken) ->
 * (virtqueue_reset) disabled Fields above the line may be set by the transport while disabled; the
 * rest is queue.c's own.
 */
struct virtqueue {
	uint16_t max_size; /* power of two, fixed by the device */
	uint16_t size;	   /* chosen by the driver */
	struct virtqueue_addr addr;
	int kick_fd; /* readable when the driver kicked; -1: the transport calls directly */
	int call_fd; /* written to interrupt the driver; -1: none */
	/* ---- */
	bool enabled, broken, event_idx;
	uint16_t next_avail, next_used;
	uint16_t signalled_used;
	bool signalled_valid;
	struct guest_mem *mem; /* a reference while enabled */
	void *desc_ring, *avail_ring, *used_ring;
	struct virtqueue_inflight *inflight; /* borrowed, may be NULL */
	uint64_t heads[VIRTQ_MAX_SIZE / 64]; /* bitmap: heads popped and not pushed yet */
};

/*
 * struct virtq_chain - one request: first the device-readable buffers, then the device-writable
 * ones
 * @iov, @iov_max: set by the caller before virtqueue_pop(): where to put the iovecs
 * All iovecs are validated guest memory, valid until the chain is pushed; their bytes may change at
 * any time.
 */
struct virtq_chain {
	struct iovec *iov;
	unsigned iov_max;
	uint16_t head;
	unsigned n_readable, n_writable; /* iov[0..n_readable) then iov[n_readable..+n_writable) */
	size_t readable_len, writable_len;
};

/* chain_readable()/chain_writable() - start of each half. */
static inline const struct iovec *chain_readable(const struct virtq_chain *c)
{
	return c->iov;
}
static inline const struct iovec *chain_writable(const struct virtq_chain *c)
{
	return c->iov + c->n_readable;
}

/* virtqueue_init() - a disabled queue of at most @max_size (power of two, <= VIRTQ_MAX_SIZE). */
void virtqueue_init(struct virtqueue *q, uint16_t max_size);

/*
 * virtqueue_enable() - check size and addresses against @mem and start at ring index @start_avail
 * @event_idx: was VIRTIO_F_EVENT_IDX negotiated
 * Return: 0; -EINVAL bad size or alignment; -EFAULT a ring outside guest memory. Takes a reference
 * on @mem.
 */
int virtqueue_enable(struct virtqueue *q, struct guest_mem *mem, bool event_idx,
	uint16_t start_avail, struct err *err);

/* virtqueue_reset() - back to disabled; drops the memory reference; fds stay the transport's. */
void virtqueue_reset(struct virtqueue *q);

/*
 * virtqueue_pop() - take the next available chain
 * Return: 1 and *chain; 0 nothing available; -EBADMSG the ring is broken (queue marked, once
 * logged); -E2BIG the chain is well-formed but has more segments than iov_max: *chain holds only
 * head, push it with length 0.
 */
int virtqueue_pop(struct virtqueue *q, struct virtq_chain *chain);

/* virtqueue_pop_undo() - put the chain popped last back, e.g. no host resource for it now. */
void virtqueue_pop_undo(struct virtqueue *q, const struct virtq_chain *chain);

/* virtqueue_push() - return @head to the driver with @written bytes in its writable part. */
void virtqueue_push(struct virtqueue *q, uint16_t head, uint32_t written);

/* virtqueue_should_signal() - does the driver want an interrupt for what was pushed since the last
 * one? */
bool virtqueue_should_signal(struct virtqueue *q);

/* virtqueue_has_avail() - is there at least one chain to pop? Does not arm notifications. */
bool virtqueue_has_avail(struct virtqueue *q);

#endif
