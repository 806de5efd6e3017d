/* SPDX-License-Identifier: Apache-2.0 */
#include "virtio/mmio.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "lib/log.h"
#include "lib/num.h"

/* Registers, 4.2.2 */
enum {
	REG_MAGIC = 0x00,
	REG_VERSION = 0x04,
	REG_DEVICE_ID = 0x08,
	REG_VENDOR_ID = 0x0c,
	REG_DEVICE_FEATURES = 0x10,
	REG_DEVICE_FEATURES_SEL = 0x14,
	REG_DRIVER_FEATURES = 0x20,
	REG_DRIVER_FEATURES_SEL = 0x24,
	REG_QUEUE_SEL = 0x30,
	REG_QUEUE_NUM_MAX = 0x34,
	REG_QUEUE_NUM = 0x38,
	REG_QUEUE_READY = 0x44,
	REG_QUEUE_NOTIFY = VIRTIO_MMIO_QUEUE_NOTIFY,
	REG_INTERRUPT_STATUS = 0x60,
	REG_INTERRUPT_ACK = 0x64,
	REG_STATUS = 0x70,
	REG_QUEUE_DESC_LOW = 0x80,
	REG_QUEUE_DESC_HIGH = 0x84,
	REG_QUEUE_AVAIL_LOW = 0x90,
	REG_QUEUE_AVAIL_HIGH = 0x94,
	REG_QUEUE_USED_LOW = 0xa0,
	REG_QUEUE_USED_HIGH = 0xa4,
	REG_SHM_LEN_LOW = 0xb0,
	REG_SHM_LEN_HIGH = 0xb4,
	REG_SHM_BASE_LOW = 0xb8,
	REG_SHM_BASE_HIGH = 0xbc,
	REG_CONFIG_GENERATION = 0xfc,
	REG_CONFIG = 0x100,
};

#define MAGIC	0x74726976 /* "virt" */
#define VERSION 2

#define INT_QUEUE  1
#define INT_CONFIG 2

enum {
	STATUS_ACKNOWLEDGE = 1,
	STATUS_DRIVER = 2,
	STATUS_DRIVER_OK = 4,
	STATUS_FEATURES_OK = 8,
	STATUS_NEEDS_RESET = 64,
	STATUS_FAILED = 128,
};

/* One per queue, so that a kick knows its queue. */
struct mmio_kick {
	struct virtio_mmio *mmio;
	unsigned qi;
	int fd;
	struct loop_watch *watch;
};

/*
 * struct virtio_mmio
 * Guarded by dev->lock: status (written; read atomically by needs_reset), the selectors. Atomic:
 * isr, generation.
 */
struct virtio_mmio {
	struct virtio_dev *dev;
	struct virtio_mmio_irq irq;
	uint32_t status; /* without NEEDS_RESET, which is dev->broken */
	uint32_t device_features_sel, driver_features_sel, queue_sel;
	uint32_t isr, generation;
	struct mmio_kick *kick; /* dev->n_queues of them */
};

/* ---- to the guest ---- */

static void raise_irq(struct virtio_mmio *m, uint32_t bit)
{
	/*
	 * RELEASE: the used ring or config data that the bit announces comes before the bit; pairs
	 * with the ACQUIRE load of the status register.
	 */
	__atomic_fetch_or(&m->isr, bit, __ATOMIC_RELEASE);
	if (m->irq.fd >= 0)
		(void)eventfd_write(m->irq.fd, 1);
	else
		m->irq.raise(m->irq.ctx);
}

static void on_signal_queue(struct virtio_dev *dev, unsigned qi)
{
	raise_irq(dev->transport_ctx, INT_QUEUE);
}

static void signal_config(struct virtio_mmio *m)
{
	__atomic_add_fetch(&m->generation, 1, __ATOMIC_RELEASE);
	/* Before DRIVER_OK the driver has no handler yet and will read the config anyway. */
	if (__atomic_load_n(&m->status, __ATOMIC_ACQUIRE) & STATUS_DRIVER_OK)
		raise_irq(m, INT_CONFIG);
}

static void on_signal_config(struct virtio_dev *dev)
{
	signal_config(dev->transport_ctx);
}

static void on_needs_reset(struct virtio_dev *dev)
{
	signal_config(dev->transport_ctx); /* the status register shows dev->broken */
}

static void kick_fd_add(struct virtio_mmio *m, unsigned qi)
{
	(void)eventfd_write(m->kick[qi].fd, 1);
}

static void on_rekick(struct virtio_dev *dev, unsigned qi)
{
	kick_fd_add(dev->transport_ctx, qi);
}

