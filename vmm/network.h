/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside vmm/: the network of a machine, that is the stack, its device and the thread that both
 * live on. A thread of its own, because the stack moves all the bytes itself: on the machine's loop
 * a download would delay console and file system requests, and they the download.
 *
 * Order: vm_network_new() opens everything; an engine takes the device and gives it a transport on
 * vm_network_loop(); vm_network_start() after the process was confined; vm_network_stop() before
 * the device is touched from another thread again; vm_network_free() when transport and device are
 * gone. All functions but _new() and the getters accept NULL: no network.
 */
#ifndef VMM_NETWORK_H
#define VMM_NETWORK_H

#include "virtio/device.h"
#include "vmm/vmm.h"

struct vm_network;

/* vm_network_new() - Return: 0; -errno of net_new(): a published port that cannot be bound, ... */
int vm_network_new(const struct vm_net *cfg, struct vm_network **ret, struct err *err);
void vm_network_free(struct vm_network *network);

/* vm_network_take_dev() - the device, the caller's from now on (virtio_dev_free()). Once. */
struct virtio_dev *vm_network_take_dev(struct vm_network *network);

struct loop *vm_network_loop(struct vm_network *network);
const struct net_plan *vm_network_plan(const struct vm_network *network);

/* vm_network_start() - start the thread. Return: 0; -errno */
int vm_network_start(struct vm_network *network, struct err *err);

/* vm_network_stop() - end the thread and wait for it; fine when it does not run. */
void vm_network_stop(struct vm_network *network);

#endif
