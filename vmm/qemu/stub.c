/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/qemu/stub.h"

#include <assert.h>
#include <elf.h>
#include <string.h>

#define XEN_ELFNOTE_PHYS32_ENTRY 18

/* struct pvh_note - an ELF note as the PVH boot protocol wants it; the entry is 8 bytes in ELF64 */
struct pvh_note {
	Elf64_Nhdr hdr;
	char name[4];
	uint64_t entry;
};

struct stub_head {
	Elf64_Ehdr ehdr;
	Elf64_Phdr phdr[2];
	struct pvh_note note;
};

static_assert(sizeof(struct pvh_note) == 24, "note layout");
static_assert(sizeof(struct stub_head) <= QEMU_STUB_PAGE, "headers fit their page");

static void fill_ehdr(Elf64_Ehdr *e, uint32_t entry)
{
	memcpy(e->e_ident, ELFMAG, SELFMAG);
	e->e_ident[EI_CLASS] = ELFCLASS64;
	e->e_ident[EI_DATA] = ELFDATA2LSB;
	e->e_ident[EI_VERSION] = EV_CURRENT;
	e->e_type = ET_EXEC;
	e->e_machine = EM_X86_64;
	e->e_version = EV_CURRENT;
	e->e_entry = entry;
	e->e_phoff = offsetof(struct stub_head, phdr);
	e->e_ehsize = sizeof(Elf64_Ehdr);
	e->e_phentsize = sizeof(Elf64_Phdr);
	e->e_phnum = 2;
}

void qemu_stub_build(
	uint8_t *stub, uint32_t pvh_entry, uint64_t load_addr, const uint8_t *first_page)
{
	struct stub_head head = { 0 };

	fill_ehdr(&head.ehdr, pvh_entry);
	head.phdr[0] = (Elf64_Phdr){
		.p_type = PT_LOAD,
		.p_flags = PF_R | PF_W | PF_X,
		.p_offset = QEMU_STUB_PAGE,
		.p_vaddr = load_addr,
		.p_paddr = load_addr,
		.p_filesz = QEMU_STUB_PAGE,
		.p_memsz = QEMU_STUB_PAGE,
		.p_align = QEMU_STUB_PAGE,
	};
	head.phdr[1] = (Elf64_Phdr){
		.p_type = PT_NOTE,
		.p_flags = PF_R,
		.p_offset = offsetof(struct stub_head, note),
		.p_filesz = sizeof(struct pvh_note),
		.p_memsz = sizeof(struct pvh_note),
		.p_align = 4,
	};
	head.note = (struct pvh_note){
		.hdr = { .n_namesz = 4, .n_descsz = 8, .n_type = XEN_ELFNOTE_PHYS32_ENTRY },
		.name = "Xen",
		.entry = pvh_entry,
	};
	memset(stub, 0, QEMU_STUB_PAGE);
	memcpy(stub, &head, sizeof(head));
	memcpy(stub + QEMU_STUB_PAGE, first_page, QEMU_STUB_PAGE);
}
