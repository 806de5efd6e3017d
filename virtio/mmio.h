/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The modern virtio-mmio transport (virtio 1.2, 4.2): one page of registers in front of a device.
 *
 * Threads: virtio_mmio_read()/_write() may be called by any vCPU thread, several at once; they take
 * dev->lock except for the three registers of the fast path (interrupt status, acknowledge,
 * notify). Kicks reach the device on the loop's thread, through one eventfd per queue, whether KVM
 * signals it (ioeventfd) or the notify register does. Activation and reset happen on the vCPU's
 * thread, within the register write. Create and free happen on the loop's thread, free after the
 * vCPUs stopped.
 *
 * The status machine is strict: 0 -> ACKNOWLEDGE -> DRIVER -> FEATURES_OK -> DRIVER_OK, one bit at
 * a time; FAILED at any time, then only 0; 0 resets at any time. Every other write is ignored.
 * Queue registers can be written between FEATURES_OK and DRIVER_OK while the queue is not ready.
 */
#ifndef VIRTIO_MMIO_H
#define VIRTIO_MMIO_H

#include "virtio/device.h"

#define VIRTIO_MMIO_SIZE	 0x1000
#define VIRTIO_MMIO_QUEUE_NOTIFY 0x50

struct virtio_mmio;

/*
 * struct virtio_mmio_irq - how to raise the device's (edge-triggered) interrupt
 * @fd: eventfd (irqfd) to add 1 to, borrowed; -1: call @raise instead
 * @raise: any thread, dev->lock held or not; must not block
 */
struct virtio_mmio_irq {
	int fd;
	void (*raise)(void *ctx);
	void *ctx;
};

/*
 * virtio_mmio_new() - attach @dev (stays the caller's, outlives the transport)
 * @mem:  a reference is taken; rings and buffers must lie there
 * @loop: borrowed
 * Return: 0; -ENOMEM; -EMFILE
 */
int virtio_mmio_new(struct virtio_dev *dev, struct guest_mem *mem, struct loop *loop,
	const struct virtio_mmio_irq *irq, struct virtio_mmio **ret_mmio, struct err *err);

/* virtio_mmio_free() - reset and detach the device; NULL is fine. */
void virtio_mmio_free(struct virtio_mmio *mmio);

/* virtio_mmio_kick_fd() - the eventfd of queue @qi (< dev->n_queues), for KVM_IOEVENTFD at base +
 * VIRTIO_MMIO_QUEUE_NOTIFY, length 4, datamatch @qi. Borrowed. */
int virtio_mmio_kick_fd(const struct virtio_mmio *mmio, unsigned qi);

/*
 * virtio_mmio_read()/virtio_mmio_write() - a guest access at @off from the base
 * Any offset and length are fine: what is out of place, mis-sized or misaligned reads as zero and
 * is not written.
 */
void virtio_mmio_read(struct virtio_mmio *mmio, uint64_t off, void *data, uint32_t len);
void virtio_mmio_write(struct virtio_mmio *mmio, uint64_t off, const void *data, uint32_t len);

#endif
