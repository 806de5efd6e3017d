/* SPDX-License-Identifier: Apache-2.0 */
/* Our devices behind vhost-user sockets: the shares, disks and network of a machine on the
 * qemu engine. */
#ifndef VMM_QEMU_DEVICES_H
#define VMM_QEMU_DEVICES_H

#include "virtio/device.h"
#include "virtio/vhost_user.h"
#include "vmm/engine.h"

#define QEMU_MAX_SERVED (VM_MAX_FS + VM_MAX_DISKS + 1)

/* qemu_broken_fn - a device cannot go on: @what is one line; loop thread, at most once per device
 */
typedef void qemu_broken_fn(void *ctx, const char *what);

#define QEMU_NAME_MAX 256

struct qemu_devices;

/*
 * struct qemu_device - @peer_fd: QEMU's end of the socket, -1 once it has been handed over
 * @end: why its connection ended, on the way from another thread (the network's) to the loop's
 */
struct qemu_device {
	struct qemu_devices *all;
	struct virtio_dev *dev;
	struct vhost_user *transport;
	struct loop *loop; /* what it is served on */
	int peer_fd;
	char name[QEMU_NAME_MAX]; /* for messages */
	struct err end;
};

/* struct qemu_devices - shares first, in the order of the configuration, then disks, then the
 * network */
struct qemu_devices {
	struct qemu_device device[QEMU_MAX_SERVED];
	unsigned n;
	struct loop *loop;
	qemu_broken_fn *broken;
	void *ctx;
	struct loop_timer *grace;   /* QEMU closed a device's socket; by then it should be gone */
	char closed[QEMU_NAME_MAX]; /* which one */
};

/*
 * qemu_devices_init() - create every share and disk of @vm and serve it on vm->loop; the network on
 * a loop of its own
 * Takes vm->fs[] and the network's device over.
 * Return: 0; -errno (then qemu_devices_release() still has to be called)
 */
int qemu_devices_init(struct qemu_devices *devices, struct vm *vm, qemu_broken_fn *broken,
	void *ctx, struct err *err);

/* qemu_devices_close_peers() - QEMU has its ends now. */
void qemu_devices_close_peers(struct qemu_devices *devices);

void qemu_devices_release(struct qemu_devices *devices);

#endif
