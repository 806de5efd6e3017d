/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Network device (virtio 1.2, 5.1): one receive and one transmit queue in front of a `struct net`.
 *
 * Offered: MAC, MTU, STATUS (the link is always up), MRG_RXBUF, and every offload that the stack
 * takes or gives: CSUM, GUEST_CSUM, HOST_TSO4/6, HOST_UFO, HOST_USO, GUEST_TSO4/6, GUEST_UFO.
 *
 * Not offered: a control queue, since address, VLANs and filters of a cable with one other end are
 * of no use; and several queue pairs, since the stack behind runs on one thread by design (flows
 * share limits, name index and address tables), which a single queue keeps busy.
 */
#ifndef VIRTIO_NET_H
#define VIRTIO_NET_H

#include "net/net.h"
#include "virtio/device.h"

/* Not less: QEMU's virtio-mmio offers the driver this size whatever the device has. */
#define VIRTIO_NET_QUEUE_SIZE 1024

/*
 * struct virtio_net_params
 * @net:  borrowed; lives until the device is freed. Without a cable: the device plugs itself in
 *	  when a driver starts it, and out when it is reset, which drops the guest's flows.
 * @loop: what @net runs on. The transport must be given the same one.
 */
struct virtio_net_params {
	struct net *net;
	struct loop *loop;
	struct mac mac;
	uint16_t mtu;
};

/* virtio_net_new() - Return: 0 and *ret_dev, freed by virtio_dev_free(); -ENOMEM. */
int virtio_net_new(
	const struct virtio_net_params *params, struct virtio_dev **ret_dev, struct err *err);

#endif
