/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine's virtio devices: one 4 KiB window and one interrupt line each, in the order of
 * krun-api 3.9. A kick reaches the loop through an ioeventfd and an interrupt the guest through an
 * irqfd, both without this process's vCPU threads; other register accesses come through
 * devices_mmio().
 */
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "virtio/balloon.h"
#include "virtio/console.h"
#include "virtio/fs.h"
#include "virtio/mmio.h"
#include "virtio/rng.h"
#include "vmm/disk.h"
#include "vmm/kvm/kvm_internal.h"
#include "vmm/network.h"

#define DRAIN_MS      2000 /* how long a dead guest's console output may take to leave */
#define DRAIN_STEP_MS 5

static uint64_t base_of(unsigned slot)
{
	return LAYOUT_HOLE + (uint64_t)slot * LAYOUT_MMIO_SIZE;
}

static int wire_irq(struct machine *m, struct machine_dev *d, struct err *err)
{
	struct kvm_irqfd irq = { .gsi = d->irq };
	int r;

	d->irq_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (d->irq_fd < 0)
		return err_set(err, errno, "eventfd");
	irq.fd = (uint32_t)d->irq_fd;
	r = KVM_IOCTL(m->fd, KVM_IRQFD, &irq, err);
	return r < 0 ? r : 0;
}

static int wire_kicks(struct machine *m, struct machine_dev *d, struct err *err)
{
	for (unsigned qi = 0; qi < d->dev->n_queues; qi++) {
		struct kvm_ioeventfd kick = {
			.datamatch = qi,
			.addr = d->base + VIRTIO_MMIO_QUEUE_NOTIFY,
			.len = 4,
			.fd = virtio_mmio_kick_fd(d->mmio, qi),
			.flags = KVM_IOEVENTFD_FLAG_DATAMATCH,
		};
		int r = KVM_IOCTL(m->fd, KVM_IOEVENTFD, &kick, err);

		if (r < 0)
			return r;
	}
	return 0;
}

static int wire(struct machine *m, struct machine_dev *d, struct loop *loop, struct err *err)
{
	struct virtio_mmio_irq irq = { .fd = -1 };
	int r = wire_irq(m, d, err);

	irq.fd = d->irq_fd;
	if (!r)
		r = virtio_mmio_new(d->dev, m->mem, loop, &irq, &d->mmio, err);
	if (!r)
		r = wire_kicks(m, d, err);
	if (!r)
		r = cmdline_add(&m->cmdline, err, "virtio_mmio.device=4K@0x%llx:%u",
			(unsigned long long)d->base, d->irq);
	return r;
}

static void on_start_failed(void *ctx, const char *why)
{
	machine_end(ctx, VM_END_CRASH, "a device could not start: %s", why);
}

/* attach_on() - put @dev, now the machine's, into the next slot; it lives on @loop. */
static int attach_on(struct machine *m, struct virtio_dev *dev, struct loop *loop, struct err *err)
{
	struct machine_dev *d = &m->dev[m->n_devs];

	if (m->n_devs == MACHINE_MAX_DEVICES) {
		virtio_dev_free(dev);
		return err_msg(err, E2BIG,
			"too many devices: the machine has room for %u, of which consoles, random "
			"numbers and balloon take one each",
			MACHINE_MAX_DEVICES);
	}
	*d = (struct machine_dev){
		.dev = dev,
		.base = base_of(m->n_devs),
		.irq = LAYOUT_IRQ_FIRST + m->n_devs,
		.irq_fd = -1,
	};
	m->n_devs++;
	dev->start_failed = on_start_failed;
	dev->start_failed_ctx = m;
	return wire(m, d, loop, err) ? err_wrap(err, "%s device", dev->ops->name) : 0;
}

static int attach(struct machine *m, struct virtio_dev *dev, struct err *err)
{
	return attach_on(m, dev, m->vm->loop, err);
}

/* ---- One function per kind of device; the table gives their order in the machine ---- */

static int attach_balloon(struct machine *m, struct err *err)
{
	struct virtio_dev *dev;
	int r;

	if (m->vm->cfg.no_balloon)
		return 0;
	r = virtio_balloon_new(MIB(m->vm->cfg.ram_mib), &dev, err);
	return r ? r : attach(m, dev, err);
}

static int attach_rng(struct machine *m, struct err *err)
{
	struct virtio_dev *dev;
	int r;

	if (m->vm->cfg.no_rng)
		return 0;
	r = virtio_rng_new(&dev, err);
	return r ? r : attach(m, dev, err);
}

/* One device carries all ports. */
static int attach_console(struct machine *m, struct err *err)
{
	const struct vm_config *cfg = &m->vm->cfg;
	struct virtio_console_port port[VM_MAX_CONSOLES];
	struct virtio_dev *dev;
	int r;

	if (!cfg->n_consoles)
		return 0;
	for (unsigned i = 0; i < cfg->n_consoles; i++)
		port[i] = (struct virtio_console_port){
			.name = cfg->console[i].name,
			.in_fd = cfg->console[i].in_fd,
			.out_fd = cfg->console[i].out_fd,
			.console = i == 0 || cfg->console[i].tty,
		};
	r = virtio_console_new(port, cfg->n_consoles, VIRTIO_CONSOLE_COLS_ROWS, &dev, err);
	if (!r)
		r = attach(m, dev, err);
	if (!r)
		m->console = dev;
	return r;
}

