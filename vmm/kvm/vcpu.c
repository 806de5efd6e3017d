/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A vCPU's thread: KVM_RUN, then whatever made it return.
 *
 * Leaving on demand, without losing a wake-up: the asker first says why (`stopping` or `check`),
 * then sets run->immediate_exit, then sends the kick signal. The signal interrupts a KVM_RUN that
 * is under way; immediate_exit ends one that is about to start. The thread clears immediate_exit
 * before it looks at the reasons, so an asker it misses finds the flag set again.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/log.h"
#include "vmm/kvm/kvm_internal.h"

/* Real-time signals below +4 are taken by other common libraries. */
#define KICK_SIGNAL (SIGRTMIN + 5)
#define RFLAGS_IF   (1ULL << 9)

enum step { STEP_AGAIN, STEP_LEAVE };

/* ---- What happened, for people ---- */

static uint64_t rip_of(struct vcpu *cpu)
{
	struct kvm_regs regs = { 0 };

	(void)ioctl(cpu->fd, KVM_GET_REGS, &regs);
	return regs.rip;
}

static enum step crash(struct vcpu *cpu, const char *what)
{
	machine_end(cpu->m, VM_END_CRASH, "%s on vCPU %u at rip 0x%llx", what, cpu->index,
		(unsigned long long)rip_of(cpu));
	return STEP_LEAVE;
}

static enum step internal_error(struct vcpu *cpu)
{
	static const char *const names[] = {
		[0] = "unknown",
		[KVM_INTERNAL_ERROR_EMULATION] = "instruction emulation failed",
		[KVM_INTERNAL_ERROR_SIMUL_EX] = "simultaneous exceptions",
		[KVM_INTERNAL_ERROR_DELIVERY_EV] = "event delivery failed",
		[KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON] = "unexpected exit",
	};
	const struct kvm_run *run = cpu->run;
	uint32_t code = run->internal.suberror;
	char what[160], bytes[64] = "";
	int n = 0;

	if (code == KVM_INTERNAL_ERROR_EMULATION && run->emulation_failure.ndata >= 3 &&
		(run->emulation_failure.flags &
			KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES))
		for (unsigned i = 0; i < run->emulation_failure.insn_size && i < 15; i++)
			n += snprintf(bytes + n, sizeof(bytes) - (size_t)n, "%s%02x",
				i ? " " : ", code ", run->emulation_failure.insn_bytes[i]);
	(void)snprintf(what, sizeof(what), "KVM internal error %u (%s%s)", code,
		code < ARRAY_LEN(names) && names[code] ? names[code] : "unknown", bytes);
	return crash(cpu, what);
}

static enum step entry_failed(struct vcpu *cpu)
{
	char what[96];

	(void)snprintf(what, sizeof(what), "entering the guest failed (hardware reason 0x%llx)",
		(unsigned long long)cpu->run->fail_entry.hardware_entry_failure_reason);
	return crash(cpu, what);
}

static enum step unknown_exit(struct vcpu *cpu)
{
	char what[64];

	(void)snprintf(what, sizeof(what), "unhandled exit %u", cpu->run->exit_reason);
	return crash(cpu, what);
}

static enum step system_event(struct vcpu *cpu)
{
	uint32_t type = cpu->run->system_event.type;

	if (type == KVM_SYSTEM_EVENT_SHUTDOWN || type == KVM_SYSTEM_EVENT_RESET) {
		machine_end(cpu->m, VM_END_GUEST, "%s",
			type == KVM_SYSTEM_EVENT_RESET ? "reset" : "shutdown");
		return STEP_LEAVE;
	}
	return crash(cpu, "guest reported a crash");
}

/* ---- Accesses ---- */

static enum step do_io(struct vcpu *cpu)
{
	struct kvm_run *run = cpu->run;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;

	for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size) {
		if (run->io.direction == KVM_EXIT_IO_IN) {
			pio_read(&cpu->m->pio, run->io.port, data, run->io.size);
		} else if (pio_write(&cpu->m->pio, run->io.port, data, run->io.size) == PIO_RESET) {
			machine_end(cpu->m, VM_END_GUEST, "reset");
			return STEP_LEAVE;
		}
	}
	return STEP_AGAIN;
}

static enum step do_mmio(struct vcpu *cpu)
{
	struct kvm_run *run = cpu->run;
	struct machine *m = cpu->m;

	if (devices_mmio(m, run->mmio.phys_addr, run->mmio.data, run->mmio.len, run->mmio.is_write))
		return STEP_AGAIN;
	log_once(m->warned, LOG_WARN, "guest %s unmapped address 0x%llx",
		run->mmio.is_write ? "writes" : "reads", (unsigned long long)run->mmio.phys_addr);
	if (!run->mmio.is_write)
		memset(run->mmio.data, 0xff, sizeof(run->mmio.data));
	return STEP_AGAIN;
}

