/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Entropy device (virtio 1.2, 5.4): one queue of device-writable buffers, no features, no config.
 * Also the pattern that other devices follow: a struct with the base first, callbacks, one const
 * ops table at the bottom of the file, work bounded per kick.
 */
#ifndef VIRTIO_RNG_H
#define VIRTIO_RNG_H

#include "virtio/device.h"

/* Most bytes one request gets, however large its buffers; the driver sees it in the used length. */
#define VIRTIO_RNG_REQUEST_MAX 65536

/* virtio_rng_new() - *ret_dev is freed with virtio_dev_free(). Return: 0; -ENOMEM */
int virtio_rng_new(struct virtio_dev **ret_dev, struct err *err);

#endif
