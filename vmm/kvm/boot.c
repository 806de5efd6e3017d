/* SPDX-License-Identifier: Apache-2.0 */
/*
 * x86-64: what the kernel finds in low memory: GDT, page tables, command line, MP table, and
 * either the zero page (64-bit boot protocol) or the PVH start info.
 */
#include <asm/bootparam.h>
#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "vmm/kvm/kvm_internal.h"
#include "vmm/kvm/mptable.h"

#define GDT_CODE_64  0x00af9b000000ffffULL
#define GDT_CODE_32  0x00cf9b000000ffffULL
#define GDT_DATA     0x00cf93000000ffffULL
#define GDT_TSS	     0x008f8b000000ffffULL
#define PAGE_TABLE   0x3 /* present, writable */
#define PAGE_2M	     0x83
#define BOOT_FLAG    0xaa55
#define HEADER_MAGIC 0x53726448 /* "HdrS" */
#define LOADER_OTHER 0xff
#define KERNEL_ALIGN 0x01000000
#define SETUP_OFFSET 0x1f1
#define PVH_MAGIC    0x336ec578
#define PVH_VERSION  1

/* struct hvm_start_info and its memory map (Xen's public ABI, used by PVH kernels) */
struct pvh_info {
	uint32_t magic, version, flags, n_modules;
	uint64_t modules, cmdline, rsdp, memmap;
	uint32_t n_memmap, reserved;
};

struct pvh_memmap {
	uint64_t addr, size;
	uint32_t type, reserved;
};

static_assert(sizeof(struct boot_params) == 4096, "zero page");
static_assert(offsetof(struct boot_params, hdr) == SETUP_OFFSET, "setup header");
static_assert(sizeof(struct pvh_info) == 56, "hvm_start_info");
static_assert(sizeof(struct pvh_memmap) == 24, "hvm_memmap_table_entry");

static int put(struct machine *m, uint64_t gpa, const void *data, size_t len, struct err *err)
{
	void *to = guest_mem_ptr(m->mem, gpa, len);

	if (!to)
		return err_msg(
			err, EFAULT, "no memory at 0x%llx for boot data", (unsigned long long)gpa);
	memcpy(to, data, len);
	return 0;
}

static int put_gdt(struct machine *m, struct err *err)
{
	const uint64_t gdt[] = { 0, m->kernel->entry ? GDT_CODE_64 : GDT_CODE_32, GDT_DATA,
		GDT_TSS };

	return put(m, LAYOUT_GDT, gdt, sizeof(gdt), err);
}

/* The first GiB, one to one, in 2 MiB pages. */
static int put_page_tables(struct machine *m, struct err *err)
{
	const uint64_t pml4 = LAYOUT_PDPTE | PAGE_TABLE, pdpte = LAYOUT_PDE | PAGE_TABLE;
	uint64_t pde[512];
	int r;

	for (uint64_t i = 0; i < ARRAY_LEN(pde); i++)
		pde[i] = i << 21 | PAGE_2M;
	r = put(m, LAYOUT_PML4, &pml4, sizeof(pml4), err);
	if (!r)
		r = put(m, LAYOUT_PDPTE, &pdpte, sizeof(pdpte), err);
	return r ? r : put(m, LAYOUT_PDE, pde, sizeof(pde), err);
}

static int put_mptable(struct machine *m, struct err *err)
{
	size_t len = LAYOUT_EBDA_END - LAYOUT_EBDA;
	uint8_t *to = guest_mem_ptr(m->mem, LAYOUT_EBDA, len);
	int r;

	if (!to)
		return err_msg(err, EFAULT, "no memory for the MP table");
	r = mptable_build(to, len, LAYOUT_EBDA, m->vm->cfg.vcpus, err);
	return r < 0 ? r : 0;
}

static int put_zero_page(struct machine *m, struct err *err)
{
	const struct layout *l = &m->layout;
	struct boot_params bp = { 0 };

	memcpy((uint8_t *)&bp + SETUP_OFFSET, m->kernel->setup, m->kernel->setup_len);
	bp.hdr.type_of_loader = LOADER_OTHER;
	bp.hdr.boot_flag = BOOT_FLAG;
	bp.hdr.header = HEADER_MAGIC;
	bp.hdr.cmd_line_ptr = LAYOUT_CMDLINE;
	bp.hdr.cmdline_size = (uint32_t)m->cmdline.len + 1;
	if (!m->kernel->setup_len)
		bp.hdr.kernel_alignment = KERNEL_ALIGN;
	bp.e820_entries = (uint8_t)l->n_e820;
	for (unsigned i = 0; i < l->n_e820; i++) {
		bp.e820_table[i].addr = l->e820[i].addr;
		bp.e820_table[i].size = l->e820[i].size;
		bp.e820_table[i].type = E820_RAM;
	}
	return put(m, LAYOUT_ZERO_PAGE, &bp, sizeof(bp), err);
}

static int put_pvh(struct machine *m, struct err *err)
{
	const struct layout *l = &m->layout;
	struct pvh_memmap map[LAYOUT_MAX_E820] = { 0 };
	struct pvh_info info = {
		.magic = PVH_MAGIC,
		.version = PVH_VERSION,
		.cmdline = LAYOUT_CMDLINE,
		.memmap = LAYOUT_PVH_MEMMAP,
		.n_memmap = l->n_e820,
	};
	int r;

	for (unsigned i = 0; i < l->n_e820; i++)
		map[i] = (struct pvh_memmap){ l->e820[i].addr, l->e820[i].size, E820_RAM, 0 };
	r = put(m, LAYOUT_PVH_INFO, &info, sizeof(info), err);
	return r ? r : put(m, LAYOUT_PVH_MEMMAP, map, sizeof(map), err);
}

int arch_write_boot_data(struct machine *m, struct err *err)
{
	int r = put_gdt(m, err);

	if (!r)
		r = put_page_tables(m, err);
	if (!r)
		r = put(m, LAYOUT_CMDLINE, m->cmdline.text, m->cmdline.len + 1, err);
	if (!r)
		r = put_mptable(m, err);
	if (!r)
		r = m->kernel->entry ? put_zero_page(m, err) : put_pvh(m, err);
	return r;
}
