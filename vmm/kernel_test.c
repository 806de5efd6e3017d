/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/num.h"
#include "vmm/kernel.h"

/* ---- ELF: a file of one page with one PT_LOAD and one PT_NOTE, then one thing is spoiled ---- */

#define LOAD_AT	 0x1000000u
#define NOTE_OFF 0x200u

struct elf_file {
	Elf64_Ehdr eh;
	Elf64_Phdr ph[2];
	uint8_t pad[4096 - sizeof(Elf64_Ehdr) - 2 * sizeof(Elf64_Phdr)];
};

static void elf_init(struct elf_file *f)
{
	static const uint32_t note[] = { 4, 4, 18, 0x006e6558, LOAD_AT + 0x20 };

	memset(f, 0, sizeof(*f));
	memcpy(f->eh.e_ident, ELFMAG, SELFMAG);
	f->eh.e_ident[EI_CLASS] = ELFCLASS64;
	f->eh.e_ident[EI_DATA] = ELFDATA2LSB;
	f->eh.e_type = ET_EXEC;
	f->eh.e_machine = EM_X86_64;
	f->eh.e_entry = LOAD_AT + 0x10;
	f->eh.e_phoff = sizeof(f->eh);
	f->eh.e_phentsize = sizeof(Elf64_Phdr);
	f->eh.e_phnum = 2;
	f->ph[0] = (Elf64_Phdr){ .p_type = PT_LOAD,
		.p_offset = 0,
		.p_paddr = LOAD_AT,
		.p_vaddr = 0xffffffff81000000,
		.p_filesz = sizeof(*f),
		.p_memsz = 0x3000 };
	f->ph[1] =
		(Elf64_Phdr){ .p_type = PT_NOTE, .p_offset = NOTE_OFF, .p_filesz = sizeof(note) };
	memcpy((uint8_t *)f + NOTE_OFF, note, sizeof(note));
}

static int elf_parse(const struct elf_file *f, size_t len, struct kernel *k, struct err *err)
{
	struct kernel_src src = { .fd = -1, .mem = (const uint8_t *)f, .size = len };

	memset(k, 0, sizeof(*k));
	err_clear(err);
	return kernel_parse_elf(k, &src, err);
}

static void elf_gives_segments_and_entries(void **state)
{
	struct err err = ERR_INIT;
	struct elf_file f;
	struct kernel k;

	elf_init(&f);
	assert_int_equal(elf_parse(&f, sizeof(f), &k, &err), 0);
	assert_int_equal(k.n_segments, 1);
	assert_int_equal(k.load_addr, LOAD_AT);
	assert_int_equal(k.size, 0x3000);
	assert_int_equal(k.entry, LOAD_AT + 0x10);
	assert_int_equal(k.pvh_entry, LOAD_AT + 0x20);
	f.eh.e_entry = 0xffffffff81000010;
	assert_int_equal(elf_parse(&f, sizeof(f), &k, &err), 0);
	assert_int_equal(k.entry, 0);
	f.ph[1].p_type = PT_NULL;
	assert_int_equal(elf_parse(&f, sizeof(f), &k, &err), -ENOEXEC);
}

#define SPOIL(change)                                                                              \
	do {                                                                                       \
		struct elf_file f;                                                                 \
		struct kernel k;                                                                   \
		struct err e = ERR_INIT;                                                           \
		elf_init(&f);                                                                      \
		change;                                                                            \
		assert_int_equal(elf_parse(&f, sizeof(f), &k, &e), -ENOEXEC);                      \
		assert_true(e.msg[0]);                                                             \
	} while (0)

