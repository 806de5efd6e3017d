/* SPDX-License-Identifier: Apache-2.0 */
/* Our devices behind vhost-user sockets: the shares and disks of a machine on the qemu engine. */
#ifndef VMM_QEMU_DEVICES_H
#define VMM_QEMU_DEVICES_H

#include "virtio/device.h"
#include "vmm/engine.h"

struct vhost_user;

/* struct qemu_device - @peer_fd: QEMU's end of the socket, -1 once it has been handed over */
struct qemu_device {
	struct virtio_dev *dev;
	struct vhost_user *transport;
	int peer_fd;
};

struct qemu_devices {
	struct qemu_device fs[VM_MAX_FS], disk[VM_MAX_DISKS];
	unsigned n_fs, n_disks;
};

/*
 * qemu_devices_init() - create every share and disk of @vm and serve it on vm->loop
 * Return: 0; -errno (then qemu_devices_release() still has to be called)
 */
int qemu_devices_init(struct qemu_devices *devices, struct vm *vm, struct err *err);

/* qemu_devices_close_peers() - QEMU has its ends now. */
void qemu_devices_close_peers(struct qemu_devices *devices);

void qemu_devices_release(struct qemu_devices *devices);

#endif