static int attach_shares(struct machine *m, struct err *err)
{
	for (unsigned i = 0; i < m->vm->cfg.n_fs; i++) {
		struct virtio_dev *dev;
		int r = virtio_fs_new(m->vm->cfg.fs[i].tag, m->vm->fs[i], &dev, err);

		if (r)
			return err_wrap(err, "share '%s'", m->vm->cfg.fs[i].tag);
		m->vm->fs[i] = NULL; /* the device's now */
		r = attach(m, dev, err);
		if (r)
			return r;
	}
	return 0;
}

static int attach_disk(struct machine *m, const struct vm_disk *disk, struct err *err)
{
	struct virtio_dev *dev;
	int r = vm_disk_new(disk, &dev, err);

	return r ? r : attach(m, dev, err);
}

static int attach_disks(struct machine *m, struct err *err)
{
	for (unsigned i = 0; i < m->vm->cfg.n_disks; i++) {
		const struct vm_disk *disk = &m->vm->cfg.disk[i];
		int r = attach_disk(m, disk, err);
		char name[256];

		if (r) {
			vm_disk_name(disk, i, name, sizeof(name));
			return err_wrap(err, "%s", name);
		}
	}
	return 0;
}

static int attach_network(struct machine *m, struct err *err)
{
	struct vm_network *network = m->vm->network;

	if (!network)
		return 0;
	return attach_on(m, vm_network_take_dev(network), vm_network_loop(network), err);
}

int devices_attach(struct machine *m, struct err *err)
{
	static int (*const kinds[])(struct machine *, struct err *) = {
		attach_balloon,
		attach_rng,
		attach_console,
		attach_shares,
		attach_disks,
		attach_network,
	};
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(kinds) && !r; i++)
		r = kinds[i](m, err);
	return r;
}

bool devices_mmio(struct machine *m, uint64_t gpa, uint8_t *data, unsigned len, bool write)
{
	uint64_t off = gpa - LAYOUT_HOLE, slot = off / LAYOUT_MMIO_SIZE;

	if (gpa < LAYOUT_HOLE || slot >= m->n_devs)
		return false;
	off %= LAYOUT_MMIO_SIZE;
	if (write)
		virtio_mmio_write(m->dev[slot].mmio, off, data, len);
	else
		virtio_mmio_read(m->dev[slot].mmio, off, data, len);
	return true;
}

/* ---- The end ---- */

/* Kicks that the loop has not seen yet: the guest's last words may wait in a queue. */
static void serve_last_kicks(struct virtio_dev *dev)
{
	(void)pthread_mutex_lock(&dev->lock);
	for (unsigned qi = 0; qi < dev->n_queues; qi++)
		virtio_dev_kick(dev, qi);
	(void)pthread_mutex_unlock(&dev->lock);
}

struct drain {
	struct machine *m;
	struct loop_timer *timer;
	uint64_t deadline;
};

static void on_drain(void *ctx)
{
	struct drain *d = ctx;
	uint64_t now = clock_mono_ns();

	if (now >= d->deadline || !virtio_console_has_output(d->m->console))
		loop_stop(d->m->vm->loop, 0);
	else
		loop_timer_arm(d->timer, now + DRAIN_STEP_MS * NS_PER_MS);
}

/* Let the loop run on while the host side of the console is slow, but not for ever. */
static void drain_console(struct machine *m)
{
	struct drain d = { .m = m, .deadline = clock_mono_ns() + DRAIN_MS * NS_PER_MS };

	if (!virtio_console_has_output(m->console) ||
		loop_timer_new(m->vm->loop, on_drain, &d, &d.timer, NULL))
		return;
	loop_timer_arm(d.timer, 0);
	(void)loop_run(m->vm->loop, NULL);
	loop_timer_remove(&d.timer);
}

void devices_finish(struct machine *m)
{
	for (unsigned i = 0; i < m->n_devs; i++)
		serve_last_kicks(m->dev[i].dev);
	if (m->console)
		drain_console(m);
}

void devices_release(struct machine *m)
{
	for (unsigned i = 0; i < m->n_devs; i++) {
		struct machine_dev *d = &m->dev[i];

		virtio_mmio_free(d->mmio);
		virtio_dev_free(d->dev);
		if (d->irq_fd >= 0)
			(void)close(d->irq_fd);
	}
	m->n_devs = 0;
	m->console = NULL;
}

void devices_console_resize(struct machine *m, unsigned port, uint16_t rows, uint16_t cols)
{
	/* A port that is no terminal has no size: nothing to tell. */
	if (m->console)
		(void)virtio_console_resize(m->console, port, rows, cols);
}
