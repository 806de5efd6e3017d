/* SPDX-License-Identifier: Apache-2.0 */
/* Kernel files of every format, and the PVH note scan, over the same bytes. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "lib/num.h"
#include "vmm/kernel.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* What kernel_load() relies on. */
static void check(const struct kernel *k, const struct kernel_src *src)
{
	for (unsigned i = 0; i < k->n_segments; i++) {
		const struct kernel_segment *s = &k->segment[i];

		if (!range_ok(s->gpa, s->mem_len, KERNEL_ADDR_MAX) || s->file_len > s->mem_len ||
			!range_ok(s->file_off, s->file_len, src->size))
			abort();
	}
	if ((!k->entry && !k->pvh_entry) || !k->n_segments || k->setup_len > sizeof(k->setup))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	typedef int parse_fn(struct kernel *, const struct kernel_src *, struct err *);
	static parse_fn *const parsers[] = { kernel_parse_elf, kernel_parse_bzimage,
		kernel_parse_raw };
	struct kernel_src src = { .fd = -1, .mem = data, .size = len };

	if (!len)
		return 0;
	for (size_t i = 0; i < ARRAY_LEN(parsers); i++) {
		struct kernel k = { .fd = -1 };
		struct vm_kernel_version version;
		struct err err = ERR_INIT;

		if (parsers[i](&k, &src, &err) < 0)
			continue;
		check(&k, &src);
		kernel_find_version(&k, &src, &version);
	}
	(void)kernel_format_guess(&src);
	(void)kernel_find_pvh(data, len);
	return 0;
}
