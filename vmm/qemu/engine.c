/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The qemu engine: QEMU's TCG is the CPU and holds nothing else that matters. Guest RAM is a memfd
 * of ours with the kernel already in it; file systems, disks and network are our devices behind
 * vhost-user sockets; consoles are sockets handed to QEMU's virtio-serial ports.
 *
 * QEMU is started in prepare, because later the process is confined and may not exec; it loads and
 * sets itself up while we fill its RAM. It enters the guest only after every vhost-user device has
 * answered, that is, in run. (A machine without any such device starts at once; then RAM is filled
 * first.)
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/num.h"
#include "lib/tail.h"
#include "virtio/net.h"
#include "vmm/engine.h"
#include "vmm/kernel.h"
#include "vmm/network.h"
#include "vmm/qemu/args.h"
#include "vmm/qemu/devices.h"
#include "vmm/qemu/pump.h"
#include "vmm/qemu/ram.h"
#include "vmm/qemu/spawn.h"
#include "vmm/qemu/tsc.h"
#include "vmm/qemu/version.h"

#define MAX_INHERIT (2 + VM_MAX_CONSOLES + VM_MAX_FS + VM_MAX_DISKS)

/* struct qemu - the engine's part of a machine */
struct qemu {
	struct vm *vm;
	char program[PATH_MAX];
	int program_fd;
	int net_fd; /* QEMU's end of the network's socket, one of devices; -1: no network */
	struct kernel *kernel;
	struct qemu_ram ram;
	struct qemu_devices devices;
	struct qemu_child child, asked; /* asked: for its version, while other things are done */
	struct qemu_spec spec;
	int port_fd[VM_MAX_CONSOLES];	/* our ends of pumped ports, -1: handed over */
	int port_peer[VM_MAX_CONSOLES]; /* QEMU's ends of pumped ports */
	struct pump *to_guest[VM_MAX_CONSOLES], *from_guest[VM_MAX_CONSOLES];
	struct loop_watch *exit_watch, *output_watch;
	struct tail last_words;
	char broken[ERR_MSG_MAX]; /* which device failed and why; empty while none has */
	atomic_bool stopped;
	struct vm_exit exit;
};

/* ---- consoles ---- */

static bool is_stream_socket(int fd)
{
	int type;
	socklen_t len = sizeof(type);

	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_STREAM;
}

static int pump_port(struct qemu *q, unsigned i, struct err *err)
{
	const struct vm_console *c = &q->vm->cfg.console[i];
	int pair[2], rc = 0;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return err_set(err, errno, "create console socket");
	q->port_fd[i] = pair[0];
	q->port_peer[i] = pair[1];
	q->spec.port[i].fd = pair[1];
	if (c->in_fd >= 0)
		rc = pump_new(q->vm->loop, c->in_fd, pair[0], &q->to_guest[i], err);
	if (rc == 0 && c->out_fd >= 0)
		rc = pump_new(q->vm->loop, pair[0], c->out_fd, &q->from_guest[i], err);
	return rc < 0 ? err_wrap(err, "console port %u", i) : 0;
}

/* A connected socket that is both ends goes to QEMU itself; anything else is pumped. */
static int prepare_port(struct qemu *q, unsigned i, struct err *err)
{
	const struct vm_console *c = &q->vm->cfg.console[i];

	q->spec.port[i] = (struct qemu_port){ .name = c->name, .fd = -1, .tty = c->tty };
	if (c->in_fd < 0 && c->out_fd < 0)
		return 0;
	if (c->in_fd == c->out_fd && is_stream_socket(c->in_fd)) {
		q->spec.port[i].fd = c->in_fd;
		return 0;
	}
	return pump_port(q, i, err);
}

static void free_ports(struct qemu *q)
{
	for (unsigned i = 0; i < VM_MAX_CONSOLES; i++) {
		pump_free(q->to_guest[i]);
		pump_free(q->from_guest[i]);
		close_fd(&q->port_fd[i]);
		close_fd(&q->port_peer[i]);
	}
}

/* ---- preparing ---- */

static int prepare_ports(struct qemu *q, struct err *err)
{
	int rc = 0;

	q->spec.n_ports = q->vm->cfg.n_consoles;
	for (unsigned i = 0; rc == 0 && i < q->spec.n_ports; i++)
		rc = prepare_port(q, i, err);
	return rc;
}

/* A machine without one of its devices would hang: end it, and say why. */
static void on_broken(void *ctx, const char *what)
{
	struct qemu *q = ctx;

	if (!q->broken[0])
		(void)snprintf(q->broken, sizeof(q->broken), "%s", what);
	if (q->child.pid > 0)
		qemu_child_kill(&q->child);
}

static void prepare_net(struct qemu *q)
{
	const struct net_plan *plan = vm_network_plan(q->vm->network);

	q->spec.net.present = true;
	memcpy(q->spec.net.mac, plan->guest_mac.b, sizeof(q->spec.net.mac));
	q->spec.net.mtu = plan->mtu;
	q->spec.net.queue_size = VIRTIO_NET_QUEUE_SIZE;
	q->net_fd = q->devices.device[q->devices.n - 1].peer_fd;
}

