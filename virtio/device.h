/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a virtio device is to a transport, and the reverse. A device file holds a struct with
 * `struct virtio_dev` first, its callbacks, and one const struct virtio_dev_ops; the same object
 * serves under virtio-mmio (kvm engine), vhost-user (qemu engine) and the fake driver (tests).
 *
 * Threads and locks: dev->lock is held by the transport around every op but `free`, and must be
 * taken by the device in its own loop callbacks (host fd readable, timer). Kicks come on the thread
 * of dev->loop, and so do vhost-user messages; config accesses, activate and reset may come on a
 * vCPU's thread (mmio register writes): there, and in anything they call, watches and timers of the
 * loop must not be touched; use loop_post(). Ops must not block on the guest, and reset must not
 * wait for the loop's thread, which may be waiting for dev->lock.
 *
 * A device with worker threads lets them call virtio_dev_pop(), _complete(), _flush(), _rekick()
 * and _fail(): these are safe on any thread, with or without dev->lock. Workers must not take
 * dev->lock, because `reset` waits for them while holding it. Lock order: dev->lock, then
 * the device's own locks, then queue locks.
 *
 * Life cycle: created -> attached (transport, memory, loop) -> active (driver said DRIVER_OK;
 * queues enabled) -> reset -> active ... -> freed. `activate` comes once per round, `reset` undoes
 * it. A queue may become enabled after `activate` (vhost-user); popping a disabled queue finds
 * nothing, and each queue gets a kick when it becomes enabled.
 */
#ifndef VIRTIO_DEVICE_H
#define VIRTIO_DEVICE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/log.h"
#include "lib/loop.h"
#include "virtio/guest_mem.h"
#include "virtio/queue.h"

#define VIRTIO_ID_NET	  1
#define VIRTIO_ID_BLOCK	  2
#define VIRTIO_ID_CONSOLE 3
#define VIRTIO_ID_RNG	  4
#define VIRTIO_ID_BALLOON 5
#define VIRTIO_ID_VSOCK	  19
#define VIRTIO_ID_FS	  26

#define VIRTIO_DEV_MAX_QUEUES 70

struct virtio_dev;

struct virtio_dev_ops {
	const char *name; /* "rng": for logs and options */
	uint32_t id;	  /* VIRTIO_ID_* */

	/*
	 * read config space: [off, off + len) lies within dev->config_len. Multi-byte fields are
	 * little-endian. NULL when config_len is 0.
	 */
	void (*config_read)(struct virtio_dev *dev, uint32_t off, void *dst, uint32_t len);
	/* write, same bounds; NULL: writes are ignored */
	void (*config_write)(struct virtio_dev *dev, uint32_t off, const void *src, uint32_t len);

	/* the driver is ready; enabled queues are live. May fail: the device then needs a reset.
	 * NULL: nothing */
	int (*activate)(struct virtio_dev *dev, struct err *err);
	/* the driver kicked queue @qi (enabled, device active); spurious calls happen. Work per
	 * call must be bounded: leave the rest to virtio_dev_rekick() */
	void (*kick)(struct virtio_dev *dev, unsigned qi);
	/* give every chain up or finish it; on return no thread of the device touches queue or
	 * guest memory. Comes for active devices only. NULL: nothing */
	void (*reset)(struct virtio_dev *dev);
	/* free the whole object (virtio_dev_release() within); never called on an active device */
	void (*free)(struct virtio_dev *dev);
};

/* What a transport offers a device. Called with dev->lock or not, from any thread; must not block
 * and must not take dev->lock. */
struct virtio_transport_ops {
	void (*signal_queue)(struct virtio_dev *dev, unsigned qi);
	void (*signal_config)(struct virtio_dev *dev); /* config space changed */
	void (*needs_reset)(struct virtio_dev *dev);   /* DEVICE_NEEDS_RESET + config interrupt */
	/* kick queue @qi again from the loop, in a later round */
	void (*rekick)(struct virtio_dev *dev, unsigned qi);
	/* a paused queue has nothing in flight any more; may be NULL */
	void (*drained)(struct virtio_dev *dev, unsigned qi);
};

/*
 * struct virtio_dev - base of every device
 * Set by the device's constructor: ops, features, n_queues, queue[].max_size, config_len.
 */
struct virtio_dev {
	const struct virtio_dev_ops *ops;
	uint64_t features; /* offered; VERSION_1, INDIRECT_DESC, EVENT_IDX are added by
			      virtio_dev_init() */
	unsigned n_queues;
	struct virtqueue *queue; /* array of n_queues, freed by virtio_dev_release() */
	uint32_t config_len;

