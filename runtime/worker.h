/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker: the process that holds the machine. It is forked from the launcher, prepares
 * (vm_new()), confines itself (runtime/confine.h) and runs (vm_run()). It sees no descriptor but
 * those its configuration names, has no terminal, and is killed when the launcher dies; whatever
 * becomes of it, the launcher hears of it exactly once.
 */
#ifndef RUNTIME_WORKER_H
#define RUNTIME_WORKER_H

#include <sys/types.h>

#include "lib/err.h"
#include "lib/loop.h"
#include "vmm/vmm.h"

enum worker_cause {
	WORKER_NOT_PREPARED, /* vm_new() failed: err says why, ready to print */
	WORKER_NOT_RUN,	     /* the machine was prepared but could not be run: err */
	WORKER_VM_ENDED,     /* exit says how */
	WORKER_DIED,	     /* the process died or was killed: err says of what */
};

struct worker_end {
	enum worker_cause cause;
	struct vm_exit exit;
	struct err err;
};

/*
 * struct worker_ops - called on the launcher's loop
 * @prepared: nothing of the guest has run; engine and reason as vm_engine_name(),
 * vm_engine_reason(). May be NULL
 * @ended: exactly once, last; may call worker_free()
 */
struct worker_ops {
	void (*prepared)(void *ctx, const char *engine, const char *reason);
	void (*ended)(void *ctx, const struct worker_end *end);
};

struct worker;

/*
 * worker_start() - fork the worker; the caller must have no other threads
 * @cfg: as for vm_new(); its descriptors stay the caller's, who should close those that only the
 *	 worker needs
 * @phase_fd: what log_phase() writes to in the worker, -1: none
 * Return: 0 and *ret, freed by worker_free(); -errno
 */
int worker_start(struct loop *loop, const struct vm_config *cfg, int phase_fd,
	const struct worker_ops *ops, void *ctx, struct worker **ret, struct err *err);

/* worker_pid() - of the process; 0 after it ended. */
pid_t worker_pid(const struct worker *worker);

/* worker_free() - kill it if it still runs, and reap it; NULL is fine. Does not call back. */
void worker_free(struct worker *worker);

#endif
