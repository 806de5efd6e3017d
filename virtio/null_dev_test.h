/* SPDX-License-Identifier: Apache-2.0 */
/* For tests: a device without behaviour, whose queues the test pops and pushes itself. */
#ifndef VIRTIO_NULL_DEV_TEST_H
#define VIRTIO_NULL_DEV_TEST_H

#include <stdlib.h>
#include <string.h>

#include "virtio/fake_driver.h"

#define NULL_DEV_QUEUES 2

struct null_dev {
	struct virtio_dev dev;
	unsigned activations, kicks, resets;
	int activate_ret;
	uint8_t config[16];
};

static int null_activate(struct virtio_dev *dev, struct err *err)
{
	struct null_dev *nd = (struct null_dev *)dev;

	nd->activations++;
	return nd->activate_ret;
}

static void null_kick(struct virtio_dev *dev, unsigned qi)
{
	__atomic_add_fetch(&((struct null_dev *)dev)->kicks, 1, __ATOMIC_RELAXED);
}

static void null_reset(struct virtio_dev *dev)
{
	((struct null_dev *)dev)->resets++;
}

static void null_config_read(struct virtio_dev *dev, uint32_t off, void *dst, uint32_t len)
{
	memcpy(dst, ((struct null_dev *)dev)->config + off, len);
}

static void null_config_write(struct virtio_dev *dev, uint32_t off, const void *src, uint32_t len)
{
	memcpy(((struct null_dev *)dev)->config + off, src, len);
}

static void null_free(struct virtio_dev *dev)
{
	virtio_dev_release(dev);
	free(dev);
}

static const struct virtio_dev_ops null_dev_ops = {
	.name = "null",
	.id = 4,
	.config_read = null_config_read,
	.config_write = null_config_write,
	.activate = null_activate,
	.kick = null_kick,
	.reset = null_reset,
	.free = null_free,
};

static inline struct null_dev *null_dev_new(uint16_t queue_size)
{
	struct null_dev *nd = calloc(1, sizeof(*nd));
	const uint16_t sizes[NULL_DEV_QUEUES] = { queue_size, queue_size };

	if (!nd || virtio_dev_init(&nd->dev, &null_dev_ops, VIRTIO_BIT(5), sizes, NULL_DEV_QUEUES,
			   sizeof(nd->config), NULL) < 0)
		abort();
	return nd;
}

#endif
