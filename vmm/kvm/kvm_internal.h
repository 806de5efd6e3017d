/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kvm engine from the inside: one struct for the machine, one per vCPU, and what its files
 * offer each other. kvm.c owns the order of things; files below "x86-64" know the architecture.
 *
 * Threads: the caller of vm_run() runs the loop, which serves the devices; each vCPU has a thread
 * of its own that sits in KVM_RUN and handles register accesses. Whoever sees the machine's end
 * first records it (machine_end()) and wakes the loop through an eventfd; the loop's thread then
 * kicks every vCPU out of the kernel, joins it, lets the devices finish what the guest had queued,
 * and resets them.
 */
#ifndef VMM_KVM_INTERNAL_H
#define VMM_KVM_INTERNAL_H

#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/err.h"
#include "lib/loop.h"
#include "virtio/device.h"
#include "virtio/guest_mem.h"
#include "vmm/engine.h"
#include "vmm/kernel.h"
#include "vmm/kvm/cmdline.h"
#include "vmm/kvm/layout.h"
#include "vmm/kvm/pio.h"

#define MACHINE_MAX_DEVICES (LAYOUT_IRQ_LAST - LAYOUT_IRQ_FIRST + 1)

struct machine;
struct virtio_mmio;

/*
 * struct vcpu - one virtual CPU
 * @run:    the page(s) shared with the kernel
 * @state:  what the last halt check saw (vcpu_check_halted()), written by the vCPU's thread
 */
enum vcpu_state { VCPU_RUNS, VCPU_WAITS_FOR_SIPI, VCPU_HALTED_FOR_GOOD };

struct vcpu {
	struct machine *m;
	unsigned index;
	int fd;
	struct kvm_run *run;
	pthread_t thread;
	bool started;
	atomic_bool check;
	atomic_int state;
	uint64_t cpu_ns; /* halt watch: thread's CPU time when last looked at */
};

/* struct machine_dev - a virtio device in its slot; the device belongs to the transport */
struct machine_dev {
	struct virtio_dev *dev;
	struct virtio_mmio *mmio;
	uint64_t base;
	unsigned irq;
	int irq_fd; /* given to KVM_IRQFD */
};

/* struct machine - vm->priv of this engine */
struct machine {
	struct vm *vm;
	int kvm_fd, fd;
	size_t run_size; /* of a vCPU's shared pages */
	struct kernel *kernel;
	struct layout layout;
	struct guest_mem *mem;
	struct cmdline cmdline;
	struct pio pio;
	unsigned n_devs;
	struct machine_dev dev[MACHINE_MAX_DEVICES];
	struct virtio_dev *console; /* one of dev[], for resizing; NULL: none */
	unsigned n_vcpus;
	struct vcpu vcpu[VM_MAX_VCPUS];
	int warned; /* log_once() flag of unmapped accesses */

	/* ---- The end ---- */
	int end_fd;	      /* eventfd: somebody ended the machine */
	atomic_bool stopping; /* vCPUs must leave */
	pthread_mutex_t end_lock;
	bool ended;
	struct vm_exit end;
	struct loop_watch *end_watch;

	/* ---- Halt watch (watch.c) ---- */
	struct loop_timer *watch_timer;
	uint64_t watch_ms;
	unsigned watch_rounds; /* checks in a row that found every vCPU halted for good */
	atomic_uint watch_pending;
};

/* machine_end() - record how the machine ended; the first one counts. Any thread. */
void machine_end(struct machine *m, enum vm_end end, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* kvm_ioctl() - ioctl that repeats EINTR. Return: its result, or -errno and "NAME: reason" */
int kvm_ioctl(int fd, unsigned long request, void *arg, const char *name, struct err *err);
#define KVM_IOCTL(fd, request, arg, err)                                                           \
	kvm_ioctl(fd, request, (void *)(uintptr_t)(arg), #request, err)

/* kvm_open() - open /dev/kvm, check its API version and the capabilities we rely on (kvm_open.c) */
int kvm_open(int *ret_fd, struct err *err);

/* ---- vcpu.c ---- */
int vcpu_create(struct machine *m, unsigned index, struct err *err);
int vcpu_start(struct vcpu *cpu, struct err *err);
void vcpu_kick(struct vcpu *cpu); /* out of KVM_RUN, for sure; any thread */
void vcpu_release(struct vcpu *cpu);
int vcpu_signal_init(struct err *err); /* the kick signal's empty handler */

/* ---- watch.c ---- */
int watch_start(struct machine *m, struct err *err);
void watch_stop(struct machine *m);
void watch_answer(struct machine *m); /* vCPU thread: its state is up to date */

/* ---- devices.c ---- */
int devices_attach(struct machine *m, struct err *err);
void devices_finish(struct machine *m); /* vCPUs are gone: serve what is queued, then reset */
void devices_release(struct machine *m);
/* A register access of the guest; false: nobody is there. */
bool devices_mmio(struct machine *m, uint64_t gpa, uint8_t *data, unsigned len, bool write);
void devices_console_resize(struct machine *m, unsigned port, uint16_t rows, uint16_t cols);

/* ---- x86-64: irqchip.c, cpuid.c, regs.c, boot.c ---- */
int arch_create_irqchip(struct machine *m, struct err *err);
int arch_write_boot_data(struct machine *m, struct err *err);
/* arch_cpuid_get() - what this KVM supports; freed by the caller */
int arch_cpuid_get(struct machine *m, struct kvm_cpuid2 **ret, struct err *err);
/* arch_vcpu_setup() - CPUID, and registers for the kernel's entry; @cpuid is scratched */
int arch_vcpu_setup(struct vcpu *cpu, struct kvm_cpuid2 *cpuid, struct err *err);
int arch_cpuid_set(struct vcpu *cpu, struct kvm_cpuid2 *cpuid, struct err *err);

#endif