static int prepare_devices(struct qemu *q, struct err *err)
{
	struct qemu_spec *s = &q->spec;
	struct vm *vm = q->vm;
	int rc;

	rc = qemu_devices_init(&q->devices, vm, on_broken, q, err);
	if (rc < 0)
		return rc;
	for (s->n_fs = 0; s->n_fs < vm->cfg.n_fs; s->n_fs++) {
		s->fs[s->n_fs].tag = vm->cfg.fs[s->n_fs].tag;
		s->fs[s->n_fs].fd = q->devices.device[s->n_fs].peer_fd;
	}
	for (s->n_disks = 0; s->n_disks < vm->cfg.n_disks; s->n_disks++)
		s->disk_fd[s->n_disks] = q->devices.device[s->n_fs + s->n_disks].peer_fd;
	if (vm->network)
		prepare_net(q);
	return 0;
}

/* Only with more than one vCPU does it matter which QEMU it is. */
static int ask_version(struct qemu *q, struct err *err)
{
	if (q->vm->cfg.vcpus == 1)
		return 0;
	return qemu_version_ask(q->program_fd, &q->asked, err);
}

static void choose_vcpu_threads(struct qemu *q)
{
	struct qemu_version v = { 0, 0 };

	if (q->vm->cfg.vcpus == 1)
		return;
	v = qemu_version_take(&q->asked);
	q->spec.vcpu_threads = qemu_version_runs_vcpus_in_parallel(v);
	if (!v.major)
		log_info("QEMU did not say its version: the vCPUs take turns");
	else if (!q->spec.vcpu_threads)
		log_info("QEMU %u.%u: the vCPUs take turns; 8.1 and later run them in parallel",
			v.major, v.minor);
}

static void fill_spec(struct qemu *q, uint64_t tsc_khz)
{
	const struct vm_config *cfg = &q->vm->cfg;
	int room;

	q->spec.vcpus = cfg->vcpus;
	q->spec.ram_mib = cfg->ram_mib;
	q->spec.ram_fd = q->ram.fd;
	q->spec.kernel_fd = q->ram.kernel_fd;
	q->spec.root_fs = cfg->n_fs > 0 && strcmp(cfg->fs[0].tag, "/dev/root") == 0;
	q->spec.tsc_khz = tsc_khz;
	q->spec.cmdline = cfg->cmdline;
	/*
	 * Room for everything asked for comes first. The guest can do without these two: TCG has
	 * RDRAND, and memory is only not given back.
	 */
	room = QEMU_MAX_DEVICES - (cfg->n_consoles > 0) - (int)(cfg->n_fs + cfg->n_disks) -
	       q->spec.net.present;
	q->spec.rng = !cfg->no_rng && room-- > 0;
	q->spec.balloon = !cfg->no_balloon && room > 0;
}

static unsigned list_inherited(const struct qemu *q, int *fds)
{
	unsigned n = 0;

	fds[n++] = q->spec.ram_fd;
	fds[n++] = q->spec.kernel_fd;
	for (unsigned i = 0; i < q->spec.n_ports; i++) {
		if (q->spec.port[i].fd >= 0)
			fds[n++] = q->spec.port[i].fd;
	}
	for (unsigned i = 0; i < q->spec.n_fs; i++)
		fds[n++] = q->spec.fs[i].fd;
	for (unsigned i = 0; i < q->spec.n_disks; i++)
		fds[n++] = q->spec.disk_fd[i];
	return n;
}

static void log_argv(char *const *argv)
{
	for (unsigned i = 0; argv[i] && log_enabled(LOG_TRACE); i++)
		log_write(LOG_TRACE, "qemu argv[%u]: %s", i, argv[i]);
}

static void args_releasep(struct qemu_args *args)
{
	qemu_args_release(args);
}

static int start_qemu(struct qemu *q, struct err *err)
{
	cleanup_(args_releasep) struct qemu_args args = { 0 };
	int fds[MAX_INHERIT], rc;

	rc = qemu_args_build(&q->spec, q->program, &args, err);
	if (rc < 0)
		return rc;
	log_argv(args.v);
	rc = qemu_spawn(
		q->program_fd, args.v, fds, list_inherited(q, fds), q->net_fd, &q->child, err);
	if (rc < 0)
		return rc;
	log_debug("%s started, pid %d", q->program, (int)q->child.pid);
	log_phase("qemu-started");
	return 0;
}

/* QEMU has its own copies now; ours would keep its sockets open after its death. */
static void close_inherited(struct qemu *q)
{
	qemu_devices_close_peers(&q->devices);
	close_fd(&q->ram.kernel_fd);
	close_fd(&q->program_fd);
	for (unsigned i = 0; i < VM_MAX_CONSOLES; i++)
		close_fd(&q->port_peer[i]);
}

