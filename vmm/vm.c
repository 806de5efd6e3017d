/* SPDX-License-Identifier: Apache-2.0 */
/* The part of a machine that is the same on every engine, and the choice of the engine. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>

#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/num.h"
#include "vmm/config.h"
#include "vmm/engine.h"
#include "vmm/kvm/kvm_probe.h"
#include "vmm/network.h"

static uint64_t host_ram_mib(void)
{
	struct sysinfo si;

	if (sysinfo(&si) < 0)
		return UINT64_MAX; /* cannot tell: let the engine's own allocation fail */
	return (uint64_t)si.totalram * si.mem_unit / MIB(1);
}

enum vm_engine vm_engine_choose(const struct vm_kernel *kernel, char *reason, size_t reason_len)
{
	char why[192] = "";
	bool usable;

	/* A custom kernel changes nothing: one made for software KVM is for --engine kvm. */
	(void)kernel;
	usable = kvm_probe(why, sizeof(why));
	if (reason)
		(void)snprintf(reason, reason_len, "%s: %s", usable ? "kvm" : "qemu", why);
	return usable ? VM_ENGINE_KVM : VM_ENGINE_QEMU;
}

static const struct vm_engine_ops *engine_ops(enum vm_engine engine)
{
	return engine == VM_ENGINE_KVM ? &vm_kvm_ops : &vm_qemu_ops;
}

static void pick_engine(struct vm *vm)
{
	enum vm_engine engine = vm->cfg.engine;

	if (engine == VM_ENGINE_AUTO)
		engine = vm_engine_choose(&vm->cfg.kernel, vm->reason, sizeof(vm->reason));
	else
		(void)snprintf(
			vm->reason, sizeof(vm->reason), "%s: asked for", engine_ops(engine)->name);
	vm->ops = engine_ops(engine);
	log_info("engine %s", vm->reason);
}

/* @cfg is the caller's: it still has the root descriptors and the extra entries. */
static int start_fs_servers(struct vm *vm, const struct vm_config *cfg, struct err *err)
{
	for (unsigned i = 0; i < cfg->n_fs; i++) {
		if (fs_server_new(&cfg->fs[i].cfg, &vm->fs[i], err) < 0)
			return err_wrap(err, "share '%s'", cfg->fs[i].tag);
	}
	return 0;
}

static void vm_freep(struct vm **vm)
{
	vm_free(*vm);
}

int vm_new(const struct vm_config *cfg, struct vm **ret_vm, struct err *err)
{
	cleanup_(vm_freep) struct vm *vm = NULL;
	int rc;

	rc = vm_config_check(cfg, host_ram_mib(), err);
	if (rc < 0)
		return rc;
	vm = calloc(1, sizeof(*vm));
	if (!vm)
		return err_set(err, ENOMEM, "create machine");
	rc = vm_config_copy(&vm->cfg, cfg, err);
	if (rc < 0)
		return rc;
	pick_engine(vm);
	rc = loop_new(&vm->loop, err);
	if (rc < 0)
		return rc;
	rc = start_fs_servers(vm, cfg, err);
	if (rc < 0)
		return rc;
	if (cfg->net) {
		rc = vm_network_new(cfg->net, &vm->network, err);
		if (rc < 0)
			return err_wrap(err, "network");
	}
	rc = vm->ops->prepare(vm, err);
	if (rc < 0)
		return rc;
	log_phase("vm-created");
	*ret_vm = take_ptr(&vm);
	return 0;
}

void vm_free(struct vm *vm)
{
	if (!vm)
		return;
	if (vm->ops)
		vm->ops->release(vm);
	for (unsigned i = 0; i < VM_MAX_FS; i++)
		fs_server_free(vm->fs[i]);
	vm_network_free(vm->network);
	loop_free(vm->loop);
	vm_config_release(&vm->cfg);
	free(vm);
}

struct loop *vm_loop(struct vm *vm)
{
	return vm->loop;
}

const char *vm_engine_name(const struct vm *vm)
{
	return vm->ops->name;
}

const char *vm_engine_reason(const struct vm *vm)
{
	return vm->reason;
}

int vm_run(struct vm *vm, struct vm_exit *ret_exit, struct err *err)
{
	struct vm_exit end = { .end = VM_END_GUEST };
	int rc = vm_network_start(vm->network, err);

	if (rc == 0)
		rc = vm->ops->run(vm, &end, err);
	vm_network_stop(vm->network);
	if (rc < 0)
		return rc;
	*ret_exit = end;
	return 0;
}

void vm_stop(struct vm *vm)
{
	vm->ops->stop(vm);
}

void vm_console_resize(struct vm *vm, unsigned port, uint16_t rows, uint16_t cols)
{
	if (vm->ops->console_resize)
		vm->ops->console_resize(vm, port, rows, cols);
}