	uint64_t acked; /* features the driver accepted: always a subset of features */
	bool active;
	bool broken; /* atomic: virtio_dev_fail() until reset */
	int warned;  /* atomic: virtio_dev_warn() spoke; a reset does not clear it */
	pthread_mutex_t lock;
	struct loop *loop;     /* borrowed; where kick fds and the device's own fds are watched */
	struct guest_mem *mem; /* current table; a reference */
	const struct virtio_transport_ops *transport;
	void *transport_ctx; /* the transport's */

	/*
	 * The machine's, or NULL: activate failed because of the host. Drivers do not look at
	 * NEEDS_RESET, so a guest that waits for the device would hang; its machine is to end.
	 * Called with dev->lock held, on the thread of activate.
	 */
	void (*start_failed)(void *ctx, const char *why);
	void *start_failed_ctx;
};

/*
 * virtio_dev_init() - base part of a constructor
 * @dev: zeroed memory; ops and sizes are not copied: ops is borrowed, sizes only read
 * @sizes: max size of each queue, @n_queues (1 to VIRTIO_DEV_MAX_QUEUES) of them
 * Return: 0; -ENOMEM
 */
int virtio_dev_init(struct virtio_dev *dev, const struct virtio_dev_ops *ops, uint64_t features,
	const uint16_t *sizes, unsigned n_queues, uint32_t config_len, struct err *err);

/* virtio_dev_release() - base part of a destructor; fine on a @dev whose init failed or never ran.
 */
void virtio_dev_release(struct virtio_dev *dev);

/* virtio_dev_free() - ops->free with NULL tolerated. */
void virtio_dev_free(struct virtio_dev *dev);

/* virtio_dev_has() - did the driver accept @feature (a bit number)? Fixed while active. */
static inline bool virtio_dev_has(const struct virtio_dev *dev, unsigned feature)
{
	return dev->acked & VIRTIO_BIT(feature);
}

/* ---- for devices, on any thread ---- */

/*
 * virtio_dev_pop() - virtqueue_pop() on queue @qi; a broken ring fails the device
 * Return: 1 and *chain; 0 nothing to do (also: broken device); -E2BIG chain->head needs more than
 * chain->iov_max entries: complete it with 0 bytes or an error
 */
int virtio_dev_pop(struct virtio_dev *dev, unsigned qi, struct virtq_chain *chain);

/*
 * virtio_dev_complete() - push @head with @written bytes; virtio_dev_flush() then interrupts if the
 * driver wants it. Two steps so that a batch costs one interrupt.
 */
void virtio_dev_complete(struct virtio_dev *dev, unsigned qi, uint16_t head, uint32_t written);
void virtio_dev_flush(struct virtio_dev *dev, unsigned qi);

/* virtio_dev_rekick() - have ops->kick(@qi) called again from the loop after other events had their
 * turn: for devices that bound their work per kick. */
void virtio_dev_rekick(struct virtio_dev *dev, unsigned qi);

/* virtio_dev_config_changed() - tell the driver to read config space again. Hold dev->lock from the
 * change until after this call: then the driver never takes a half-changed config for a whole one.
 */
void virtio_dev_config_changed(struct virtio_dev *dev);

/* virtio_dev_warn() - log a line that the guest can provoke: one per device and life. */
#define virtio_dev_warn(dev, ...)                                                                  \
	do {                                                                                       \
		if (!__atomic_exchange_n(&(dev)->warned, 1, __ATOMIC_RELAXED))                     \
			log_warn(__VA_ARGS__);                                                     \
	} while (0)

/* virtio_dev_fail() - the driver broke the protocol: log once, DEVICE_NEEDS_RESET, ignore kicks
 * until reset. @why: string literal */
void virtio_dev_fail(struct virtio_dev *dev, const char *why);

/* ---- for transports: with dev->lock held ---- */

/* virtio_dev_set_transport() - attach (or with NULLs detach); not while active. */
void virtio_dev_set_transport(struct virtio_dev *dev, const struct virtio_transport_ops *ops,
	void *ctx, struct loop *loop);

/* virtio_dev_set_mem() - replace dev->mem; takes its own reference; NULL: none. Enabled queues keep
 * the table they were enabled with. */
void virtio_dev_set_mem(struct virtio_dev *dev, struct guest_mem *mem);

/* virtio_dev_activate() - queues are enabled, features acked: start. On failure the device is
 * active and failed: it waits for its reset. */
int virtio_dev_activate(struct virtio_dev *dev, struct err *err);

/* virtio_dev_kick() - pass a kick on if the device is active, well, and has that queue enabled. */
void virtio_dev_kick(struct virtio_dev *dev, unsigned qi);

/* virtio_dev_reset() - device and all queues, acked = 0; fine in any state. */
void virtio_dev_reset(struct virtio_dev *dev);

#endif
