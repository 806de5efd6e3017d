/* SPDX-License-Identifier: Apache-2.0 */
/*
 * seccomp filters for processes that run or serve a guest: everything is allowed but what such a
 * process never does. Rules about one call are final: the first that names a call decides.
 *
 *	seccomp_begin(&f);
 *	seccomp_when(...);		exceptions from what follows
 *	seccomp_common(&f);
 *	seccomp_deny(&f, calls, n);
 *	...
 *	seccomp_end(&f);
 *	seccomp_install(&f, flags);
 */
#ifndef LIB_SECCOMP_H
#define LIB_SECCOMP_H

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdint.h>

#define SECCOMP_MAX 400

struct seccomp {
	struct sock_filter f[SECCOMP_MAX];
	unsigned short n;
	unsigned short pid_at; /* where seccomp_set_pid() writes */
};

/* seccomp_begin() - calls of another architecture kill. */
void seccomp_begin(struct seccomp *s);

/*
 * seccomp_common() - calls that no process of a machine needs are denied (EPERM): tracing, new
 * sockets, mounts, modules, keys, signals to other processes, ...
 */
void seccomp_common(struct seccomp *s);

/* seccomp_deny() - EPERM for each of @n calls */
void seccomp_deny(struct seccomp *s, const int *nr, unsigned n);

/* seccomp_fail() - call @nr fails with @error */
void seccomp_fail(struct seccomp *s, int nr, int error);

/* seccomp_only() - call @nr is allowed if (the low half of) argument @arg is @value, else EPERM */
void seccomp_only(struct seccomp *s, int nr, unsigned arg, uint32_t value);

/* seccomp_with() - call @nr is allowed if argument @arg has one of the bits of @mask, else EPERM */
void seccomp_with(struct seccomp *s, int nr, unsigned arg, uint32_t mask);

/* struct seccomp_arg - (the low half of) argument @arg has @value in the bits of @mask */
struct seccomp_arg {
	unsigned arg;
	uint32_t mask, value;
};

/*
 * seccomp_when() - if all of @args (@n of them) hold, call @nr ends with @verdict: SECCOMP_ALLOW
 * lets it through, SECCOMP_PRETEND returns 0 without making it. Otherwise later rules decide.
 */
#define SECCOMP_ALLOW	SECCOMP_RET_ALLOW
#define SECCOMP_PRETEND SECCOMP_RET_ERRNO /* with errno 0 */
void seccomp_when(
	struct seccomp *s, int nr, const struct seccomp_arg *args, unsigned n, uint32_t verdict);

void seccomp_end(struct seccomp *s);

/* seccomp_set_pid() - whose threads may be signalled; seccomp_common() took the caller. For a child
 * that installs the filter its parent made; async-signal-safe. */
void seccomp_set_pid(struct seccomp *s, int pid);

/* seccomp_install() - needs no_new_privs or privilege; @flags: SECCOMP_FILTER_FLAG_*.
 * Async-signal-safe. Return: 0; -ENOSYS, -EINVAL on a kernel without filters; -errno */
int seccomp_install(const struct seccomp *s, unsigned flags);

#endif