static const struct virtio_transport_ops mmio_transport = {
	.signal_queue = on_signal_queue,
	.signal_config = on_signal_config,
	.needs_reset = on_needs_reset,
	.rekick = on_rekick,
};

/* ---- from the guest: kicks ---- */

static void on_kick_fd(void *ctx, int fd, uint32_t events)
{
	struct mmio_kick *k = ctx;
	struct virtio_dev *dev = k->mmio->dev;
	eventfd_t n;

	(void)eventfd_read(fd, &n);
	pthread_mutex_lock(&dev->lock);
	virtio_dev_kick(dev, k->qi);
	pthread_mutex_unlock(&dev->lock);
}

/* ---- registers ---- */

static struct virtqueue *selected(struct virtio_mmio *m)
{
	return m->queue_sel < m->dev->n_queues ? &m->dev->queue[m->queue_sel] : NULL;
}

static uint32_t read_status(const struct virtio_mmio *m)
{
	bool broken = __atomic_load_n(&m->dev->broken, __ATOMIC_RELAXED);

	return m->status | (broken ? STATUS_NEEDS_RESET : 0);
}

static uint32_t half(uint64_t v, uint32_t sel)
{
	return sel == 0 ? (uint32_t)v : sel == 1 ? (uint32_t)(v >> 32) : 0;
}

static uint32_t read_register(struct virtio_mmio *m, uint64_t off)
{
	const struct virtqueue *q = selected(m);

	switch (off) {
	case REG_MAGIC:
		return MAGIC;
	case REG_VERSION:
		return VERSION;
	case REG_DEVICE_ID:
		return m->dev->ops->id;
	case REG_DEVICE_FEATURES:
		return half(m->dev->features, m->device_features_sel);
	case REG_QUEUE_NUM_MAX:
		return q ? q->max_size : 0;
	case REG_QUEUE_READY:
		return q ? q->enabled : 0;
	case REG_STATUS:
		return read_status(m);
	case REG_SHM_LEN_LOW: /* all ones: there is no such region */
	case REG_SHM_LEN_HIGH:
	case REG_SHM_BASE_LOW:
	case REG_SHM_BASE_HIGH:
		return UINT32_MAX;
	case REG_CONFIG_GENERATION:
		return __atomic_load_n(&m->generation, __ATOMIC_ACQUIRE);
	default: /* REG_VENDOR_ID, write-only and reserved ones */
		return 0;
	}
}

static void set_status(struct virtio_mmio *m, uint32_t status)
{
	__atomic_store_n(&m->status, status, __ATOMIC_RELEASE);
}

static void reset(struct virtio_mmio *m)
{
	set_status(m, 0); /* first: what the device says while it stops interrupts nobody */
	virtio_dev_reset(m->dev);
	for (unsigned i = 0; i < m->dev->n_queues; i++) {
		m->dev->queue[i].size = m->dev->queue[i].max_size;
		m->dev->queue[i].addr = (struct virtqueue_addr){ 0 };
	}
	m->device_features_sel = m->driver_features_sel = m->queue_sel = 0;
	__atomic_store_n(&m->isr, 0, __ATOMIC_RELEASE);
}

static void activate(struct virtio_mmio *m)
{
	set_status(m, m->status | STATUS_DRIVER_OK);
	if (virtio_dev_activate(m->dev, NULL) < 0)
		return; /* the status register says so */
	/* Whatever was posted before the device could listen. */
	for (unsigned i = 0; i < m->dev->n_queues; i++) {
		if (m->dev->queue[i].enabled)
			kick_fd_add(m, i);
	}
}

static void accept_features(struct virtio_mmio *m)
{
	/* Without VERSION_1 this would be another protocol: the bit stays clear, which says no. */
	if (virtio_dev_has(m->dev, VIRTIO_F_VERSION_1))
		set_status(m, m->status | STATUS_FEATURES_OK);
}

/* write_status() - see the header for the transitions there are. */
static void write_status(struct virtio_mmio *m, uint32_t value)
{
	uint32_t ok[] = { 0, STATUS_ACKNOWLEDGE, STATUS_DRIVER, STATUS_FEATURES_OK,
		STATUS_DRIVER_OK };
	uint32_t sum = 0;

	value &= ~(uint32_t)STATUS_NEEDS_RESET; /* drivers write back what they read */
	if (value == 0) {
		reset(m);
		return;
	}
	if (m->status & STATUS_FAILED)
		return;
	if (value == (m->status | STATUS_FAILED)) {
		set_status(m, value);
		return;
	}
	for (unsigned i = 1; i < ARRAY_LEN(ok); i++) {
		if (m->status != sum || value != (sum | ok[i])) {
			sum |= ok[i];
			continue;
		}
		if (ok[i] == STATUS_DRIVER_OK)
			activate(m);
		else if (ok[i] == STATUS_FEATURES_OK)
			accept_features(m);
		else
			set_status(m, value);
		return;
	}
}

