/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/kvm/kvm_probe.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "vmm/kvm/kvm_internal.h"

static bool answer(bool usable, char *reason, size_t len, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

static bool answer(bool usable, char *reason, size_t len, const char *fmt, ...)
{
	va_list ap;

	if (reason && len) {
		va_start(ap, fmt);
		(void)vsnprintf(reason, len, fmt, ap);
		va_end(ap);
	}
	return usable;
}

static bool has_word(const char *line, const char *word)
{
	size_t n = strlen(word);

	for (const char *p = line; (p = strstr(p, word)); p += n)
		if (p > line && p[-1] == ' ' && (p[n] == ' ' || p[n] == '\n' || !p[n]))
			return true;
	return false;
}

/* The first CPU speaks for all. A host without the flag cannot run guests in hardware. */
static bool cpu_has_virtualisation(void)
{
	cleanup_file FILE *f = fopen("/proc/cpuinfo", "re");
	char line[8192];

	if (!f)
		return true; /* cannot tell: let /dev/kvm speak */
	while (fgets(line, sizeof(line), f))
		if (strncmp(line, "flags", 5) == 0)
			return has_word(line, "vmx") || has_word(line, "svm");
	return true;
}

bool kvm_probe(char *reason, size_t len)
{
	cleanup_fd int fd = -1;
	struct err err = ERR_INIT;

	if (kvm_open(&fd, &err))
		return answer(false, reason, len, "%s", err.msg);
	/* A KVM that emulates the privileged part opens and creates machines like the real one, but
	 * an ordinary guest kernel does not survive on it. */
	if (access("/sys/module/kvm_pvm", F_OK) == 0)
		return answer(false, reason, len, "/dev/kvm is the software kind (module kvm_pvm)");
	if (!cpu_has_virtualisation())
		return answer(
			false, reason, len, "/dev/kvm opens but the CPU has neither vmx nor svm");
	return answer(true, reason, len, "/dev/kvm with hardware virtualisation");
}