static void elf_refuses_bad_headers(void **state)
{
	SPOIL(f.eh.e_ident[EI_CLASS] = ELFCLASS32);
	SPOIL(f.eh.e_ident[EI_DATA] = ELFDATA2MSB);
	SPOIL(f.eh.e_machine = EM_AARCH64);
	SPOIL(f.eh.e_type = ET_CORE);
	SPOIL(f.eh.e_phentsize = 8);
	SPOIL(f.eh.e_phnum = 0);
	SPOIL(f.eh.e_phnum = 0xffff);
	SPOIL(f.eh.e_phoff = UINT64_MAX - 40);
	SPOIL(f.eh.e_phoff = 4090);
	SPOIL(f.ph[0].p_offset = UINT64_MAX);
	SPOIL(f.ph[0].p_filesz = UINT64_MAX);
	SPOIL(f.ph[0].p_memsz = 1);
	SPOIL(f.ph[0].p_memsz = UINT64_MAX);
	SPOIL(f.ph[0].p_paddr = UINT64_MAX - 1);
	SPOIL(f.ph[0].p_paddr = KERNEL_ADDR_MAX - 0x1000);
	SPOIL(f.ph[0].p_type = PT_NULL);
	SPOIL(f.ph[1].p_offset = UINT64_MAX - 3);
}

static void elf_refuses_every_truncation(void **state)
{
	struct elf_file f;

	elf_init(&f);
	for (size_t len = 0; len < sizeof(f); len += 7) {
		struct err err = ERR_INIT;
		struct kernel k;

		assert_int_equal(elf_parse(&f, len, &k, &err), -ENOEXEC);
	}
}

static void pvh_note_is_found_only_when_whole(void **state)
{
	uint32_t note[] = { 0, 4, 4, 18, 0x006e6558, 0x1000000, 0 };
	const uint8_t *p = (const uint8_t *)note;

	assert_int_equal(kernel_find_pvh(p, sizeof(note)), 0x1000000);
	assert_int_equal(kernel_find_pvh(p, 23), 0);
	assert_int_equal(kernel_find_pvh(p + 8, sizeof(note) - 8), 0);
	note[2] = 8; /* 64-bit descriptor */
	assert_int_equal(kernel_find_pvh(p, sizeof(note)), 0x1000000);
	note[5] = 0xf0000000;
	assert_int_equal(kernel_find_pvh(p, sizeof(note)), 0);
}

/* ---- bzImage ---- */

static void bz_init(uint8_t *f)
{
	memset(f, 0, 8192);
	f[0x1f1] = 4;
	store_le16(f + 0x1fe, 0xaa55);
	f[0x201] = 0x6a;
	memcpy(f + 0x202, "HdrS", 4);
	store_le16(f + 0x206, 0x20f);
	f[0x211] = 1;
	store_le16(f + 0x236, 1);
	store_le64(f + 0x258, LOAD_AT);
	store_le32(f + 0x260, 0x100000);
}

static int bz_parse(const uint8_t *f, size_t len, struct kernel *k)
{
	struct kernel_src src = { .fd = -1, .mem = f, .size = len };
	struct err err = ERR_INIT;
	int r;

	memset(k, 0, sizeof(*k));
	r = kernel_parse_bzimage(k, &src, &err);
	assert_int_equal(!!r, !!err.msg[0]);
	return r;
}

static void bzimage_gives_entry_and_header(void **state)
{
	uint8_t f[8192];
	struct kernel k;

	bz_init(f);
	assert_int_equal(bz_parse(f, sizeof(f), &k), 0);
	assert_int_equal(k.entry, LOAD_AT + 0x200);
	assert_int_equal(k.size, 0x100000);
	assert_int_equal(k.segment[0].file_off, 5 * 512);
	assert_int_equal(k.segment[0].file_len, sizeof(f) - 5 * 512);
	assert_int_equal(k.setup_len, 0x202 + 0x6a - 0x1f1);
	assert_memory_equal(k.setup + 0x202 - 0x1f1, "HdrS", 4);
}

