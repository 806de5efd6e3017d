/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ELF kernels (x86-64): PT_LOAD segments by physical address. Linux' e_entry is the physical
 * address of its 64-bit entry. A kernel whose e_entry is not inside its image (a virtual address)
 * is entered through its PVH note instead.
 */
#include <elf.h>
#include <errno.h>
#include <string.h>

#include "lib/num.h"
#include "vmm/kernel.h"

#define ELF_MAX_PHDRS	 128
#define ELF_MAX_NOTES	 (64u << 10) /* bytes of one PT_NOTE that are looked at */
#define ELFNOTE_PVH	 18	     /* XEN_ELFNOTE_PHYS32_ENTRY */
#define ELFNOTE_HDR	 16	     /* namesz, descsz, type, "Xen\0" */
#define ELFNOTE_XEN_SIZE 4

static uint32_t note_pvh(const uint8_t *note, size_t left)
{
	if (left < ELFNOTE_HDR + 4 || memcmp(note + 12, "Xen", ELFNOTE_XEN_SIZE) != 0)
		return 0;
	if (load_le32(note) != ELFNOTE_XEN_SIZE || load_le32(note + 8) != ELFNOTE_PVH)
		return 0;
	uint32_t descsz = load_le32(note + 4);
	if (descsz == 8 && left >= ELFNOTE_HDR + 8 && load_le32(note + ELFNOTE_HDR + 4) == 0)
		descsz = 4;
	uint32_t entry = descsz == 4 ? load_le32(note + ELFNOTE_HDR) : 0;

	return entry < KERNEL_ADDR_MAX ? entry : 0;
}

uint32_t kernel_find_pvh(const uint8_t *data, size_t len)
{
	static const uint8_t pattern[] = { ELFNOTE_PVH, 0, 0, 0, 'X', 'e', 'n', 0 };
	const uint8_t *at = data, *end = data + len;

	while ((at = memmem(at, (size_t)(end - at), pattern, sizeof(pattern)))) {
		size_t off = (size_t)(at - data);
		uint32_t entry = 0;

		if (off >= 8 && off % 4 == 0)
			entry = note_pvh(at - 8, (size_t)(end - at) + 8);
		if (entry)
			return entry;
		at++;
	}
	return 0;
}

static int check_header(const Elf64_Ehdr *eh, struct err *err)
{
	if (memcmp(eh->e_ident, ELFMAG, SELFMAG) != 0)
		return err_msg(err, ENOEXEC, "not an ELF file");
	if (eh->e_ident[EI_CLASS] != ELFCLASS64 || eh->e_ident[EI_DATA] != ELFDATA2LSB)
		return err_msg(err, ENOEXEC, "not a 64-bit little-endian ELF file");
	if (eh->e_machine != EM_X86_64)
		return err_msg(err, ENOEXEC, "ELF machine %u is not x86-64", eh->e_machine);
	if (eh->e_type != ET_EXEC && eh->e_type != ET_DYN)
		return err_msg(err, ENOEXEC, "ELF type %u is not an executable", eh->e_type);
	if (eh->e_phentsize != sizeof(Elf64_Phdr) || !eh->e_phnum || eh->e_phnum > ELF_MAX_PHDRS)
		return err_msg(err, ENOEXEC, "bad program headers (%u of %u bytes)", eh->e_phnum,
			eh->e_phentsize);
	return 0;
}

static int add_load(
	struct kernel *k, const struct kernel_src *src, const Elf64_Phdr *ph, struct err *err)
{
	if (!ph->p_memsz)
		return 0;
	if (ph->p_filesz > ph->p_memsz || !range_ok(ph->p_offset, ph->p_filesz, src->size))
		return err_msg(err, ENOEXEC, "a segment lies outside the file");
	if (!range_ok(ph->p_paddr, ph->p_memsz, KERNEL_ADDR_MAX))
		return err_msg(err, ENOEXEC, "a segment lies above 1 GiB (physical 0x%llx)",
			(unsigned long long)ph->p_paddr);
	if (k->n_segments == KERNEL_MAX_SEGMENTS)
		return err_msg(err, ENOEXEC, "more than %d segments", KERNEL_MAX_SEGMENTS);
	k->segment[k->n_segments++] = (struct kernel_segment){
		.gpa = ph->p_paddr,
		.mem_len = ph->p_memsz,
		.file_off = ph->p_offset,
		.file_len = ph->p_filesz,
	};
	return 0;
}

static int read_note(struct kernel *k, const struct kernel_src *src, const Elf64_Phdr *ph)
{
	uint8_t buf[1024];
	uint64_t left = MIN_OF(ph->p_filesz, (uint64_t)ELF_MAX_NOTES), off = ph->p_offset;

	/* Windows overlap so that a note across two of them is seen in the second. */
	while (left >= ELFNOTE_HDR + 4 && !k->pvh_entry) {
		size_t n = MIN_OF(left, sizeof(buf));

		if (kernel_src_read(src, off, buf, n))
			return -ENOEXEC;
		k->pvh_entry = kernel_find_pvh(buf, n);
		if (n == left)
			return 0;
		off += n - 32;
		left -= n - 32;
	}
	return 0;
}

static int read_phdr(struct kernel *k, const struct kernel_src *src, uint64_t off, struct err *err)
{
	Elf64_Phdr ph;

	if (kernel_src_read(src, off, &ph, sizeof(ph)))
		return err_msg(err, ENOEXEC, "program headers lie outside the file");
	if (ph.p_type == PT_LOAD)
		return add_load(k, src, &ph, err);
	if (ph.p_type == PT_NOTE && read_note(k, src, &ph))
		return err_msg(err, ENOEXEC, "a note segment lies outside the file");
	return 0;
}

static bool in_segments(const struct kernel *k, uint64_t gpa)
{
	for (unsigned i = 0; i < k->n_segments; i++)
		if (gpa - k->segment[i].gpa < k->segment[i].mem_len)
			return true;
	return false;
}

static void set_range(struct kernel *k)
{
	uint64_t lo = UINT64_MAX, hi = 0;

	for (unsigned i = 0; i < k->n_segments; i++) {
		lo = MIN_OF(lo, k->segment[i].gpa);
		hi = MAX_OF(hi, k->segment[i].gpa + k->segment[i].mem_len);
	}
	k->load_addr = lo;
	k->size = hi - lo;
}

int kernel_parse_elf(struct kernel *k, const struct kernel_src *src, struct err *err)
{
	Elf64_Ehdr eh;
	int r;

	if (kernel_src_read(src, 0, &eh, sizeof(eh)))
		return err_msg(err, ENOEXEC, "too short for an ELF file");
	r = check_header(&eh, err);
	if (r)
		return r;
	for (unsigned i = 0; i < eh.e_phnum; i++) {
		uint64_t off;

		if (__builtin_add_overflow(eh.e_phoff, i * sizeof(Elf64_Phdr), &off))
			return err_msg(err, ENOEXEC, "program headers lie outside the file");
		r = read_phdr(k, src, off, err);
		if (r)
			return r;
	}
	if (!k->n_segments)
		return err_msg(err, ENOEXEC, "no loadable segment");
	set_range(k);
	k->entry = in_segments(k, eh.e_entry) ? eh.e_entry : 0;
	if (k->pvh_entry && !in_segments(k, k->pvh_entry))
		k->pvh_entry = 0;
	if (!k->entry && !k->pvh_entry)
		return err_msg(err, ENOEXEC, "the entry point 0x%llx is outside the image",
			(unsigned long long)eh.e_entry);
	return 0;
}