static bool status_is(const struct virtio_mmio *m, uint32_t set, uint32_t clear)
{
	return (m->status & set) == set && !(m->status & (clear | STATUS_FAILED));
}

static void write_driver_features(struct virtio_mmio *m, uint32_t value)
{
	uint64_t mask = m->driver_features_sel ? ~0ULL << 32 : UINT32_MAX;
	uint64_t bits = m->driver_features_sel ? (uint64_t)value << 32 : value;

	if (!status_is(m, STATUS_DRIVER, STATUS_FEATURES_OK) || m->driver_features_sel > 1)
		return;
	m->dev->acked = ((m->dev->acked & ~mask) | bits) & m->dev->features;
}

static void write_ready(struct virtio_mmio *m, struct virtqueue *q, uint32_t value)
{
	struct virtio_dev *dev = m->dev;
	struct err err = ERR_INIT;

	if (value == 0) {
		virtqueue_reset(q);
		return;
	}
	if (value != 1 || q->enabled)
		return;
	if (virtqueue_enable(q, dev->mem, dev->acked, 0, &err) == 0)
		return;
	virtio_dev_warn(dev, "%s device, queue %u: %s", dev->ops->name, m->queue_sel, err.msg);
	virtio_dev_fail(dev, "a queue cannot be used");
}

static void set_half(uint64_t *addr, bool high, uint32_t value)
{
	if (high)
		*addr = (*addr & UINT32_MAX) | (uint64_t)value << 32;
	else
		*addr = (*addr & ~(uint64_t)UINT32_MAX) | value;
}

static void write_queue(struct virtio_mmio *m, uint64_t off, uint32_t value)
{
	struct virtqueue *q = selected(m);

	if (!q || !status_is(m, STATUS_FEATURES_OK, STATUS_DRIVER_OK))
		return;
	if (off == REG_QUEUE_READY) {
		write_ready(m, q, value);
		return;
	}
	if (q->enabled)
		return;
	switch (off) {
	case REG_QUEUE_NUM: /* 0 will not be enabled, nor does a cut-off value look valid */
		q->size = value <= q->max_size ? (uint16_t)value : 0;
		break;
	case REG_QUEUE_DESC_LOW:
	case REG_QUEUE_DESC_HIGH:
		set_half(&q->addr.desc, off == REG_QUEUE_DESC_HIGH, value);
		break;
	case REG_QUEUE_AVAIL_LOW:
	case REG_QUEUE_AVAIL_HIGH:
		set_half(&q->addr.avail, off == REG_QUEUE_AVAIL_HIGH, value);
		break;
	default:
		set_half(&q->addr.used, off == REG_QUEUE_USED_HIGH, value);
		break;
	}
}

static void write_register(struct virtio_mmio *m, uint64_t off, uint32_t value)
{
	switch (off) {
	case REG_DEVICE_FEATURES_SEL:
		m->device_features_sel = value;
		break;
	case REG_DRIVER_FEATURES_SEL:
		m->driver_features_sel = value;
		break;
	case REG_DRIVER_FEATURES:
		write_driver_features(m, value);
		break;
	case REG_QUEUE_SEL:
		m->queue_sel = value;
		break;
	case REG_STATUS:
		write_status(m, value);
		break;
	case REG_QUEUE_NUM:
	case REG_QUEUE_READY:
	case REG_QUEUE_DESC_LOW:
	case REG_QUEUE_DESC_HIGH:
	case REG_QUEUE_AVAIL_LOW:
	case REG_QUEUE_AVAIL_HIGH:
	case REG_QUEUE_USED_LOW:
	case REG_QUEUE_USED_HIGH:
		write_queue(m, off, value);
		break;
	default: /* read-only and reserved ones; SHM select: no value selects anything */
		break;
	}
}

/* ---- accesses ---- */

static void read_config(struct virtio_mmio *m, uint64_t off, void *data, uint32_t len)
{
	struct virtio_dev *dev = m->dev;

	if (len > 0 && range_ok(off, len, dev->config_len))
		dev->ops->config_read(dev, (uint32_t)off, data, len);
}

static void write_config(struct virtio_mmio *m, uint64_t off, const void *data, uint32_t len)
{
	struct virtio_dev *dev = m->dev;

	if (status_is(m, STATUS_DRIVER, 0) && dev->ops->config_write && len > 0 &&
		range_ok(off, len, dev->config_len))
		dev->ops->config_write(dev, (uint32_t)off, data, len);
}