#define BZ_SPOIL(change)                                                                           \
	do {                                                                                       \
		uint8_t f[8192];                                                                   \
		struct kernel k;                                                                   \
		bz_init(f);                                                                        \
		change;                                                                            \
		assert_int_equal(bz_parse(f, sizeof(f), &k), -ENOEXEC);                            \
	} while (0)

static void bzimage_refuses_bad_headers(void **state)
{
	struct kernel parsed;
	uint8_t g[8192];

	BZ_SPOIL(f[0x1ff] = 0);
	BZ_SPOIL(f[0x202] = 0);
	BZ_SPOIL(store_le16(f + 0x206, 0x20b));
	BZ_SPOIL(f[0x211] = 0);
	BZ_SPOIL(f[0x236] = 0);
	BZ_SPOIL(f[0x201] = 0x10);
	BZ_SPOIL(f[0x201] = 0xff);
	BZ_SPOIL(f[0x1f1] = 15);
	BZ_SPOIL(f[0x1f1] = 255);
	BZ_SPOIL(store_le64(f + 0x258, 0));
	BZ_SPOIL(store_le64(f + 0x258, UINT64_MAX));
	BZ_SPOIL(store_le32(f + 0x260, UINT32_MAX));
	bz_init(g);
	for (size_t len = 0; len < 5 * 512 + 0x200; len += 11)
		assert_int_equal(bz_parse(g, len, &parsed), -ENOEXEC);
}

/* ---- Versions ---- */

static void expect_version(const uint8_t *f, size_t len, unsigned major, unsigned minor)
{
	struct kernel_src src = { .fd = -1, .mem = f, .size = len };
	struct vm_kernel_version v = { 77, 77 };
	struct kernel k;

	assert_int_equal(bz_parse(f, len, &k), 0);
	kernel_find_version(&k, &src, &v);
	assert_int_equal(v.major, major);
	assert_int_equal(v.minor, minor);
}

#define BZ_TEXT (0x200 + 0x600)

static void bz_say(uint8_t *f, const char *text, size_t len)
{
	bz_init(f);
	store_le16(f + 0x20e, BZ_TEXT - 0x200);
	memset(f + BZ_TEXT, 'x', 300);
	memcpy(f + BZ_TEXT, text, len);
}

static void bzimage_says_its_version(void **state)
{
	static const struct {
		const char *text;
		unsigned major, minor;
	} cases[] = { { "5.10.0-28-amd64 (debian-kernel@lists.debian.org) #1 SMP", 5, 10 },
		{ "6.4.0", 6, 4 }, { "6.4", 6, 4 }, { "6.4-rc1+ (x", 6, 4 }, { "2.6.32 ", 2, 6 },
		{ "999.999+", 999, 999 }, { "", 0, 0 }, { "6", 0, 0 }, { "6.", 0, 0 },
		{ ".4", 0, 0 }, { "0.4.1", 0, 0 }, { "6x4", 0, 0 }, { "6.4x", 0, 0 },
		{ "-6.4", 0, 0 }, { " 6.4", 0, 0 }, { "6.1000", 0, 0 }, { "4294967297.4", 0, 0 } };
	uint8_t f[8192];

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		bz_say(f, cases[i].text, strlen(cases[i].text) + 1);
		expect_version(f, sizeof(f), cases[i].major, cases[i].minor);
	}
}

/* The offset leads anywhere; the text may have no end, or be the end of the file. */
static void bzimage_lies_about_its_version(void **state)
{
	static const uint16_t offsets[] = { 0, 1, 0x1d00, 0x1dfe, 0x1dff, 0x1e00, 0x1e01, 0xffff };
	uint8_t f[8192], digits[300];

	for (size_t i = 0; i < ARRAY_LEN(offsets); i++) {
		bz_init(f);
		store_le16(f + 0x20e, offsets[i]);
		expect_version(f, sizeof(f), 0, 0);
	}
	memset(digits, '6', sizeof(digits));
	bz_say(f, (const char *)digits, sizeof(digits));
	expect_version(f, sizeof(f), 0, 0);
	bz_init(f);
	memcpy(f + sizeof(f) - 4, "6.12", 4);
	store_le16(f + 0x20e, sizeof(f) - 4 - 0x200);
	expect_version(f, sizeof(f), 0, 0);
	memcpy(f + sizeof(f) - 5, "6.12.", 5);
	store_le16(f + 0x20e, sizeof(f) - 5 - 0x200);
	expect_version(f, sizeof(f), 6, 12);
}

