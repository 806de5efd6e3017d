/* SPDX-License-Identifier: Apache-2.0 */
/* The kvm engine: the order in which a machine is put together, run and taken apart. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/num.h"
#include "vmm/kvm/kvm_internal.h"
#include "vmm/network.h"

#define ROOT_TAG "/dev/root"

/* ---- The end of a machine ---- */

static void wake_loop(struct machine *m)
{
	uint64_t one = 1;

	/* The counter cannot overflow: the loop stops at the first event. */
	if (write(m->end_fd, &one, sizeof(one)) < 0)
		return;
}

void machine_end(struct machine *m, enum vm_end end, const char *fmt, ...)
{
	va_list ap;

	(void)pthread_mutex_lock(&m->end_lock);
	if (!m->ended) {
		m->ended = true;
		m->end.end = end;
		va_start(ap, fmt);
		(void)vsnprintf(m->end.detail, sizeof(m->end.detail), fmt, ap);
		va_end(ap);
	}
	(void)pthread_mutex_unlock(&m->end_lock);
	wake_loop(m);
}

static void on_end(void *ctx, int fd, uint32_t events)
{
	struct machine *m = ctx;

	(void)fd;
	(void)events;
	loop_stop(m->vm->loop, 0);
}

/* ---- Building ---- */

static int build_vm(struct machine *m, struct err *err)
{
	int r = kvm_open(&m->kvm_fd, err);

	if (r)
		return r;
	m->fd = KVM_IOCTL(m->kvm_fd, KVM_CREATE_VM, 0, err);
	if (m->fd < 0)
		return m->fd;
	r = ioctl(m->fd, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS);
	if (r > 0 && (unsigned)r < m->vm->cfg.vcpus)
		return err_msg(
			err, EINVAL, "%u vCPUs: this KVM has at most %d", m->vm->cfg.vcpus, r);
	r = KVM_IOCTL(m->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0, err);
	if (r < 0)
		return r;
	m->run_size = (size_t)r;
	return 0;
}

static int add_region(struct machine *m, const struct layout_slot *s, struct err *err)
{
	if (s->bundle)
		return guest_mem_add_borrowed(m->mem, s->gpa, m->kernel->bundle, s->size, err);
	return guest_mem_add_anon(m->mem, s->gpa, s->size, err);
}

static int add_slots(struct machine *m, struct err *err)
{
	for (unsigned i = 0; i < m->mem->n; i++) {
		const struct guest_region *g = &m->mem->region[i];
		struct kvm_userspace_memory_region slot = {
			.slot = i,
			.guest_phys_addr = g->gpa,
			.memory_size = g->size,
			.userspace_addr = (uintptr_t)g->hva,
		};
		int r = KVM_IOCTL(m->fd, KVM_SET_USER_MEMORY_REGION, &slot, err);

		if (r < 0)
			return err_wrap(err, "%llu MiB at 0x%llx",
				(unsigned long long)(g->size >> 20), (unsigned long long)g->gpa);
	}
	return 0;
}

static int build_memory(struct machine *m, struct err *err)
{
	const struct kernel *k = m->kernel;
	int r = layout_plan(MIB(m->vm->cfg.ram_mib), k->bundle ? k->load_addr : 0,
		k->bundle ? k->size : 0, &m->layout, err);

	if (r)
		return r;
	m->mem = guest_mem_new();
	if (!m->mem)
		return err_set(err, ENOMEM, "guest memory");
	for (unsigned i = 0; i < m->layout.n_slots; i++) {
		r = add_region(m, &m->layout.slot[i], err);
		if (r)
			return err_wrap(err, "guest memory");
	}
	return add_slots(m, err);
}

static int build_kernel(struct machine *m, struct err *err)
{
	/* The boot data lives there. */
	if (m->kernel->load_addr < LAYOUT_HIGH)
		return err_msg(
			err, ENOEXEC, "kernel '%s' wants memory below 1 MiB", m->kernel->name);
	return kernel_load(m->kernel, m->mem, err);
}

static int build_devices(struct machine *m, struct err *err)
{
	const struct vm_config *cfg = &m->vm->cfg;
	bool root = cfg->n_fs && strcmp(cfg->fs[0].tag, ROOT_TAG) == 0;
	int r = cmdline_prolog(&m->cmdline, root, err);

	if (!r)
		r = devices_attach(m, err);
	if (!r && cfg->cmdline && *cfg->cmdline)
		r = cmdline_add(&m->cmdline, err, "%s", cfg->cmdline);
	if (!r)
		log_debug("kernel command line: %s", m->cmdline.text);
	return r;
}

static uint64_t ram_end_low(const struct layout *l)
{
	uint64_t end = 0;

	for (unsigned i = 0; i < l->n_slots; i++)
		if (l->slot[i].gpa < LAYOUT_HOLE)
			end = l->slot[i].gpa + l->slot[i].size;
	return end;
}

