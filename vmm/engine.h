/* SPDX-License-Identifier: Apache-2.0 */
/* Inside vmm/: what an engine implements, and the common part of a machine. */
#ifndef VMM_ENGINE_H
#define VMM_ENGINE_H

#include "virtio/device.h"
#include "virtio/guest_mem.h"
#include "vmm/vmm.h"

/*
 * struct vm_engine_ops - one row per engine
 * @prepare: after vm_new() filled the common part: open, allocate, load; engine state goes to
 * vm->priv
 * @run:     blocks in loop_run(vm->loop) with the machine running; fills *exit
 * @stop:    async-signal-safe: make run return with VM_END_STOPPED
 * @release: free vm->priv; accepts a half-prepared machine
 */
struct vm_engine_ops {
	const char *name;
	int (*prepare)(struct vm *vm, struct err *err);
	int (*run)(struct vm *vm, struct vm_exit *exit, struct err *err);
	void (*stop)(struct vm *vm);
	void (*console_resize)(struct vm *vm, unsigned port, uint16_t rows, uint16_t cols);
	void (*release)(struct vm *vm);
};

extern const struct vm_engine_ops vm_kvm_ops, vm_qemu_ops;

/* struct vm - common part; cfg is a deep copy */
struct vm {
	struct vm_config cfg;
	const struct vm_engine_ops *ops;
	char reason[256];
	struct loop *loop;
	struct fs_server *fs[VM_MAX_FS];
	struct vm_network *network; /* NULL: none; network.h */
	void *priv;		    /* the engine's */
};

#endif