static struct vm_kernel_version raw_version(const uint8_t *data, size_t len)
{
	struct kernel_src src = { .fd = -1, .mem = data, .size = len };
	struct vm_kernel_version v;
	struct kernel k = { .fd = -1 };

	assert_int_equal(kernel_parse_raw(&k, &src, NULL), 0);
	kernel_find_version(&k, &src, &v);
	return v;
}

/* At every place around the border of what is read at once. */
static void banner_is_found_anywhere(void **state)
{
	static const char banner[] = "Linux version 5.10.0-28-amd64 (a@b) (gcc) #1 SMP";
	const size_t len = 200000;
	uint8_t *data = calloc(1, len);

	assert_non_null(data);
	memcpy(data + 100, "Linux version %s (%s@%s)", 24);
	memcpy(data + 200, "Linux version 4.4 or newer", 26);
	assert_int_equal(raw_version(data, len).major, 0);
	for (size_t at = (64 << 10) - 300; at < (64 << 10) + 10; at++) {
		memcpy(data + at, banner, sizeof(banner));
		assert_int_equal(raw_version(data, len).major, 5);
		assert_int_equal(raw_version(data, len).minor, 10);
		memset(data + at, 0, sizeof(banner));
	}
	memcpy(data + len - 20, banner, 20);
	assert_int_equal(raw_version(data, len).major, 0);
	free(data);
}

/* ---- Opening ---- */

static void write_temp(char *path, const void *data, size_t len)
{
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), len);
	(void)close(fd);
}

static void format_is_guessed(void **state)
{
	char path[] = "/tmp/kernel_test.XXXXXX";
	struct vm_kernel cfg = { .path = path };
	struct kernel *k = NULL;
	struct elf_file f;

	elf_init(&f);
	write_temp(path, &f, sizeof(f));
	assert_int_equal(kernel_open(&cfg, &k, NULL), 0);
	assert_int_equal(k->format, VM_KERNEL_ELF);
	kernel_free(k);
	cfg.format = VM_KERNEL_RAW;
	assert_int_equal(kernel_open(&cfg, &k, NULL), 0);
	assert_int_equal(k->entry, KERNEL_RAW_ADDR);
	kernel_free(k);
	cfg.format = VM_KERNEL_BZIMAGE;
	assert_int_equal(kernel_open(&cfg, &k, NULL), -ENOEXEC);
	assert_int_equal(unlink(path), 0);
}

