/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/seccomp.h"

#include <assert.h>
#include <errno.h>
#include <linux/audit.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/num.h"

static const int never[] = {
	/* other processes */
	SYS_ptrace,
	SYS_process_vm_readv,
	SYS_process_vm_writev,
	SYS_process_madvise,
	SYS_kcmp,
	SYS_pidfd_getfd,
	SYS_pidfd_open,
	SYS_kill,
	SYS_tkill,
	SYS_rt_sigqueueinfo,
	SYS_rt_tgsigqueueinfo,
	/* new connections; sockets that exist were opened while preparing */
	SYS_socket,
	SYS_socketpair, /* one of datagrams sends to any path */
	SYS_connect,
	SYS_bind,
	SYS_listen,
	/* files by number, past every check of paths */
	SYS_open_by_handle_at,
	SYS_fanotify_init,
	/* the shape of the system */
	SYS_mount,
	SYS_umount2,
	SYS_pivot_root,
	SYS_chroot,
	SYS_setns,
	SYS_open_tree,
	SYS_move_mount,
	SYS_fsopen,
	SYS_fsconfig,
	SYS_fsmount,
	SYS_fspick,
	SYS_mount_setattr,
	SYS_swapon,
	SYS_swapoff,
	SYS_reboot,
	SYS_sethostname,
	SYS_setdomainname,
	SYS_quotactl,
	SYS_acct,
	SYS_syslog,
	SYS_settimeofday,
	SYS_clock_settime,
	SYS_adjtimex,
	SYS_clock_adjtime,
	SYS_iopl,
	SYS_ioperm,
	SYS_personality,
	/* kernel code and the parts of the kernel that are attacked most */
	SYS_init_module,
	SYS_finit_module,
	SYS_delete_module,
	SYS_kexec_load,
	SYS_kexec_file_load,
	SYS_bpf,
	SYS_perf_event_open,
	SYS_userfaultfd,
	SYS_io_uring_setup,
	SYS_io_uring_enter,
	SYS_io_uring_register,
	SYS_add_key,
	SYS_request_key,
	SYS_keyctl,
	SYS_modify_ldt,
	SYS_lookup_dcookie,
	SYS_vhangup,
	SYS_nfsservctl,
};

#define X32_BIT 0x40000000u
#define DENIED	(SECCOMP_RET_ERRNO | EPERM)

static void add(struct seccomp *s, uint16_t code, uint32_t k, uint8_t yes, uint8_t no)
{
	assert(s->n < SECCOMP_MAX);
	s->f[s->n++] = (struct sock_filter){ code, yes, no, k };
}

static void load(struct seccomp *s, uint32_t off)
{
	add(s, BPF_LD | BPF_W | BPF_ABS, off, 0, 0);
}

static void answer(struct seccomp *s, uint32_t verdict)
{
	add(s, BPF_RET | BPF_K, verdict, 0, 0);
}

/* The number of the call stays in the accumulator between rules. */
static void if_call(struct seccomp *s, int nr, uint8_t skip_else)
{
	add(s, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)nr, 0, skip_else);
}

/* The low half comes first (x86-64). */
static void if_arg(struct seccomp *s, int nr, unsigned arg, uint16_t test, uint32_t value)
{
	if_call(s, nr, 4);
	load(s, (uint32_t)offsetof(struct seccomp_data, args) + 8 * arg);
	add(s, BPF_JMP | test | BPF_K, value, 1, 0);
	answer(s, DENIED);
	answer(s, SECCOMP_RET_ALLOW);
}

void seccomp_fail(struct seccomp *s, int nr, int error)
{
	if_call(s, nr, 1);
	answer(s, SECCOMP_RET_ERRNO | (uint32_t)error);
}

void seccomp_deny(struct seccomp *s, const int *nr, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		seccomp_fail(s, nr[i], EPERM);
}

void seccomp_only(struct seccomp *s, int nr, unsigned arg, uint32_t value)
{
	if_arg(s, nr, arg, BPF_JEQ, value);
}

void seccomp_with(struct seccomp *s, int nr, unsigned arg, uint32_t mask)
{
	if_arg(s, nr, arg, BPF_JSET, mask);
}

void seccomp_when(
	struct seccomp *s, int nr, const struct seccomp_arg *args, unsigned n, uint32_t verdict)
{
	/* three instructions per argument, the verdict, and getting the number of the call back */
	if_call(s, nr, (uint8_t)(3 * n + 2));
	for (unsigned i = 0; i < n; i++) {
		load(s, (uint32_t)offsetof(struct seccomp_data, args) + 8 * args[i].arg);
		add(s, BPF_ALU | BPF_AND | BPF_K, args[i].mask, 0, 0);
		add(s, BPF_JMP | BPF_JEQ | BPF_K, args[i].value, 0, (uint8_t)(3 * (n - 1 - i) + 1));
	}
	answer(s, verdict);
	load(s, offsetof(struct seccomp_data, nr));
}

void seccomp_begin(struct seccomp *s)
{
	s->n = 0;
	load(s, offsetof(struct seccomp_data, arch));
	add(s, BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0);
	answer(s, SECCOMP_RET_KILL_PROCESS);
	load(s, offsetof(struct seccomp_data, nr));
	/* The same calls under their x32 numbers would pass by the rules. */
	add(s, BPF_JMP | BPF_JGE | BPF_K, X32_BIT, 0, 1);
	answer(s, SECCOMP_RET_KILL_PROCESS);
}

void seccomp_common(struct seccomp *s)
{
	seccomp_deny(s, never, ARRAY_LEN(never));
	s->pid_at = s->n + 2; /* the comparison of if_arg() */
	seccomp_only(s, SYS_tgkill, 0, (uint32_t)getpid());
}

void seccomp_set_pid(struct seccomp *s, int pid)
{
	s->f[s->pid_at].k = (uint32_t)pid;
}

void seccomp_end(struct seccomp *s)
{
	answer(s, SECCOMP_RET_ALLOW);
}

int seccomp_install(const struct seccomp *s, unsigned flags)
{
	const struct sock_fprog prog = { s->n, (struct sock_filter *)s->f };

	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog) < 0 ? -errno : 0;
}