static int build_vcpus(struct machine *m, struct err *err)
{
	const struct layout_slot *last = &m->layout.slot[m->layout.n_slots - 1];
	cleanup_free struct kvm_cpuid2 *cpuid = NULL;
	int r = arch_cpuid_get(m, &cpuid, err);

	pio_init(&m->pio, ram_end_low(&m->layout), last->gpa >= LAYOUT_HOLE_END ? last->size : 0);
	for (unsigned i = 0; !r && i < m->vm->cfg.vcpus; i++) {
		m->n_vcpus = i + 1;
		r = vcpu_create(m, i, err);
		if (!r)
			r = arch_vcpu_setup(&m->vcpu[i], cpuid, err);
	}
	return r ? r : vcpu_signal_init(err);
}

static int build_end(struct machine *m, struct err *err)
{
	m->end_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (m->end_fd < 0)
		return err_set(err, errno, "eventfd");
	return loop_add(m->vm->loop, m->end_fd, EPOLLIN, on_end, m, &m->end_watch, err);
}

static int open_kernel(struct machine *m, struct err *err)
{
	return kernel_open(&m->vm->cfg.kernel, &m->kernel, err);
}

static int engine_prepare(struct vm *vm, struct err *err)
{
	static int (*const steps[])(struct machine *, struct err *) = {
		build_end,
		open_kernel,
		build_vm,
		build_memory, /* before the irqchip: after it, the first slot waits for an RCU grace
			       */
		arch_create_irqchip,
		build_kernel,
		build_devices,
		arch_write_boot_data,
		build_vcpus,
	};
	struct machine *m = calloc(1, sizeof(*m));
	int r = 0;

	if (!m)
		return err_set(err, ENOMEM, "machine");
	vm->priv = m;
	m->vm = vm;
	m->kvm_fd = m->fd = m->end_fd = -1;
	(void)pthread_mutex_init(&m->end_lock, NULL);
	for (size_t i = 0; i < ARRAY_LEN(steps) && !r; i++)
		r = steps[i](m, err);
	return r;
}

/* ---- Running ---- */

static void stop_vcpus(struct machine *m)
{
	atomic_store(&m->stopping, true);
	for (unsigned i = 0; i < m->n_vcpus; i++)
		vcpu_kick(&m->vcpu[i]);
	for (unsigned i = 0; i < m->n_vcpus; i++) {
		if (m->vcpu[i].started)
			(void)pthread_join(m->vcpu[i].thread, NULL);
		m->vcpu[i].started = false;
	}
}

static void report(struct machine *m, struct vm_exit *exit)
{
	size_t len;

	/* Nobody said why: vm_stop(), or the loop's owner stopped it. */
	if (!m->ended)
		m->end = (struct vm_exit){ .end = VM_END_STOPPED };
	*exit = m->end;
	len = strlen(exit->detail);
	if (m->pio.post_code >= 0 && len)
		(void)snprintf(exit->detail + len, sizeof(exit->detail) - len,
			", last POST code 0x%02x", (unsigned)m->pio.post_code);
}

static int engine_run(struct vm *vm, struct vm_exit *exit, struct err *err)
{
	struct machine *m = vm->priv;
	int r = watch_start(m, err);

	for (unsigned i = 0; !r && i < m->n_vcpus; i++)
		r = vcpu_start(&m->vcpu[i], err);
	if (!r)
		r = loop_run(vm->loop, err);
	watch_stop(m);
	stop_vcpus(m);
	vm_network_stop(vm->network); /* its device too is finished and reset here */
	loop_remove(
		&m->end_watch); /* its descriptor stays readable: it would end every later round */
	if (r < 0)
		return r;
	report(m, exit);
	if (exit->end != VM_END_STOPPED)
		devices_finish(m);
	return 0;
}

/* Async-signal-safe: an atomic store and a write(). */
static void engine_stop(struct vm *vm)
{
	struct machine *m = vm->priv;

	wake_loop(m);
}

static void engine_console_resize(struct vm *vm, unsigned port, uint16_t rows, uint16_t cols)
{
	devices_console_resize(vm->priv, port, rows, cols);
}

static void engine_release(struct vm *vm)
{
	struct machine *m = vm->priv;

	if (!m)
		return;
	vm->priv = NULL;
	devices_release(m);
	for (unsigned i = 0; i < m->n_vcpus; i++)
		vcpu_release(&m->vcpu[i]);
	if (m->n_vcpus)
		pio_release(&m->pio);
	cleanup_fd_fn(&m->fd);
	cleanup_fd_fn(&m->kvm_fd);
	guest_mem_unref(m->mem);
	kernel_free(m->kernel);
	loop_remove(&m->end_watch);
	cleanup_fd_fn(&m->end_fd);
	(void)pthread_mutex_destroy(&m->end_lock);
	free(m);
}

const struct vm_engine_ops vm_kvm_ops = {
	.name = "kvm",
	.prepare = engine_prepare,
	.run = engine_run,
	.stop = engine_stop,
	.console_resize = engine_console_resize,
	.release = engine_release,
};