void virtio_mmio_read(struct virtio_mmio *mmio, uint64_t off, void *data, uint32_t len)
{
	memset(data, 0, len);
	if (off == REG_INTERRUPT_STATUS && len == 4) {
		store_le32(data, __atomic_load_n(&mmio->isr, __ATOMIC_ACQUIRE));
		return;
	}
	pthread_mutex_lock(&mmio->dev->lock);
	if (off >= REG_CONFIG)
		read_config(mmio, off - REG_CONFIG, data, len);
	else if (off % 4 == 0 && len == 4)
		store_le32(data, read_register(mmio, off));
	pthread_mutex_unlock(&mmio->dev->lock);
}

/* write_fast() - the registers of every request, without the lock. Return: was it one of them? */
static bool write_fast(struct virtio_mmio *m, uint64_t off, uint32_t value)
{
	if (off == REG_INTERRUPT_ACK) {
		__atomic_fetch_and(&m->isr, ~value, __ATOMIC_ACQ_REL);
		return true;
	}
	if (off != REG_QUEUE_NOTIFY)
		return false;
	if (value < m->dev->n_queues)
		kick_fd_add(m, value);
	return true;
}

void virtio_mmio_write(struct virtio_mmio *mmio, uint64_t off, const void *data, uint32_t len)
{
	bool is_register = off < REG_CONFIG && off % 4 == 0 && len == 4;

	if (is_register && write_fast(mmio, off, load_le32(data)))
		return;
	pthread_mutex_lock(&mmio->dev->lock);
	if (is_register)
		write_register(mmio, off, load_le32(data));
	else if (off >= REG_CONFIG)
		write_config(mmio, off - REG_CONFIG, data, len);
	pthread_mutex_unlock(&mmio->dev->lock);
}

/* ---- life cycle ---- */

static int add_kick(struct virtio_mmio *m, unsigned qi, struct loop *loop, struct err *err)
{
	struct mmio_kick *k = &m->kick[qi];

	k->mmio = m;
	k->qi = qi;
	k->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (k->fd < 0)
		return err_set(err, errno, "create an eventfd for queue %u of the %s device", qi,
			m->dev->ops->name);
	return loop_add(loop, k->fd, EPOLLIN, on_kick_fd, k, &k->watch, err);
}

static int add_kicks(struct virtio_mmio *m, struct loop *loop, struct err *err)
{
	for (unsigned i = 0; i < m->dev->n_queues; i++)
		m->kick[i].fd = -1;
	for (unsigned i = 0; i < m->dev->n_queues; i++) {
		int ret = add_kick(m, i, loop, err);

		if (ret < 0)
			return ret;
	}
	return 0;
}

int virtio_mmio_new(struct virtio_dev *dev, struct guest_mem *mem, struct loop *loop,
	const struct virtio_mmio_irq *irq, struct virtio_mmio **ret_mmio, struct err *err)
{
	cleanup_free struct virtio_mmio *m = calloc(1, sizeof(*m));
	cleanup_free struct mmio_kick *kick = calloc(dev->n_queues, sizeof(*kick));
	int ret;

	assert(irq->fd >= 0 || irq->raise);
	if (!m || !kick)
		return err_set(err, ENOMEM, "attach the %s device", dev->ops->name);
	m->dev = dev;
	m->irq = *irq;
	m->kick = take_ptr(&kick);
	ret = add_kicks(m, loop, err);
	if (ret < 0) {
		virtio_mmio_free(take_ptr(&m));
		return ret;
	}
	virtio_dev_set_transport(dev, &mmio_transport, m, loop);
	virtio_dev_set_mem(dev, mem);
	*ret_mmio = take_ptr(&m);
	return 0;
}

void virtio_mmio_free(struct virtio_mmio *mmio)
{
	if (!mmio)
		return;
	if (mmio->dev->transport_ctx == mmio) {
		pthread_mutex_lock(&mmio->dev->lock);
		reset(mmio);
		virtio_dev_set_transport(mmio->dev, NULL, NULL, NULL);
		virtio_dev_set_mem(mmio->dev, NULL);
		pthread_mutex_unlock(&mmio->dev->lock);
	}
	for (unsigned i = 0; i < mmio->dev->n_queues; i++) {
		loop_remove(&mmio->kick[i].watch);
		close_fd(&mmio->kick[i].fd);
	}
	free(mmio->kick);
	free(mmio);
}

int virtio_mmio_kick_fd(const struct virtio_mmio *mmio, unsigned qi)
{
	assert(qi < mmio->dev->n_queues);
	return mmio->kick[qi].fd;
}
