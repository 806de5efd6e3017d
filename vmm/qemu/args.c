/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/qemu/args.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/num.h"

/* Room in the kernel's command line for one "virtio_mmio.device=512@0xfeb00e00:12 " of QEMU. */
#define DEVICE_TOKEN_LEN 40

/*
 * CPU of the guest. "max" has what x86-64-v3 images need. Taken away is what costs time under
 * emulation and gives nothing: nested SVM (its set-up at boot), fast strings (erms, fsrm: the
 * kernel then copies with "rep movsb", which TCG runs byte by byte), five-level page tables (a
 * longer walk on every TLB miss), PCID (TCG has no tagged TLB).
 */
#define CPU_MODEL "max,-svm,-erms,-fsrm,-la57,-pcid"

/*
 * What the kernel can be spared while it boots, found by sampling where it spends its time under
 * emulation (2.9 s of CPU before, 1.6 s with all of these).
 */
static const char *const fast_boot[] = {
	/*
	 * With one CPU it would take every lock prefix out of its code, one by one, each with a
	 * change of address space: a quarter of the whole boot.
	 */
	"noreplace-smp",
	/* The jitter entropy self-test: 0.2 s. RDRAND seeds the generator. */
	"initcall_blacklist=jent_mod_init",
	/* Waiting for ten timer ticks to see that the timer works. */
	"no_timer_check",
};

/*
 * Our devices write guest RAM from outside of QEMU, which therefore keeps its translations of code
 * that was there before: a page of the page cache that is used again, filled by a device and run,
 * would run the old code. Whoever allocates a page clears it first with this, and what the guest's
 * CPU writes QEMU notices. (QEMU 7.2.22 goes wrong where the new code has the same virtual
 * address too; 10 and 11 look translations up without that, and two programs in five crashed.)
 */
#define CLEAR_PAGES " init_on_alloc=1"

/*
 * With a single CPU the PIT does as well as the local APIC's timer, whose calibration is a wait of
 * 0.1 s. With more it would have to wake the others; and those are started one after the other,
 * since in parallel they spin for each other: 2.6 s for 7 of them, against 1.0 s.
 */
#define ONE_CPU_TOKENS	" nolapic_timer"
#define MANY_CPU_TOKENS " cpuhp.parallel=0"

static bool args_push(struct qemu_args *a, char *s)
{
	if (!s)
		return false;
	if (a->n + 2 > a->cap) {
		unsigned cap = a->cap ? 2 * a->cap : 64;
		char **v = realloc(a->v, cap * sizeof(*v));

		if (!v) {
			free(s);
			return false;
		}
		a->v = v;
		a->cap = cap;
	}
	a->v[a->n++] = s;
	a->v[a->n] = NULL;
	return true;
}

static int add(struct qemu_args *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static int add(struct qemu_args *a, const char *fmt, ...)
{
	va_list ap;
	char *s = NULL;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&s, fmt, ap);
	va_end(ap);
	return n >= 0 && args_push(a, s) ? 0 : -ENOMEM;
}

void qemu_args_release(struct qemu_args *args)
{
	for (unsigned i = 0; i < args->n; i++)
		free(args->v[i]);
	free(args->v);
	*args = (struct qemu_args){ 0 };
}

/* QEMU's option syntax doubles commas inside values. @dst has room for twice the text and a NUL. */
static const char *quote(const char *s, char *dst)
{
	char *p = dst;

	for (; *s; s++) {
		*p++ = *s;
		if (*s == ',')
			*p++ = ',';
	}
	*p = '\0';
	return dst;
}

static unsigned count_devices(const struct qemu_spec *s)
{
	return s->n_fs + s->n_disks + s->net.present + (s->n_ports > 0) + s->rng + s->balloon;
}