static int boot(struct qemu *q, struct err *err)
{
	bool waits_for_us = q->devices.n > 0;
	int rc = 0;

	if (!waits_for_us)
		rc = qemu_ram_load(&q->ram, q->kernel, err);
	if (rc == 0)
		rc = start_qemu(q, err);
	if (rc == 0 && waits_for_us)
		rc = qemu_ram_load(&q->ram, q->kernel, err);
	return rc;
}

static int qemu_prepare(struct vm *vm, struct err *err)
{
	struct qemu *q = calloc(1, sizeof(*q));
	struct tsc_span span;
	int rc;

	if (!q)
		return err_set(err, ENOMEM, "create qemu engine");
	vm->priv = q;
	q->vm = vm;
	q->program_fd = q->net_fd = -1;
	q->ram = QEMU_RAM_INIT;
	for (unsigned i = 0; i < VM_MAX_CONSOLES; i++)
		q->port_fd[i] = q->port_peer[i] = -1;
	tsc_span_begin(&span);
	rc = qemu_find(q->program, &q->program_fd, err);
	if (rc == 0)
		rc = ask_version(q, err);
	if (rc == 0)
		rc = kernel_open(&vm->cfg.kernel, &q->kernel, err);
	if (rc == 0)
		rc = qemu_ram_init(&q->ram, vm->cfg.ram_mib, q->kernel, err);
	if (rc == 0)
		rc = prepare_devices(q, err);
	if (rc == 0)
		rc = prepare_ports(q, err);
	if (rc == 0) {
		choose_vcpu_threads(q);
		fill_spec(q, tsc_span_khz(&span));
		rc = boot(q, err);
	}
	if (rc == 0)
		close_inherited(q);
	kernel_free(take_ptr(&q->kernel));
	return rc;
}

/* ---- running ---- */

static void read_output(struct qemu *q)
{
	char text[2048];
	ssize_t n;

	while ((n = read(q->child.output_fd, text, sizeof(text))) > 0)
		tail_add(&q->last_words, text, n);
}

static void on_output(void *ctx, int fd, uint32_t events)
{
	struct qemu *q = ctx;

	read_output(q);
	if (events & EPOLLHUP)
		loop_remove(&q->output_watch);
}

static void describe_crash(struct qemu *q, int status)
{
	char words[ERR_MSG_MAX / 2];
	size_t n = tail_lines(&q->last_words, 4, "; ", words, sizeof(words));
	const char *sep = n ? ": " : "";

	if (q->broken[0])
		(void)snprintf(q->exit.detail, sizeof(q->exit.detail), "%s", q->broken);
	else if (WIFSIGNALED(status))
		(void)snprintf(q->exit.detail, sizeof(q->exit.detail),
			"QEMU was killed by signal %d (%s)%s%s", WTERMSIG(status),
			strsignal(WTERMSIG(status)), sep, words);
	else
		(void)snprintf(q->exit.detail, sizeof(q->exit.detail),
			"QEMU failed with status %d%s%s", WEXITSTATUS(status), sep, words);
}

static void on_exit_of_qemu(void *ctx, int fd, uint32_t events)
{
	struct qemu *q = ctx;
	int status;

	loop_remove(&q->exit_watch);
	status = qemu_child_reap(&q->child);
	read_output(q);
	if (atomic_load(&q->stopped)) {
		q->exit.end = VM_END_STOPPED;
	} else if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
		q->exit.end = VM_END_GUEST;
	} else {
		q->exit.end = VM_END_CRASH;
		describe_crash(q, status);
	}
	loop_stop(q->vm->loop, 0);
}

static int qemu_run(struct vm *vm, struct vm_exit *exit, struct err *err)
{
	struct qemu *q = vm->priv;
	int rc;

	rc = loop_add(vm->loop, q->child.pidfd, EPOLLIN, on_exit_of_qemu, q, &q->exit_watch, err);
	if (rc == 0)
		rc = loop_add(
			vm->loop, q->child.output_fd, EPOLLIN, on_output, q, &q->output_watch, err);
	if (rc == 0)
		rc = loop_run(vm->loop, err);
	if (rc < 0)
		return rc;
	*exit = q->exit;
	return 0;
}

static void qemu_stop(struct vm *vm)
{
	struct qemu *q = vm->priv;

	atomic_store(&q->stopped, true);
	qemu_child_kill(&q->child);
}

static void qemu_release(struct vm *vm)
{
	struct qemu *q = vm->priv;

	if (!q)
		return;
	loop_remove(&q->exit_watch);
	loop_remove(&q->output_watch);
	qemu_child_end(&q->asked);
	qemu_child_end(&q->child);
	qemu_devices_release(&q->devices);
	free_ports(q);
	qemu_ram_release(&q->ram);
	kernel_free(q->kernel);
	close_fd(&q->program_fd);
	free(q);
	vm->priv = NULL;
}

const struct vm_engine_ops vm_qemu_ops = {
	.name = "qemu",
	.prepare = qemu_prepare,
	.run = qemu_run,
	.stop = qemu_stop,
	.release = qemu_release,
};
