/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/kvm/cmdline.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lib/num.h"

/* Everybody's tokens, each with its reason. */
static const char *const prolog[] = {
	"reboot=k",	  /* leave through the i8042's reset line, which ends the machine */
	"panic=-1",	  /* a panic reboots at once */
	"console=hvc0",	  /* port 0 of the console device */
	"quiet",	  /* a line on the console costs exits */
	"no-kvmapf",	  /* async page faults would only bounce: our RAM is not swapped */
	"no_timer_check", /* a PIT under KVM delivers its interrupts: do not wait for ten of them */
	"tsc=reliable",	  /* no watchdog over the clock */
	/* A slow self-test (RDRAND and the rng device seed the generator), and the RTC: kvm-clock
	 * tells the time, and its IRQ 8 is one of ours. */
	"initcall_blacklist=jent_mod_init,cmos_init",
};

/* tag "/dev/root" is what the kernel mounts when no root= is given */
static const char root_tokens[] = "rootfstype=virtiofs rw init=/init.krun";

static bool printable(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (s[i] < 0x20 || s[i] > 0x7e)
			return false;
	return true;
}

int cmdline_add(struct cmdline *c, struct err *err, const char *fmt, ...)
{
	size_t gap = c->len ? 1 : 0, room = sizeof(c->text) - c->len;
	char *at = c->text + c->len;
	va_list ap;
	int n;

	if (room < gap + 1)
		return err_msg(err, E2BIG, "kernel command line is full");
	va_start(ap, fmt);
	n = vsnprintf(at + gap, room - gap, fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= room - gap || !printable(at + gap, (size_t)n)) {
		bool fits = n >= 0 && (size_t)n < room - gap;

		*at = '\0';
		return fits ? err_msg(err, EINVAL,
				      "kernel command line: a byte is not printable ASCII")
			    : err_msg(err, E2BIG, "kernel command line: longer than %zu bytes",
				      sizeof(c->text) - 1);
	}
	if (gap)
		*at = ' ';
	c->len += gap + (size_t)n;
	return 0;
}

int cmdline_prolog(struct cmdline *c, bool root, struct err *err)
{
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(prolog) && !r; i++)
		r = cmdline_add(c, err, "%s", prolog[i]);
	return r || !root ? r : cmdline_add(c, err, "%s", root_tokens);
}
