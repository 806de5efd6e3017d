/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/rlimits.h"

#include <errno.h>
#include <sys/resource.h>

#include "lib/num.h"

struct limit_row {
	const char *name;
	int resource;
};

static const struct limit_row limit_rows[] = {
	{ "cpu", RLIMIT_CPU },
	{ "fsize", RLIMIT_FSIZE },
	{ "data", RLIMIT_DATA },
	{ "stack", RLIMIT_STACK },
	{ "core", RLIMIT_CORE },
	{ "rss", RLIMIT_RSS },
	{ "nproc", RLIMIT_NPROC },
	{ "nofile", RLIMIT_NOFILE },
	{ "memlock", RLIMIT_MEMLOCK },
	{ "as", RLIMIT_AS },
	{ "locks", 10 },
	{ "sigpending", 11 },
	{ "msgqueue", 12 },
	{ "nice", 13 },
	{ "rtprio", 14 },
	{ "rttime", 15 },
};

static int resource_of(struct text name)
{
	for (size_t i = 0; i < ARRAY_LEN(limit_rows); i++) {
		if (text_is(name, limit_rows[i].name))
			return limit_rows[i].resource;
	}
	return -1;
}

int rlimits_apply(const struct list *list)
{
	const struct rlimit_spec *specs = list->v;

	for (size_t i = 0; i < list->n; i++) {
		struct rlimit limit = { specs[i].soft, specs[i].hard };
		int resource = resource_of(specs[i].resource);

		if (resource >= 0 && setrlimit(resource, &limit) < 0)
			return -errno;
	}
	return 0;
}

int rlimits_check(const struct list *list, struct err *err)
{
	const struct rlimit_spec *specs = list->v;
	uint32_t seen = 0;

	for (size_t i = 0; i < list->n; i++) {
		int resource = resource_of(specs[i].resource);

		if (resource < 0)
			return err_msg(
				err, EINVAL, "unknown resource limit '%s'", specs[i].resource.s);
		if (seen & 1u << resource)
			return err_msg(err, EINVAL, "resource limit '%s' given twice",
				specs[i].resource.s);
		if (specs[i].soft > specs[i].hard)
			return err_msg(err, EINVAL, "resource limit '%s': soft above hard",
				specs[i].resource.s);
		seen |= 1u << resource;
	}
	return 0;
}
