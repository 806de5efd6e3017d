/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "lib/num.h"
#include "vmm/kernel.h"

static int load_segment(const struct kernel *k, const struct kernel_segment *s,
	const struct guest_mem *mem, struct err *err)
{
	struct kernel_src src = { .fd = k->fd, .size = s->file_off + s->file_len };
	uint8_t *to = guest_mem_ptr(mem, s->gpa, s->mem_len);

	if (!to)
		return err_msg(err, EFAULT,
			"kernel '%s' needs memory up to %llu MiB, more than the machine has",
			k->name, (unsigned long long)((s->gpa + s->mem_len) >> 20) + 1);
	/* What is behind the file's bytes is fresh memory: already zero. */
	int r = kernel_src_read(&src, s->file_off, to, s->file_len);
	return r ? err_set(err, r, "read kernel '%s'", k->name) : 0;
}

int kernel_load(const struct kernel *k, const struct guest_mem *mem, struct err *err)
{
	for (unsigned i = 0; i < k->n_segments; i++) {
		int r = load_segment(k, &k->segment[i], mem, err);

		if (r)
			return r;
	}
	return 0;
}
