/* SPDX-License-Identifier: Apache-2.0 */
/* Where things are in an x86-64 guest (krun-api 3.1 to 3.3). Plain arithmetic, no guest memory. */
#ifndef VMM_KVM_LAYOUT_H
#define VMM_KVM_LAYOUT_H

#include <stdint.h>

#include "lib/err.h"
#include "lib/num.h"

#define LAYOUT_GDT	   0x500u
#define LAYOUT_IDT	   0x520u
#define LAYOUT_PVH_INFO	   0x6000u
#define LAYOUT_PVH_MEMMAP  0x6800u
#define LAYOUT_ZERO_PAGE   0x7000u
#define LAYOUT_STACK	   0x8ff0u
#define LAYOUT_PML4	   0x9000u
#define LAYOUT_PDPTE	   0xa000u
#define LAYOUT_PDE	   0xb000u
#define LAYOUT_CMDLINE	   0x20000u
#define LAYOUT_CMDLINE_MAX 2048u /* what Linux keeps on x86, with its NUL */
#define LAYOUT_EBDA	   0x9fc00u
#define LAYOUT_EBDA_END	   0xa0000u
#define LAYOUT_HIGH	   0x100000u
#define LAYOUT_HOLE	   0xd0000000ULL /* virtio-mmio windows start here, RAM ends here */
#define LAYOUT_HOLE_END	   0x100000000ULL
#define LAYOUT_TSS	   0xfffbd000u
#define LAYOUT_LAPIC	   0xfee00000u
#define LAYOUT_IOAPIC	   0xfec00000u
#define LAYOUT_MMIO_SIZE   0x1000u
#define LAYOUT_IRQ_FIRST   5u
#define LAYOUT_IRQ_LAST	   15u

#define LAYOUT_MAX_SLOTS 4
#define LAYOUT_MAX_E820	 3
#define E820_RAM	 1

/* struct layout_slot - a memory slot; @bundle: backed by the kernel library's own pages */
struct layout_slot {
	uint64_t gpa, size;
	bool bundle;
};

struct layout_e820 {
	uint64_t addr, size;
};

struct layout {
	unsigned n_slots, n_e820;
	struct layout_slot slot[LAYOUT_MAX_SLOTS];
	struct layout_e820 e820[LAYOUT_MAX_E820];
};

/*
 * layout_plan() - place RAM around the kernel bundle and the hole
 * @ram:  bytes, whole pages; with a bundle this comes on top of the bundle and of what is below it
 * @load, @size: where the bundle goes, whole pages; size 0: no bundle (RAM starts at 0)
 * Return: 0; -EINVAL ram is 0 or too large to place
 */
int layout_plan(uint64_t ram, uint64_t load, uint64_t size, struct layout *ret, struct err *err);

#endif