static int add_machine(struct qemu_args *a, const struct qemu_spec *s)
{
	int rc = 0;

	/*
	 * PIC and PIT must stay: without either the kernel finds no timer and hangs. The RTC gives
	 * the guest its wall clock. No serial port: the kernel has no driver for it.
	 */
	rc |= add(a, "-M");
	rc |= add(a, "microvm,acpi=off,isa-serial=off,memory-backend=ram,dump-guest-core=off");
	rc |= add(a, "-accel");
	rc |= add(a, "tcg,thread=%s", s->vcpu_threads ? "multi" : "single");
	rc |= add(a, "-cpu");
	rc |= add(a, CPU_MODEL);
	rc |= add(a, "-smp");
	rc |= add(a, "%u", s->vcpus);
	rc |= add(a, "-m");
	rc |= add(a, "%" PRIu64 "M", s->ram_mib);
	rc |= add(a, "-object");
	rc |= add(a,
		"memory-backend-file,id=ram,size=%" PRIu64 "M,mem-path=/proc/self/fd/%d,share=on",
		s->ram_mib, s->ram_fd);
	rc |= add(a, "-kernel");
	rc |= add(a, "/proc/self/fd/%d", s->kernel_fd);
	/* No configuration files, devices, monitor or display that are not asked for here. */
	for (const char *const *p = (const char *const[]){ "-nodefaults", "-no-user-config",
		     "-no-reboot", "-display", "none", "-monitor", "none", "-global",
		     "virtio-mmio.force-legacy=false", "-sandbox",
		     "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
		     NULL };
		*p; p++)
		rc |= add(a, "%s", *p);
	return rc;
}

/*
 * reboot=t: microvm has no keyboard controller; a triple fault is its way out. A TSC of known rate
 * spares the kernel its failing calibration and gives it a clock better than the timer tick:
 * under TCG the guest reads the host's TSC.
 */
static int add_cmdline(struct qemu_args *a, const struct qemu_spec *s, struct err *err)
{
	char text[QEMU_CMDLINE_MAX * 2], tsc[64] = "", fast[256] = "";
	size_t room = QEMU_CMDLINE_MAX - DEVICE_TOKEN_LEN * count_devices(s);
	int len;

	if (s->tsc_khz)
		(void)snprintf(
			tsc, sizeof(tsc), " tsc_early_khz=%" PRIu64 " tsc=reliable", s->tsc_khz);
	for (unsigned i = 0; i < ARRAY_LEN(fast_boot); i++)
		(void)snprintf(
			fast + strlen(fast), sizeof(fast) - strlen(fast), " %s", fast_boot[i]);
	len = snprintf(text, sizeof(text),
		"reboot=t panic=-1 panic_print=0 nomodule console=hvc0%s rw quiet" CLEAR_PAGES
		"%s%s%s%s%s",
		s->root_fs ? " rootfstype=virtiofs" : "", tsc, fast,
		s->vcpus == 1 ? ONE_CPU_TOKENS : MANY_CPU_TOKENS,
		s->cmdline && *s->cmdline ? " " : "", s->cmdline ? s->cmdline : "");
	if (len < 0 || (size_t)len >= room)
		return err_msg(
			err, E2BIG, "kernel command line is longer than %zu bytes", room - 1);
	return add(a, "-append") | add(a, "%s", text);
}

static int add_port(struct qemu_args *a, const struct qemu_port *p, unsigned nr)
{
	char name[2 * 64 + 1];
	int rc;

	rc = add(a, "-chardev");
	if (p->fd >= 0)
		rc |= add(a, "socket,id=port%u,fd=%d", nr, p->fd);
	else
		rc |= add(a, "null,id=port%u", nr);
	rc |= add(a, "-device");
	rc |= add(a, "%s,chardev=port%u,nr=%u%s%s",
		nr == 0 || p->tty ? "virtconsole" : "virtserialport", nr, nr,
		p->name ? ",name=" : "", p->name ? quote(p->name, name) : "");
	return rc;
}

