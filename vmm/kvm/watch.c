/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Halt watch. A guest that halts with interrupts off on every vCPU is over, but a KVM with its
 * local APICs in the kernel just sleeps. Linux does exactly that for `halt` and, without ACPI, for
 * `poweroff`. So every few seconds the loop compares the vCPU threads' CPU time; only if none of
 * them has run at all since the last look are they asked to leave KVM_RUN for a moment and look at
 * themselves. Two rounds in a row that find all of them halted for good end the machine.
 */
#include <time.h>

#include "lib/clock.h"
#include "vmm/kvm/kvm_internal.h"

#define WATCH_FIRST_MS	 500
#define WATCH_MAX_MS	 4000
#define WATCH_CONFIRM_MS 20
#define WATCH_ROUNDS	 2

static void arm(struct machine *m, uint64_t ms)
{
	loop_timer_arm(m->watch_timer, clock_mono_ns() + ms * NS_PER_MS);
}

/* Did any vCPU use the CPU since the last call? */
static bool anyone_ran(struct machine *m)
{
	bool ran = false;

	for (unsigned i = 0; i < m->n_vcpus; i++) {
		struct vcpu *cpu = &m->vcpu[i];
		struct timespec ts = { 0 };
		clockid_t clock;
		uint64_t ns;

		if (pthread_getcpuclockid(cpu->thread, &clock) != 0 ||
			clock_gettime(clock, &ts) != 0)
			return true; /* the thread is gone: the machine is ending anyway */
		ns = (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
		ran |= ns != cpu->cpu_ns;
		cpu->cpu_ns = ns;
	}
	return ran;
}

static void ask_all(struct machine *m)
{
	atomic_store(&m->watch_pending, m->n_vcpus);
	for (unsigned i = 0; i < m->n_vcpus; i++) {
		atomic_store(&m->vcpu[i].check, true);
		vcpu_kick(&m->vcpu[i]);
	}
}

static void on_timer(void *ctx)
{
	struct machine *m = ctx;

	/* A confirming round looks again whether or not the last question cost CPU time. */
	if (anyone_ran(m) && !m->watch_rounds) {
		m->watch_ms = WATCH_FIRST_MS;
		arm(m, m->watch_ms);
		return;
	}
	ask_all(m);
}

static bool all_halted(const struct machine *m)
{
	bool any = false;

	for (unsigned i = 0; i < m->n_vcpus; i++) {
		int state = atomic_load(&m->vcpu[i].state);

		if (state == VCPU_RUNS)
			return false;
		any |= state == VCPU_HALTED_FOR_GOOD;
	}
	return any;
}

static void on_answers(void *ctx)
{
	struct machine *m = ctx;

	if (!m->watch_timer)
		return;
	if (!all_halted(m)) {
		m->watch_rounds = 0;
		m->watch_ms = MIN_OF(m->watch_ms * 2, (uint64_t)WATCH_MAX_MS);
		arm(m, m->watch_ms);
		(void)anyone_ran(m); /* answering cost CPU time: do not count that */
	} else if (++m->watch_rounds < WATCH_ROUNDS) {
		arm(m, WATCH_CONFIRM_MS);
	} else {
		machine_end(m, VM_END_GUEST, "halted with interrupts off");
	}
}

void watch_answer(struct machine *m)
{
	if (atomic_fetch_sub(&m->watch_pending, 1) == 1)
		(void)loop_post(m->vm->loop, on_answers, m);
}

int watch_start(struct machine *m, struct err *err)
{
	int r = loop_timer_new(m->vm->loop, on_timer, m, &m->watch_timer, err);

	if (r)
		return r;
	m->watch_ms = WATCH_FIRST_MS;
	arm(m, m->watch_ms);
	return 0;
}

void watch_stop(struct machine *m)
{
	loop_timer_remove(&m->watch_timer);
}
