/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/qemu/devices.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/num.h"
#include "virtio/fs.h"
#include "vmm/disk.h"
#include "vmm/network.h"

/* Between QEMU closing its first socket and its end. */
#define EXIT_GRACE_NS (5 * NS_PER_S)

static void on_grace(void *ctx)
{
	struct qemu_devices *devices = ctx;
	char what[ERR_MSG_MAX];

	(void)snprintf(what, sizeof(what), "QEMU gave up %s and went on", devices->closed);
	devices->broken(devices->ctx, what);
}

/*
 * QEMU's end closing (code 0) is QEMU's business: its exit says more. But a QEMU that does without
 * one of its devices has a guest that waits for ever.
 */
static void ended(struct qemu_device *d, const struct err *why)
{
	struct qemu_devices *all = d->all;
	struct err what = ERR_INIT;

	if (!why->code) {
		if (!all->closed[0])
			loop_timer_arm(all->grace, clock_mono_ns() + EXIT_GRACE_NS);
		(void)snprintf(all->closed, sizeof(all->closed), "%s", d->name);
		return;
	}
	(void)err_msg(&what, why->code, "%s failed: %s", d->name, why->msg);
	all->broken(all->ctx, what.msg);
}

static void on_ended_elsewhere(void *ctx)
{
	struct qemu_device *d = ctx;

	ended(d, &d->end);
}

/* Once per device. Without memory the machine ends by QEMU's own end, as it will soon. */
static void on_hangup(void *ctx, const struct err *why)
{
	struct qemu_device *d = ctx;

	if (d->loop == d->all->loop) {
		ended(d, why);
		return;
	}
	d->end = *why;
	(void)loop_post(d->all->loop, on_ended_elsewhere, d);
}

/* Never of the network's device, whose start cannot fail: this is not for its thread. */
static void on_start_failed(void *ctx, const char *why)
{
	struct qemu_device *d = ctx;
	struct err what = ERR_INIT;

	(void)err_msg(&what, EIO, "%s could not start: %s", d->name, why);
	d->all->broken(d->all->ctx, what.msg);
}

/* Serve d->dev on one end of a new socket; the other end is for QEMU. */
static int serve(struct qemu_device *d, struct loop *loop, struct err *err)
{
	cleanup_fd int ours = -1;
	int pair[2], rc;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return err_set(err, errno, "create device socket");
	ours = pair[0];
	d->peer_fd = pair[1];
	d->loop = loop;
	d->dev->start_failed = on_start_failed;
	d->dev->start_failed_ctx = d;
	rc = vhost_user_attach(d->dev, ours, loop, on_hangup, d, &d->transport, err);
	if (rc == 0)
		(void)take_fd(&ours);
	return rc;
}

static struct qemu_device *next_device(struct qemu_devices *devices)
{
	struct qemu_device *d = &devices->device[devices->n++];

	*d = (struct qemu_device){ .all = devices, .peer_fd = -1 };
	return d;
}

static int add_share(struct qemu_devices *devices, struct vm *vm, unsigned i, struct err *err)
{
	struct qemu_device *d = next_device(devices);
	int rc;

	(void)snprintf(d->name, sizeof(d->name), "share '%s'", vm->cfg.fs[i].tag);
	rc = virtio_fs_new(vm->cfg.fs[i].tag, vm->fs[i], &d->dev, err);
	if (rc < 0)
		return rc;
	vm->fs[i] = NULL; /* the device's now */
	return serve(d, vm->loop, err);
}

static int add_disk(struct qemu_devices *devices, struct vm *vm, unsigned i, struct err *err)
{
	const struct vm_disk *disk = &vm->cfg.disk[i];
	struct qemu_device *d = next_device(devices);
	int rc;

	vm_disk_name(disk, i, d->name, sizeof(d->name));
	rc = vm_disk_new(disk, &d->dev, err);
	return rc < 0 ? rc : serve(d, vm->loop, err);
}

static int add_network(struct qemu_devices *devices, struct vm *vm, struct err *err)
{
	struct qemu_device *d = next_device(devices);

	(void)snprintf(d->name, sizeof(d->name), "network");
	d->dev = vm_network_take_dev(vm->network);
	return serve(d, vm_network_loop(vm->network), err);
}

int qemu_devices_init(struct qemu_devices *devices, struct vm *vm, qemu_broken_fn *broken,
	void *ctx, struct err *err)
{
	int rc;

	devices->broken = broken;
	devices->ctx = ctx;
	devices->loop = vm->loop;
	rc = loop_timer_new(vm->loop, on_grace, devices, &devices->grace, err);
	if (rc < 0)
		return rc;
	for (unsigned i = 0; rc == 0 && i < vm->cfg.n_fs; i++)
		rc = add_share(devices, vm, i, err);
	for (unsigned i = 0; rc == 0 && i < vm->cfg.n_disks; i++)
		rc = add_disk(devices, vm, i, err);
	if (rc == 0 && vm->network)
		rc = add_network(devices, vm, err);
	return rc < 0 ? err_wrap(err, "%s", devices->device[devices->n - 1].name) : 0;
}

void qemu_devices_close_peers(struct qemu_devices *devices)
{
	for (unsigned i = 0; i < devices->n; i++)
		close_fd(&devices->device[i].peer_fd);
}

void qemu_devices_release(struct qemu_devices *devices)
{
	for (unsigned i = 0; i < devices->n; i++) {
		loop_unpost(devices->loop, on_ended_elsewhere, &devices->device[i]);
		vhost_user_free(devices->device[i].transport);
		virtio_dev_free(devices->device[i].dev);
		close_fd(&devices->device[i].peer_fd);
	}
	devices->n = 0;
	loop_timer_remove(&devices->grace);
}