static int add_consoles(struct qemu_args *a, const struct qemu_spec *s)
{
	int rc = 0;

	if (s->n_ports == 0)
		return 0;
	rc |= add(a, "-device");
	rc |= add(a, "virtio-serial-device,max_ports=%u", s->n_ports);
	for (unsigned i = 0; i < s->n_ports; i++)
		rc |= add_port(a, &s->port[i], i);
	return rc;
}

static int add_vhost_user(struct qemu_args *a, const struct qemu_spec *s)
{
	char tag[2 * 36 + 1];
	int rc = 0;

	for (unsigned i = 0; i < s->n_fs; i++) {
		rc |= add(a, "-chardev");
		rc |= add(a, "socket,id=fs%u,fd=%d", i, s->fs[i].fd);
		rc |= add(a, "-device");
		rc |= add(a, "vhost-user-fs-device,chardev=fs%u,queue-size=1024,tag=%s", i,
			quote(s->fs[i].tag, tag));
	}
	for (unsigned i = 0; i < s->n_disks; i++) {
		rc |= add(a, "-chardev");
		rc |= add(a, "socket,id=disk%u,fd=%d", i, s->disk_fd[i]);
		rc |= add(a, "-device");
		rc |= add(a, "vhost-user-blk,chardev=disk%u,num-queues=1,queue-size=1024", i);
	}
	return rc;
}

/*
 * Features that QEMU would serve itself, by a control queue, are off: it is a part that the guest
 * could attack, and of no use on a cable with one other end. The path is never looked at.
 */
static int add_net(struct qemu_args *a, const struct qemu_spec *s)
{
	const uint8_t *m = s->net.mac;
	int rc = 0;

	if (!s->net.present)
		return 0;
	rc |= add(a, "-chardev");
	rc |= add(a, "socket,id=net,path=inherited");
	rc |= add(a, "-netdev");
	rc |= add(a, "vhost-user,id=net,chardev=net,queues=1");
	rc |= add(a, "-device");
	rc |= add(a,
		"virtio-net-device,netdev=net,mac=%02x:%02x:%02x:%02x:%02x:%02x,host_mtu=%u,"
		"rx_queue_size=%u,tx_queue_size=%u,mrg_rxbuf=on,mq=off,ctrl_vq=off,ctrl_rx=off,"
		"ctrl_vlan=off,ctrl_rx_extra=off,ctrl_mac_addr=off,ctrl_guest_offloads=off,"
		"guest_announce=off",
		m[0], m[1], m[2], m[3], m[4], m[5], s->net.mtu, s->net.queue_size,
		s->net.queue_size);
	return rc;
}

static int add_own_devices(struct qemu_args *a, const struct qemu_spec *s)
{
	int rc = 0;

	if (s->rng) {
		rc |= add(a, "-device");
		rc |= add(a, "virtio-rng-device");
	}
	if (s->balloon) {
		rc |= add(a, "-device");
		rc |= add(a, "virtio-balloon-device,free-page-reporting=on");
	}
	return rc;
}

static void args_releasep(struct qemu_args *a)
{
	qemu_args_release(a);
}

int qemu_args_build(
	const struct qemu_spec *spec, const char *binary, struct qemu_args *ret, struct err *err)
{
	cleanup_(args_releasep) struct qemu_args a = { 0 };
	unsigned n = count_devices(spec);
	int rc;

	if (n > QEMU_MAX_DEVICES)
		return err_msg(err, E2BIG, "%u devices: the qemu engine's machine has room for %d",
			n, QEMU_MAX_DEVICES);
	rc = add(&a, "%s", binary) | add_machine(&a, spec);
	if (rc == 0) {
		rc = add_cmdline(&a, spec, err);
		if (rc == -E2BIG)
			return rc;
	}
	rc |= add_consoles(&a, spec) | add_vhost_user(&a, spec) | add_net(&a, spec) |
	      add_own_devices(&a, spec);
	if (rc)
		return err_set(err, ENOMEM, "build QEMU's command line");
	*ret = a;
	a = (struct qemu_args){ 0 };
	return 0;
}
