/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "lib/num.h"
#include "virtio/guest_mem.h"

static struct guest_mem *with_hole(void)
{
	struct guest_mem *mem = guest_mem_new();

	assert_non_null(mem);
	assert_int_equal(guest_mem_add_anon(mem, 0x20000, 0x1000, NULL), 0);
	assert_int_equal(guest_mem_add_anon(mem, 0x0, 0x4000, NULL), 0);
	assert_int_equal(guest_mem_add_anon(mem, 0x4000, 0x2000, NULL), 0);
	return mem;
}

static int memfd(size_t size)
{
	int fd = memfd_create("guest-mem-test", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	return fd;
}

static void test_regions_are_checked(void **state)
{
	cleanup_guest_mem struct guest_mem *mem = with_hole();
	struct err err = ERR_INIT;

	assert_int_equal(mem->n, 3);
	assert_true(mem->region[0].gpa < mem->region[1].gpa);
	assert_true(mem->region[1].gpa < mem->region[2].gpa);
	assert_int_equal(guest_mem_add_anon(mem, 0x3000, 0x1000, &err), -EEXIST);
	assert_int_equal(guest_mem_add_anon(mem, 0x1f000, 0x3000, NULL), -EEXIST);
	assert_int_equal(guest_mem_add_anon(mem, 0x100800, 0x1000, NULL), -EINVAL);
	assert_int_equal(guest_mem_add_anon(mem, 0x100000, 0x800, NULL), -EINVAL);
	assert_int_equal(guest_mem_add_anon(mem, 0x100000, 0, NULL), -EINVAL);
	assert_int_equal(guest_mem_add_anon(mem, ~0xfffULL, 0x1000, NULL), -EINVAL);
	assert_int_equal(guest_mem_add_anon(mem, 0x100000, ~0xfffULL, NULL), -EINVAL);
	for (unsigned i = mem->n; i < GUEST_MEM_MAX_REGIONS; i++)
		assert_int_equal(guest_mem_add_anon(mem, 0x100000 + i * 0x2000, 0x1000, NULL), 0);
	assert_int_equal(guest_mem_add_anon(mem, 0x10000000, 0x1000, NULL), -ENOSPC);
}

/* Whatever address the host picks: huge pages fit only if both sides agree modulo their size. */
static void test_large_regions_suit_huge_pages(void **state)
{
	static const uint64_t gpas[] = { 0, 0x2450000, 0x5000, 0x100000000 };

	for (size_t i = 0; i < ARRAY_LEN(gpas); i++) {
		cleanup_guest_mem struct guest_mem *mem = guest_mem_new();

		assert_non_null(mem);
		assert_int_equal(guest_mem_add_anon(mem, gpas[i], MIB(4) + 0x1000, NULL), 0);
		assert_int_equal((mem->region[0].gpa - (uintptr_t)mem->region[0].hva) % MIB(2), 0);
		mem->region[0].hva[0] = 1;
		mem->region[0].hva[MIB(4) + 0xfff] = 1;
	}
}

static void test_ptr_stays_within_one_region(void **state)
{
	cleanup_guest_mem struct guest_mem *mem = with_hole();
	uint8_t *base = guest_mem_ptr(mem, 0, 1);

	assert_non_null(base);
	assert_ptr_equal(guest_mem_ptr(mem, 0x3fff, 1), base + 0x3fff);
	assert_ptr_equal(guest_mem_ptr(mem, 0, 0x4000), base);
	assert_null(guest_mem_ptr(mem, 0, 0x4001));
	assert_null(guest_mem_ptr(mem, 0, 0));
	assert_null(guest_mem_ptr(mem, 0x6000, 1));
	assert_null(guest_mem_ptr(mem, 0x1ffff, 2));
	assert_null(guest_mem_ptr(mem, 0x20fff, 2));
	assert_null(guest_mem_ptr(mem, 1, UINT64_MAX));
	assert_null(guest_mem_ptr(mem, UINT64_MAX, 1));
	assert_null(guest_mem_ptr(mem, UINT64_MAX, 2));
}

static void test_iov_splits_where_regions_meet(void **state)
{
	cleanup_guest_mem struct guest_mem *mem = with_hole();
	struct iovec iov[2];
	unsigned n = 0;

	assert_int_equal(guest_mem_iov(mem, 0x3ff0, 0x20, iov, &n, 2), 0);
	assert_int_equal(n, 2);
	assert_int_equal(iov[0].iov_len, 0x10);
	assert_ptr_equal(iov[1].iov_base, guest_mem_ptr(mem, 0x4000, 0x10));
	assert_int_equal(guest_mem_iov(mem, 0, 1, iov, &n, 2), -E2BIG);
	assert_int_equal(n, 2);
	n = 0;
	assert_int_equal(guest_mem_iov(mem, 0x5ff0, 0x20, iov, &n, 2), -EFAULT);
	assert_int_equal(guest_mem_iov(mem, 0x0, UINT64_MAX, iov, &n, 2), -EFAULT);
	assert_int_equal(n, 0);
	assert_int_equal(guest_mem_iov(mem, 0x9999999, 0, iov, &n, 2), 0);
	assert_int_equal(n, 0);
}

static void test_file_memory(void **state)
{
	cleanup_guest_mem struct guest_mem *mem = guest_mem_new();
	cleanup_fd int fd = memfd(0x5000);
	uint64_t gpa;

	assert_int_equal(pwrite(fd, "hello", 5, 0x1800), 5);
	assert_int_equal(
		guest_mem_add_fd(mem, 0x10800, 0x3800, 0x7f0000000800, fd, 0x1800, NULL), 0);
	assert_memory_equal(guest_mem_ptr(mem, 0x10800, 5), "hello", 5);
	/* beyond the end of the file: touching it would be SIGBUS */
	assert_int_equal(guest_mem_add_fd(mem, 0x20000, 0x2000, 0, fd, 0x4000, NULL), -EINVAL);
	assert_int_equal(guest_mem_add_fd(mem, 0x20000, 0x1000, 0, fd, ~0xfffULL, NULL), -EINVAL);
	/* page offsets of gpa and file differ */
	assert_int_equal(guest_mem_add_fd(mem, 0x20000, 0x1000, 0, fd, 0x800, NULL), -EINVAL);
	/* same place for the front end */
	assert_int_equal(
		guest_mem_add_fd(mem, 0x20000, 0x1000, 0x7f0000001000, fd, 0, NULL), -EEXIST);
	assert_int_equal(guest_mem_from_user(mem, 0x7f0000000900, 0x3700, &gpa), 0);
	assert_int_equal(gpa, 0x10900);
	assert_int_equal(guest_mem_from_user(mem, 0x7f0000000900, 0x3701, &gpa), -EFAULT);
	assert_int_equal(guest_mem_from_user(mem, 0x7f00000007ff, 1, &gpa), -EFAULT);
	assert_int_equal(guest_mem_from_user(mem, 0, 1, &gpa), -EFAULT);
}

static void test_only_plain_files_are_mapped(void **state)
{
	cleanup_guest_mem struct guest_mem *mem = guest_mem_new();
	int pipefd[2];

	assert_int_equal(pipe(pipefd), 0);
	assert_int_equal(guest_mem_add_fd(mem, 0, 0x1000, 0, pipefd[0], 0, NULL), -EINVAL);
	assert_int_equal(guest_mem_add_fd(mem, 0, 0x1000, 0, -1, 0, NULL), -EBADF);
	close(pipefd[0]);
	close(pipefd[1]);
}

static void test_copies_share_mappings(void **state)
{
	struct guest_mem *mem = with_hole(), *copy = guest_mem_copy(mem);
	uint8_t *p = guest_mem_ptr(mem, 0x20000, 1);

	assert_int_equal(guest_mem_remove(copy, 0x20000, 0x2000, 0, NULL), -ENOENT);
	assert_int_equal(guest_mem_remove(copy, 0x20000, 0x1000, 0, NULL), 0);
	assert_null(guest_mem_ptr(copy, 0x20000, 1));
	*p = 1;
	assert_int_equal(guest_mem_add_anon(copy, 0x20000, 0x1000, NULL), 0);
	guest_mem_unref(guest_mem_ref(mem));
	guest_mem_unref(mem);
	p = guest_mem_ptr(copy, 0, 1);
	*p = 2; /* ASan or a fault would tell if it had gone with the first table */
	guest_mem_unref(copy);
	guest_mem_unref(NULL);
}

static void test_discard(void **state)
{
	cleanup_guest_mem struct guest_mem *mem = with_hole();
	cleanup_fd int fd = memfd(0x3000);
	static uint8_t rom[0x3000];
	uint8_t *low, *shared;

	assert_int_equal(guest_mem_add_fd(mem, 0x40000, 0x3000, 0, fd, 0, NULL), 0);
	assert_int_equal(guest_mem_add_borrowed(mem, 0x50000, rom, sizeof(rom), NULL), 0);
	low = guest_mem_ptr(mem, 0, 0x4000);
	shared = guest_mem_ptr(mem, 0x40000, 0x3000);
	memset(low, 7, 0x4000);
	memset(shared, 7, 0x3000);
	memset(rom, 7, sizeof(rom));

	assert_int_equal(guest_mem_discard(mem, 0x0800, 0x2000), 0);
	assert_int_equal(low[0xfff], 7);
	assert_int_equal(low[0x1000], 0);
	assert_int_equal(low[0x1fff], 0);
	assert_int_equal(low[0x2000], 7);
	assert_int_equal(guest_mem_discard(mem, 0x41000, 0x1000), 0);
	assert_int_equal(shared[0xfff], 7);
	assert_int_equal(shared[0x1000], 0);
	assert_int_equal(guest_mem_discard(mem, 0x50000, 0x3000), 0);
	assert_int_equal(rom[0x1000], 7);
	assert_int_equal(guest_mem_discard(mem, 0x2000, 0x10000), -EFAULT);
	assert_int_equal(low[0x2000], 7);
	assert_int_equal(guest_mem_discard(mem, UINT64_MAX - 10, 20), -EFAULT);
	assert_int_equal(guest_mem_discard(mem, 0, UINT64_MAX), -EFAULT);
}

static void test_discard_iov(void **state)
{
	cleanup_guest_mem struct guest_mem *mem = with_hole();
	cleanup_fd int fd = memfd(0x3000);
	static uint8_t rom[0x3000], other[0x3000];
	uint8_t *low, *shared;

	assert_int_equal(guest_mem_add_fd(mem, 0x40000, 0x3000, 0, fd, 0, NULL), 0);
	assert_int_equal(guest_mem_add_borrowed(mem, 0x50000, rom, sizeof(rom), NULL), 0);
	low = guest_mem_ptr(mem, 0, 0x4000);
	shared = guest_mem_ptr(mem, 0x40000, 0x3000);
	memset(low, 7, 0x4000);
	memset(shared, 7, 0x3000);
	memset(rom, 7, sizeof(rom));
	memset(other, 7, sizeof(other));

	struct iovec iov[] = {
		{ low + 0x0800, 0x2000 },    /* one whole page, two halves */
		{ shared + 0x1000, 0x2000 }, /* to the very end */
		{ rom, sizeof(rom) },	     /* borrowed */
		{ other, sizeof(other) },    /* no guest memory at all */
		{ low, SIZE_MAX },	     /* longer than the region */
		{ low + 0x3000, 0 },
	};
	assert_int_equal(guest_mem_discard_iov(mem, iov, 6), 0);
	assert_true(low[0] == 7 && low[0xfff] == 7 && low[0x2000] == 7 && low[0x3000] == 7);
	assert_true(low[0x1000] == 0 && low[0x1fff] == 0);
	assert_true(shared[0xfff] == 7 && shared[0x1000] == 0 && shared[0x2fff] == 0);
	assert_true(rom[0x1000] == 7 && other[0x1000] == 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_regions_are_checked),
		cmocka_unit_test(test_large_regions_suit_huge_pages),
		cmocka_unit_test(test_ptr_stays_within_one_region),
		cmocka_unit_test(test_iov_splits_where_regions_meet),
		cmocka_unit_test(test_file_memory),
		cmocka_unit_test(test_only_plain_files_are_mapped),
		cmocka_unit_test(test_copies_share_mappings),
		cmocka_unit_test(test_discard),
		cmocka_unit_test(test_discard_iov),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
