/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Split virtqueues, device side (virtio 1.2, 2.7), with indirect descriptors and event-idx.
 *
 * The driver is hostile: every descriptor is copied once and then checked; chains are bounded by
 * the queue size; a ring that lies marks the queue broken, which the device reports with
 * DEVICE_NEEDS_RESET and then leaves alone until the driver resets it.
 *
 * Threads: every call takes the queue's own lock, so any thread may pop, push and ask for signals
 * at any time; devices with worker threads need no lock of their own around them. Nothing here
 * blocks or calls out. Order: dev->lock before q->lock.
 *
 * Devices use the wrappers of device.h (virtio_dev_pop, _complete, _flush), which also deal with
 * interrupts and broken rings.
 */
#ifndef VIRTIO_QUEUE_H
#define VIRTIO_QUEUE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "lib/err.h"
#include "virtio/guest_mem.h"

#define VIRTIO_F_INDIRECT_DESC 28
#define VIRTIO_F_EVENT_IDX     29
#define VIRTIO_F_VERSION_1     32
#define VIRTIO_BIT(n)	       (1ULL << (n))

#define VIRTQ_MAX_SIZE 1024

#define VIRTQ_DESC_F_NEXT     1
#define VIRTQ_DESC_F_WRITE    2
#define VIRTQ_DESC_F_INDIRECT 4

#define VIRTQ_AVAIL_F_NO_INTERRUPT 1

/* A descriptor as it lies in guest memory, little-endian (2.7.5). */
struct virtq_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

/* Transport-visible state of the ring, validated by virtqueue_enable(). */
struct virtqueue_addr {
	uint64_t desc, avail, used; /* gpa */
};

struct inflight_log;	   /* inflight.h */
struct virtqueue_resubmit; /* queue.c */
struct virtqueue_retired;  /* queue.c */

/*
 * struct virtqueue - states: disabled -> (virtqueue_enable) enabled <-> paused, (broken) ->
 * (virtqueue_reset) disabled. Fields above the line may be set by the transport while disabled; the
 * rest is queue.c's own.
 */
struct virtqueue {
	uint16_t max_size; /* power of two, fixed by the device */
	uint16_t size;	   /* chosen by the driver */
	struct virtqueue_addr addr;
	struct inflight_log *inflight; /* borrowed; NULL: no log is kept */
	/* ---- */
	pthread_mutex_t lock;
	bool enabled, paused, event_idx, indirect;
	const char *broken; /* why the ring is not to be touched again; NULL: it is fine */
	uint16_t next_avail, next_used;
	uint16_t signalled_used; /* next_used at the last virtqueue_should_signal() */
	bool signalled_valid;
	uint16_t n_inflight;   /* heads popped and not pushed yet */
	struct guest_mem *mem; /* a reference while enabled */
	void *desc_ring, *avail_ring, *used_ring;
	uint64_t heads[VIRTQ_MAX_SIZE / 64]; /* bitmap of those heads and of those to resubmit */
	uint64_t inflight_counter;
	struct virtqueue_resubmit *resubmit; /* what the log had; NULL: nothing */
	struct virtqueue_retired *retired;   /* earlier tables that heads in flight still use */
};

/*
 * struct virtq_chain - one request: first the device-readable buffers, then the device-writable
 * ones
 * @iov, @iov_max: set by the caller before virtqueue_pop(): where to put the iovecs
 * All iovecs are validated guest memory, valid until the chain is pushed or the queue is reset;
 * their bytes may change at any time. Zero-length descriptors are left out. n_readable and
 * n_writable may both be 0.
 */
struct virtq_chain {
	struct iovec *iov;
	unsigned iov_max;
	uint16_t head;
	unsigned n_readable, n_writable; /* iov[0..n_readable) then iov[n_readable..+n_writable) */
	size_t readable_len, writable_len; /* their sum is below 4 GiB */
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

/* virtqueue_init() - a disabled queue of at most @max_size (power of two, <= VIRTQ_MAX_SIZE);
 * size starts as max_size. */
void virtqueue_init(struct virtqueue *q, uint16_t max_size);

/* virtqueue_release() - undo virtqueue_init(); resets first. */
void virtqueue_release(struct virtqueue *q);

/*
 * virtqueue_enable() - check size and addresses against @mem and start at ring index @start_avail
 * @features: acked feature bits; EVENT_IDX and INDIRECT_DESC matter here
 * The used index continues where the ring in memory says (0 in a fresh ring). With an in-flight log
 * that another process left, virtqueue_pop() first returns what that process had in flight, and
 * @start_avail is computed instead.
 * Return: 0; -EINVAL bad size, alignment, a log of another ring, or rings that overlap each other;
 * -EFAULT a ring outside guest memory (each ring must lie within one region); -ENOMEM. Takes a
 * reference on @mem.
 */
int virtqueue_enable(struct virtqueue *q, struct guest_mem *mem, uint64_t features,
	uint16_t start_avail, struct err *err);

/* virtqueue_reset() - back to disabled; drops the memory reference; forgets heads in flight. The
 * device must have stopped using their iovecs. */
void virtqueue_reset(struct virtqueue *q);

/*
 * virtqueue_set_mem() - replace the memory table of an enabled queue; @addr: the rings in it
 * Chains in flight keep the table they came from. Return: 0; as virtqueue_enable(), and then the
 * queue is as before.
 */
int virtqueue_set_mem(struct virtqueue *q, struct guest_mem *mem, const struct virtqueue_addr *addr,
	struct err *err);

/* virtqueue_pause() - while paused, pop finds nothing; push works. Return: heads in flight. */
unsigned virtqueue_pause(struct virtqueue *q, bool paused);

/* virtqueue_next_avail() - the ring index of the next chain: where a successor has to start. */
uint16_t virtqueue_next_avail(struct virtqueue *q);

/*
 * virtqueue_pop() - take the next available chain
 * Finding nothing also arms the driver's kicks (event-idx), without losing one that races.
 * Return: 1 and *chain; 0 nothing available, or queue disabled; -EBADMSG the ring is broken (marked
 * so until reset, q->broken says why); -E2BIG the chain has more segments than iov_max: *chain
 * holds only head, push it with length 0.
 */
int virtqueue_pop(struct virtqueue *q, struct virtq_chain *chain);

/*
 * virtqueue_pop_undo() - put the chain popped last back, e.g. no host resource for it now; then,
 * with another call, the one popped before it
 * The caller makes sure that nobody else popped in between. The driver sends no kick for it: come
 * back by yourself.
 */
void virtqueue_pop_undo(struct virtqueue *q, const struct virtq_chain *chain);

/*
 * virtqueue_push() - return @head to the driver with @written bytes in its writable part
 * Ignored if the queue is broken or was reset, or if @head is not in flight.
 * Return: true if the queue is paused and this was the last head in flight
 */
bool virtqueue_push(struct virtqueue *q, uint16_t head, uint32_t written);

/* virtqueue_should_signal() - does the driver want an interrupt for what was pushed since the last
 * call? */
bool virtqueue_should_signal(struct virtqueue *q);

/* virtqueue_has_avail() - is there at least one chain to pop? Does not arm notifications. */
bool virtqueue_has_avail(struct virtqueue *q);

/*
 * virtqueue_arm() - as virtqueue_has_avail(), but finding nothing arms the driver's kicks
 * For devices that work on a chain for long: without it the driver, told of no interest by
 * event-idx, adds the next one silently, and another thread never hears of it.
 */
bool virtqueue_arm(struct virtqueue *q);

#endif
