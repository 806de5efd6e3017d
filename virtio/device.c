/* SPDX-License-Identifier: Apache-2.0 */
#include "virtio/device.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "lib/log.h"

int virtio_dev_init(struct virtio_dev *dev, const struct virtio_dev_ops *ops, uint64_t features,
	const uint16_t *sizes, unsigned n_queues, uint32_t config_len, struct err *err)
{
	assert(n_queues >= 1 && n_queues <= VIRTIO_DEV_MAX_QUEUES);
	assert(config_len == 0 || ops->config_read);
	dev->queue = calloc(n_queues, sizeof(*dev->queue));
	if (!dev->queue)
		return err_set(err, ENOMEM, "create the %s device", ops->name);
	for (unsigned i = 0; i < n_queues; i++)
		virtqueue_init(&dev->queue[i], sizes[i]);
	dev->ops = ops;
	dev->n_queues = n_queues;
	dev->config_len = config_len;
	dev->features = features | VIRTIO_BIT(VIRTIO_F_VERSION_1) |
			VIRTIO_BIT(VIRTIO_F_INDIRECT_DESC) | VIRTIO_BIT(VIRTIO_F_EVENT_IDX);
	(void)pthread_mutex_init(&dev->lock, NULL);
	return 0;
}

void virtio_dev_release(struct virtio_dev *dev)
{
	if (!dev->queue)
		return;
	for (unsigned i = 0; i < dev->n_queues; i++)
		virtqueue_release(&dev->queue[i]);
	free(dev->queue);
	dev->queue = NULL;
	guest_mem_unref(dev->mem);
	dev->mem = NULL;
	(void)pthread_mutex_destroy(&dev->lock);
}

void virtio_dev_free(struct virtio_dev *dev)
{
	if (!dev)
		return;
	assert(!dev->active);
	dev->ops->free(dev);
}

static bool is_broken(const struct virtio_dev *dev)
{
	return __atomic_load_n(&dev->broken, __ATOMIC_RELAXED);
}

int virtio_dev_pop(struct virtio_dev *dev, unsigned qi, struct virtq_chain *chain)
{
	int ret;

	assert(qi < dev->n_queues);
	if (is_broken(dev))
		return 0;
	ret = virtqueue_pop(&dev->queue[qi], chain);
	if (ret != -EBADMSG)
		return ret;
	virtio_dev_fail(dev, dev->queue[qi].broken);
	return 0;
}

void virtio_dev_complete(struct virtio_dev *dev, unsigned qi, uint16_t head, uint32_t written)
{
	assert(qi < dev->n_queues);
	if (virtqueue_push(&dev->queue[qi], head, written) && dev->transport->drained)
		dev->transport->drained(dev, qi);
}

void virtio_dev_flush(struct virtio_dev *dev, unsigned qi)
{
	assert(qi < dev->n_queues);
	if (virtqueue_should_signal(&dev->queue[qi]) && dev->transport)
		dev->transport->signal_queue(dev, qi);
}

void virtio_dev_rekick(struct virtio_dev *dev, unsigned qi)
{
	assert(qi < dev->n_queues);
	if (dev->transport && !is_broken(dev))
		dev->transport->rekick(dev, qi);
}

void virtio_dev_config_changed(struct virtio_dev *dev)
{
	if (dev->transport)
		dev->transport->signal_config(dev);
}

void virtio_dev_fail(struct virtio_dev *dev, const char *why)
{
	if (__atomic_exchange_n(&dev->broken, true, __ATOMIC_ACQ_REL))
		return;
	virtio_dev_warn(dev, "%s device stopped until the guest resets it: %s", dev->ops->name,
		why ? why : "protocol error");
	if (dev->transport)
		dev->transport->needs_reset(dev);
}

void virtio_dev_set_transport(struct virtio_dev *dev, const struct virtio_transport_ops *ops,
	void *ctx, struct loop *loop)
{
	assert(!dev->active);
	dev->transport = ops;
	dev->transport_ctx = ctx;
	dev->loop = loop;
}

void virtio_dev_set_mem(struct virtio_dev *dev, struct guest_mem *mem)
{
	struct guest_mem *old = dev->mem;

	dev->mem = mem ? guest_mem_ref(mem) : NULL;
	guest_mem_unref(old);
}

int virtio_dev_activate(struct virtio_dev *dev, struct err *err)
{
	struct err local = ERR_INIT;
	int ret = 0;

	assert(!dev->active);
	dev->active = true;
	if (dev->ops->activate)
		ret = dev->ops->activate(dev, &local);
	if (ret == 0)
		return 0;
	virtio_dev_warn(dev, "activate the %s device: %s", dev->ops->name, local.msg);
	virtio_dev_fail(dev, "activation failed");
	if (dev->start_failed)
		dev->start_failed(dev->start_failed_ctx, local.msg);
	return err_msg(err, ret, "%s", local.msg);
}

void virtio_dev_kick(struct virtio_dev *dev, unsigned qi)
{
	if (!dev->active || is_broken(dev) || qi >= dev->n_queues || !dev->queue[qi].enabled)
		return;
	dev->ops->kick(dev, qi);
}

void virtio_dev_reset(struct virtio_dev *dev)
{
	if (dev->active && dev->ops->reset)
		dev->ops->reset(dev);
	dev->active = false;
	for (unsigned i = 0; i < dev->n_queues; i++)
		virtqueue_reset(&dev->queue[i]);
	dev->acked = 0;
	__atomic_store_n(&dev->broken, false, __ATOMIC_RELEASE);
}
