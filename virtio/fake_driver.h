/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtio driver in plain memory, for tests and fuzz targets: it lays out rings in guest memory of
 * its own, drives a device directly (no transport, no VM) and can lie in every way a guest can.
 *
 * Use: fake_driver_new(dev) -> fake_driver_start(features) -> fake_post()/fake_kick()/fake_used()
 * ... -> fake_driver_stop() -> fake_driver_free(). Or fake_request() for one request at a time.
 *
 * Threads: the driver belongs to one thread. The device may complete on others; the counters are
 * atomic and fake_wait_used() waits for them.
 */
#ifndef VIRTIO_FAKE_DRIVER_H
#define VIRTIO_FAKE_DRIVER_H

#include "virtio/device.h"

/* Guest memory: LOW, a hole, then HIGH and TOP, which meet. Rings and fake_alloc() use LOW. */
#define FAKE_LOW_GPA   0x0ULL
#define FAKE_LOW_SIZE  0x800000ULL
#define FAKE_HIGH_GPA  0x1000000ULL
#define FAKE_HIGH_SIZE 0x100000ULL
#define FAKE_TOP_GPA   (FAKE_HIGH_GPA + FAKE_HIGH_SIZE)
#define FAKE_TOP_SIZE  0x100000ULL

/* struct fake_seg - one descriptor of a request */
struct fake_seg {
	uint64_t gpa;
	uint32_t len;
	bool writable; /* by the device */
};

struct fake_queue {
	uint16_t size;		    /* 0: leave the queue disabled; else set before start */
	struct virtqueue_addr addr; /* filled by fake_driver_new(); may be changed before start */
	uint16_t avail_idx, used_seen;
	uint16_t free_head, n_free;
	uint16_t next[VIRTQ_MAX_SIZE]; /* free list; of a posted chain: its descriptors */
	uint16_t n_desc[VIRTQ_MAX_SIZE];
	unsigned signals; /* atomic: interrupts for this queue */
	bool rekick;	  /* atomic: the device asked for another kick */
};

struct fake_driver {
	struct virtio_dev *dev;
	struct guest_mem *mem;
	uint64_t brk; /* fake_alloc()'s next gpa */
	uint64_t brk_start;
	struct fake_queue *q;		       /* dev->n_queues of them */
	unsigned config_signals, needs_resets; /* atomic */
	pthread_mutex_t lock;
	pthread_cond_t cond; /* signalled at every interrupt */
};

/*
 * fake_driver_new() - guest memory and rings for @dev, which stays the caller's and becomes
 * attached
 * @loop: for dev->loop; NULL if the device needs none
 */
int fake_driver_new(
	struct virtio_dev *dev, struct loop *loop, struct fake_driver **ret_drv, struct err *err);

/* fake_driver_free() - stop, detach the device, free; NULL is fine. */
void fake_driver_free(struct fake_driver *drv);

/*
 * fake_driver_start() - accept @features (masked by what is offered), enable queues, activate
 * Return: 0, or what virtqueue_enable() or activate said
 */
int fake_driver_start(struct fake_driver *drv, uint64_t features, struct err *err);

/* fake_driver_stop() - reset the device; rings are emptied and may be started again. */
void fake_driver_stop(struct fake_driver *drv);

/* fake_alloc() - @len zeroed bytes of guest memory, 16-byte aligned; 0 when LOW is used up. */
uint64_t fake_alloc(struct fake_driver *drv, uint64_t len);

/* fake_alloc_reset() - forget all allocations (long fuzz runs). */
void fake_alloc_reset(struct fake_driver *drv);

/* fake_ptr() - host address of guest memory; aborts outside of it (a mistake of the test). */
void *fake_ptr(struct fake_driver *drv, uint64_t gpa, uint64_t len);

/* ---- an honest driver ---- */

/* fake_post() - make a chain of @n (>= 1) segments available. Return: its head, or -ENOSPC. */
int fake_post(struct fake_driver *drv, unsigned qi, const struct fake_seg *seg, unsigned n);

/* fake_post_indirect() - the same through an indirect table: one descriptor of the ring. */
int fake_post_indirect(
	struct fake_driver *drv, unsigned qi, const struct fake_seg *seg, unsigned n);

/* fake_wants_kick() - would a Linux driver kick now that avail went from @old to the current index?
 */
bool fake_wants_kick(struct fake_driver *drv, unsigned qi, uint16_t old);

/* fake_kick() - one kick, on this thread. fake_settle() - deliver the kicks the device asked for
 * itself until there are none. Return: how many (at most 1000). */
void fake_kick(struct fake_driver *drv, unsigned qi);
unsigned fake_settle(struct fake_driver *drv);

/* fake_used() - take the next used entry; *head and *written may be NULL. Return: was there one?
 * Frees the chain's descriptors and asks for an interrupt at the next entry (used_event). */
bool fake_used(struct fake_driver *drv, unsigned qi, uint32_t *head, uint32_t *written);

/* fake_wait_used() - fake_used() that waits up to @timeout_ms for a device with threads. */
bool fake_wait_used(struct fake_driver *drv, unsigned qi, uint32_t *head, uint32_t *written,
	unsigned timeout_ms);

/*
 * fake_request() - post @out (readable, NULL: none) and room for @in (writable, NULL: none), kick,
 * settle, wait up to 10 s, copy the answer back
 * Return: bytes written by the device, or -ETIMEDOUT / -ENOSPC
 */
int fake_request(struct fake_driver *drv, unsigned qi, const void *out, uint32_t out_len, void *in,
	uint32_t in_len);

/* fake_config_read()/_write() - config space as a transport would, bounds included. */
void fake_config_read(struct fake_driver *drv, uint32_t off, void *dst, uint32_t len);
void fake_config_write(struct fake_driver *drv, uint32_t off, const void *src, uint32_t len);

/* ---- a lying one: no bookkeeping, everything as given; slots are taken modulo the ring size ----
 */

void fake_write_desc(struct fake_driver *drv, unsigned qi, unsigned slot, struct virtq_desc desc);
void fake_write_desc_at(struct fake_driver *drv, uint64_t gpa, struct virtq_desc desc);
void fake_write_avail(struct fake_driver *drv, unsigned qi, unsigned slot, uint16_t head);
void fake_write_avail_idx(struct fake_driver *drv, unsigned qi, uint16_t idx);
void fake_write_avail_flags(struct fake_driver *drv, unsigned qi, uint16_t flags);
void fake_write_used_event(struct fake_driver *drv, unsigned qi, uint16_t idx);
/* fake_post_head() - make @head available, whatever its descriptors say. */
void fake_post_head(struct fake_driver *drv, unsigned qi, uint16_t head);
uint16_t fake_used_idx(struct fake_driver *drv, unsigned qi);
uint16_t fake_avail_event(struct fake_driver *drv, unsigned qi);

/* fake_signals() - interrupts of queue @qi so far. */
unsigned fake_signals(struct fake_driver *drv, unsigned qi);

/* fake_is_broken() - did the device ask for a reset? */
bool fake_is_broken(struct fake_driver *drv);

#endif