static enum step do_exit(struct vcpu *cpu)
{
	switch (cpu->run->exit_reason) {
	case KVM_EXIT_IO:
		return do_io(cpu);
	case KVM_EXIT_MMIO:
		return do_mmio(cpu);
	case KVM_EXIT_INTR:
	case KVM_EXIT_IRQ_WINDOW_OPEN:
	case KVM_EXIT_SET_TPR:
		return STEP_AGAIN;
	case KVM_EXIT_HLT: /* only without a local APIC in the kernel: nobody would wake it */
		return crash(cpu, "halt");
	case KVM_EXIT_SHUTDOWN:
		return crash(cpu, "triple fault");
	case KVM_EXIT_SYSTEM_EVENT:
		return system_event(cpu);
	case KVM_EXIT_FAIL_ENTRY:
		return entry_failed(cpu);
	case KVM_EXIT_INTERNAL_ERROR:
		return internal_error(cpu);
	default:
		return unknown_exit(cpu);
	}
}

/* ---- The thread ---- */

static void check_halted(struct vcpu *cpu)
{
	struct kvm_mp_state mp = { 0 };
	struct kvm_regs regs = { .rflags = RFLAGS_IF };
	int state = VCPU_RUNS;

	if (ioctl(cpu->fd, KVM_GET_MP_STATE, &mp) == 0 &&
		ioctl(cpu->fd, KVM_GET_REGS, &regs) == 0) {
		if (mp.mp_state == KVM_MP_STATE_UNINITIALIZED ||
			mp.mp_state == KVM_MP_STATE_INIT_RECEIVED)
			state = VCPU_WAITS_FOR_SIPI;
		else if (mp.mp_state == KVM_MP_STATE_HALTED && !(regs.rflags & RFLAGS_IF))
			state = VCPU_HALTED_FOR_GOOD;
	}
	atomic_store(&cpu->state, state);
	watch_answer(cpu->m);
}

static enum step interrupted(struct vcpu *cpu)
{
	__atomic_store_n(&cpu->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
	if (atomic_load(&cpu->m->stopping))
		return STEP_LEAVE;
	if (atomic_exchange(&cpu->check, false))
		check_halted(cpu);
	return STEP_AGAIN;
}

static enum step run_once(struct vcpu *cpu)
{
	char what[96];

	if (ioctl(cpu->fd, KVM_RUN, 0) == 0)
		return do_exit(cpu);
	if (errno == EINTR)
		return interrupted(cpu);
	if (errno == EAGAIN) /* INIT or SIPI changed the state while it waited */
		return STEP_AGAIN;
	(void)snprintf(what, sizeof(what), "KVM_RUN: %s (exit %u)", strerror(errno),
		cpu->run->exit_reason);
	return crash(cpu, what);
}

static void *vcpu_thread(void *arg)
{
	struct vcpu *cpu = arg;
	char name[16];
	sigset_t kick;

	(void)snprintf(name, sizeof(name), "vcpu %u", cpu->index);
	(void)pthread_setname_np(pthread_self(), name);
	(void)sigemptyset(&kick);
	(void)sigaddset(&kick, KICK_SIGNAL);
	(void)pthread_sigmask(SIG_UNBLOCK, &kick, NULL);
	if (cpu->index == 0)
		log_phase("guest-entered");
	while (!atomic_load(&cpu->m->stopping) && run_once(cpu) == STEP_AGAIN)
		;
	return NULL;
}

/* ---- Life cycle ---- */

static void on_kick(int sig)
{
	(void)sig; /* it only has to interrupt KVM_RUN */
}

int vcpu_signal_init(struct err *err)
{
	struct sigaction sa = { .sa_handler = on_kick };

	if (sigaction(KICK_SIGNAL, &sa, NULL) != 0)
		return err_set(err, errno, "handler of the vCPU kick signal");
	return 0;
}

int vcpu_create(struct machine *m, unsigned index, struct err *err)
{
	struct vcpu *cpu = &m->vcpu[index];
	void *run;

	cpu->m = m;
	cpu->index = index;
	cpu->fd = KVM_IOCTL(m->fd, KVM_CREATE_VCPU, index, err);
	if (cpu->fd < 0)
		return err_wrap(err, "vCPU %u", index);
	run = mmap(NULL, m->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, cpu->fd, 0);
	if (run == MAP_FAILED)
		return err_set(err, errno, "map vCPU %u", index);
	cpu->run = run;
	return 0;
}

int vcpu_start(struct vcpu *cpu, struct err *err)
{
	sigset_t all, saved;
	int r;

	/* Every other signal is for the threads of the program that uses us. */
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &saved);
	r = pthread_create(&cpu->thread, NULL, vcpu_thread, cpu);
	(void)pthread_sigmask(SIG_SETMASK, &saved, NULL);
	if (r)
		return err_set(err, r, "start thread of vCPU %u", cpu->index);
	cpu->started = true;
	return 0;
}

void vcpu_kick(struct vcpu *cpu)
{
	if (!cpu->started)
		return;
	__atomic_store_n(&cpu->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	(void)pthread_kill(cpu->thread, KICK_SIGNAL);
}

void vcpu_release(struct vcpu *cpu)
{
	if (cpu->run)
		(void)munmap(cpu->run, cpu->m->run_size);
	cpu->run = NULL;
	if (cpu->m && cpu->fd >= 0)
		(void)close(cpu->fd);
	cpu->fd = -1;
}