static void version_of_a_file(void **state)
{
	char path[] = "/tmp/kernel_test.XXXXXX";
	struct vm_kernel_version v;
	uint8_t f[8192];

	assert_int_equal(vm_kernel_version(&(struct vm_kernel){ 0 }, &v, NULL), 0);
	assert_int_equal(v.major, 0);
	assert_int_equal(
		vm_kernel_version(&(struct vm_kernel){ .path = "/no/such" }, &v, NULL), -ENOENT);
	bz_say(f, "6.3.13", 7);
	write_temp(path, f, sizeof(f));
	assert_int_equal(vm_kernel_version(&(struct vm_kernel){ .path = path }, &v, NULL), 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(v.major, 6);
	assert_int_equal(v.minor, 3);
}

static void expect_open(const struct vm_kernel *cfg, int code, const char *words)
{
	struct err err = ERR_INIT;
	struct kernel *k = NULL;

	assert_int_equal(kernel_open(cfg, &k, &err), -code);
	if (!strstr(err.msg, words))
		fail_msg("'%s' does not say '%s'", err.msg, words);
}

static void open_errors_name_the_object(void **state)
{
	expect_open(&(struct vm_kernel){ .path = "/nonexistent/k" }, ENOENT, "/nonexistent/k");
	expect_open(&(struct vm_kernel){ .path = "/" }, ENOEXEC, "not a regular file");
	expect_open(&(struct vm_kernel){ .path = "/dev/null" }, ENOEXEC, "not a regular file");
	expect_open(&(struct vm_kernel){ .library = "/nonexistent.so" }, ENOENT, "/nonexistent.so");
	assert_int_equal(setenv(KERNEL_LIBRARY_ENV, "/none-either.so", 1), 0);
	expect_open(&(struct vm_kernel){ 0 }, ENOENT, KERNEL_LIBRARY_ENV);
	expect_open(&(struct vm_kernel){ .library = "libc.so.6" }, ENOEXEC, "no symbol krunfw");
}

static void bundle_is_found_and_checked(void **state)
{
	struct vm_kernel cfg = { .library = FAKE_LIBKRUNFW };
	struct kernel *k = NULL;
	uint32_t pvh = 0;

	assert_int_equal(kernel_open(&cfg, &k, NULL), 0);
	assert_non_null(k->bundle);
	assert_int_equal(k->abi, 5);
	assert_int_equal(k->load_addr, 0x1000000);
	assert_int_equal(k->entry, 0x1000010);
	assert_int_equal(kernel_bundle_pvh(k, &pvh, NULL), 0);
	assert_int_equal(pvh, 0x1000000);
	kernel_free(k);
	assert_int_equal(setenv(KERNEL_LIBRARY_ENV, cfg.library, 1), 0);
	assert_int_equal(kernel_open(&(struct vm_kernel){ 0 }, &k, NULL), 0);
	kernel_free(k);
}

static void bundle_lies_are_refused(void **state)
{
	static const char *const lies[][3] = {
		{ "FAKE_ABI", "3", "ABI 3" },
		{ "FAKE_LOAD", "0", "load address" },
		{ "FAKE_LOAD", "0x1000001", "load address" },
		{ "FAKE_LOAD", "0xfffffffffffff000", "load address" },
		{ "FAKE_ENTRY", "0xfffff0", "outside" },
		{ "FAKE_ENTRY", "0x1010000", "outside" },
		{ "FAKE_SIZE", "0", "whole pages" },
		{ "FAKE_SIZE", "100", "whole pages" },
		{ "FAKE_SIZE", "0xfffffffffffff000", "load address" },
		{ "FAKE_OFFSET", "8", "whole pages" },
	};
	struct vm_kernel cfg = { .library = FAKE_LIBKRUNFW };

	for (size_t i = 0; i < ARRAY_LEN(lies); i++) {
		assert_int_equal(setenv(lies[i][0], lies[i][1], 1), 0);
		expect_open(&cfg, ENOEXEC, lies[i][2]);
		assert_int_equal(unsetenv(lies[i][0]), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(elf_gives_segments_and_entries),
		cmocka_unit_test(elf_refuses_bad_headers),
		cmocka_unit_test(elf_refuses_every_truncation),
		cmocka_unit_test(pvh_note_is_found_only_when_whole),
		cmocka_unit_test(bzimage_gives_entry_and_header),
		cmocka_unit_test(bzimage_refuses_bad_headers),
		cmocka_unit_test(bzimage_says_its_version),
		cmocka_unit_test(bzimage_lies_about_its_version),
		cmocka_unit_test(banner_is_found_anywhere),
		cmocka_unit_test(version_of_a_file),
		cmocka_unit_test(format_is_guessed),
		cmocka_unit_test(open_errors_name_the_object),
		cmocka_unit_test(bundle_is_found_and_checked),
		cmocka_unit_test(bundle_lies_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
