/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kvm engine end to end, with payload.c as the guest: real vCPU, device windows, ioeventfd,
 * irqfd, and every way a machine can end. Runs wherever /dev/kvm opens, in milliseconds.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/num.h"
#include "vmm/engine.h"
#include "vmm/kernel.h"

/* A machine without the common part of vm_new(): the engine alone. */
struct rig {
	struct vm vm;
	struct vm_exit end;
	struct err err;
};

static void rig_open_kernel(struct rig *r, const char *kernel, const char *mode, unsigned vcpus)
{
	*r = (struct rig){ .vm.cfg = {
				   .vcpus = vcpus,
				   .ram_mib = 64,
				   .kernel.path = kernel,
				   .cmdline = mode,
			   } };
	assert_int_equal(loop_new(&r->vm.loop, &r->err), 0);
	if (vm_kvm_ops.prepare(&r->vm, &r->err))
		fail_msg("prepare: %s", r->err.msg);
}

static void rig_open(struct rig *r, const char *mode, unsigned vcpus)
{
	rig_open_kernel(r, PAYLOAD_ELF, mode, vcpus);
}

static void rig_close(struct rig *r)
{
	vm_kvm_ops.release(&r->vm);
	loop_free(r->vm.loop);
}

static void rig_run(struct rig *r)
{
	if (vm_kvm_ops.run(&r->vm, &r->end, &r->err))
		fail_msg("run: %s", r->err.msg);
}

static void expect_kernel_end(
	const char *kernel, const char *mode, unsigned vcpus, enum vm_end end, const char *words)
{
	struct rig r;

	rig_open_kernel(&r, kernel, mode, vcpus);
	rig_run(&r);
	if (r.end.end != end || !strstr(r.end.detail, words))
		fail_msg("%s: ended as %d, '%s', not '%s'", mode, r.end.end, r.end.detail, words);
	rig_close(&r);
}

static void expect_end(const char *mode, unsigned vcpus, enum vm_end end, const char *words)
{
	expect_kernel_end(PAYLOAD_ELF, mode, vcpus, end, words);
}

static void rng_is_driven_through_mmio_and_interrupt(void **state)
{
	expect_end("payload=rng", 1, VM_END_GUEST, "reset, last POST code 0x2a");
	expect_end("payload=rng", 4, VM_END_GUEST, "reset, last POST code 0x2a");
}

static void nowhere_reads_as_ones(void **state)
{
	expect_end("payload=nowhere", 1, VM_END_GUEST, "reset, last POST code 0x2a");
}

static void triple_fault_is_a_crash(void **state)
{
	expect_end("payload=triple", 1, VM_END_CRASH, "triple fault on vCPU 0 at rip 0x");
}

static void halt_without_interrupts_ends(void **state)
{
	expect_end("payload=halt", 1, VM_END_GUEST, "halted with interrupts off");
	expect_end("payload=halt", 2, VM_END_GUEST, "halted with interrupts off");
}

/* ---- The same payload as other kinds of kernel file ---- */

#define IMAGE_MAX  65536
#define ENTRY_SKIP 0x200 /* the payload is linked that far behind 16 MiB: a bzImage's entry */

/* The payload's bytes as they lie in memory from 16 MiB on, nops before its entry. */
static size_t payload_image(uint8_t *image)
{
	struct vm_kernel cfg = { .path = PAYLOAD_ELF };
	struct kernel *k = NULL;
	size_t end = 0;

	assert_int_equal(kernel_open(&cfg, &k, NULL), 0);
	memset(image, 0x90, IMAGE_MAX);
	for (unsigned i = 0; i < k->n_segments; i++) {
		const struct kernel_segment *s = &k->segment[i];
		uint64_t at = s->gpa - KERNEL_RAW_ADDR;

		if (!s->file_len || s->gpa < KERNEL_RAW_ADDR)
			continue;
		assert_true(at + s->file_len <= IMAGE_MAX);
		assert_int_equal(
			pread(k->fd, image + at, s->file_len, (off_t)s->file_off), s->file_len);
		end = MAX_OF(end, at + s->file_len);
	}
	assert_int_equal(k->entry, KERNEL_RAW_ADDR + ENTRY_SKIP);
	memset(image, 0x90, ENTRY_SKIP);
	kernel_free(k);
	return end;
}

static void run_file(const void *data, size_t len, enum vm_kernel_format format, const char *words)
{
	char path[] = "/tmp/payload_test.XXXXXX";
	struct kernel *k = NULL;
	int fd = mkstemp(path);

	assert_true(fd >= 0 && write(fd, data, len) == (ssize_t)len);
	(void)close(fd);
	assert_int_equal(kernel_open(&(struct vm_kernel){ .path = path }, &k, NULL), 0);
	assert_int_equal(k->format, format);
	kernel_free(k);
	expect_kernel_end(path, "payload=ok", 1, VM_END_GUEST, words);
	assert_int_equal(unlink(path), 0);
}

static void raw_image_is_entered_at_its_start(void **state)
{
	uint8_t image[IMAGE_MAX];

	run_file(image, payload_image(image), VM_KERNEL_RAW, "reset, last POST code 0x2a");
}

static void bzimage_is_entered_in_64_bit_mode(void **state)
{
	enum { SETUP = 5 * 512 };
	uint8_t file[SETUP + IMAGE_MAX] = { [0x1f1] = 4, [0x201] = 0x6a, [0x211] = 1, [0x236] = 1 };
	size_t len = payload_image(file + SETUP);

	store_le16(file + 0x1fe, 0xaa55);
	memcpy(file + 0x202, "HdrS", 4);
	store_le16(file + 0x206, 0x20f);
	store_le64(file + 0x258, KERNEL_RAW_ADDR);
	run_file(file, SETUP + len, VM_KERNEL_BZIMAGE, "reset, last POST code 0x2a");
}

static void elf_without_64_bit_entry_uses_pvh(void **state)
{
	uint8_t file[IMAGE_MAX];
	int fd = open(PAYLOAD_ELF, O_RDONLY | O_CLOEXEC);
	ssize_t len = read(fd, file, sizeof(file));

	assert_true(len > 0 && (size_t)len < sizeof(file));
	(void)close(fd);
	store_le64(file + 24, 0xffffffff81000000); /* e_entry: a virtual address, as in vmlinux */
	run_file(file, (size_t)len, VM_KERNEL_ELF, "reset, last POST code 0x2b");
}

/* ---- Stopping and refusing ---- */

static void *stopper(void *arg)
{
	vm_kvm_ops.stop(arg);
	return NULL;
}

static void stop_ends_a_spinning_guest(void **state)
{
	/* Before the start, and at whatever moment a second thread gets to it. */
	for (int i = 0; i < 20; i++) {
		struct rig r;
		pthread_t t;

		rig_open(&r, "payload=spin", 2);
		if (i == 0)
			vm_kvm_ops.stop(&r.vm);
		else
			assert_int_equal(pthread_create(&t, NULL, stopper, &r.vm), 0);
		rig_run(&r);
		if (i)
			assert_int_equal(pthread_join(t, NULL), 0);
		assert_int_equal(r.end.end, VM_END_STOPPED);
		rig_close(&r);
	}
}

static void never_run_is_released(void **state)
{
	struct rig r;

	rig_open(&r, "payload=rng", 16);
	rig_close(&r);
}

static void expect_refusal(struct vm_config cfg, int code, const char *words)
{
	struct rig r = { .vm.cfg = cfg };

	assert_int_equal(loop_new(&r.vm.loop, &r.err), 0);
	assert_int_equal(vm_kvm_ops.prepare(&r.vm, &r.err), -code);
	if (!strstr(r.err.msg, words))
		fail_msg("'%s' does not say '%s'", r.err.msg, words);
	rig_close(&r);
}

static void too_many_devices_are_refused(void **state)
{
	struct rig r = { .vm.cfg = { .vcpus = 1,
				 .ram_mib = 64,
				 .kernel.path = PAYLOAD_ELF,
				 .n_fs = VM_MAX_FS,
				 .n_disks = VM_MAX_DISKS } };
	int root = open("/", O_PATH | O_CLOEXEC), image = memfd_create("disk", MFD_CLOEXEC);

	assert_true(root >= 0 && image >= 0 && ftruncate(image, 4096) == 0);
	for (unsigned i = 0; i < VM_MAX_FS; i++) {
		r.vm.cfg.fs[i].tag = "share";
		assert_int_equal(
			fs_server_new(&(struct fs_config){ .root_fd = root }, &r.vm.fs[i], &r.err),
			0);
	}
	for (unsigned i = 0; i < VM_MAX_DISKS; i++)
		r.vm.cfg.disk[i].fd = image;
	assert_int_equal(loop_new(&r.vm.loop, &r.err), 0);
	assert_int_equal(vm_kvm_ops.prepare(&r.vm, &r.err), -E2BIG);
	if (!strstr(r.err.msg, "too many devices"))
		fail_msg("%s", r.err.msg);
	rig_close(&r);
	for (unsigned i = 0; i < VM_MAX_FS; i++)
		fs_server_free(r.vm.fs[i]);
	(void)close(root);
	(void)close(image);
}

static void bad_configs_are_refused(void **state)
{
	struct vm_config cfg = { .vcpus = 1, .ram_mib = 64, .kernel.path = PAYLOAD_ELF };
	char longer[4096];

	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	cfg.ram_mib = 1;
	expect_refusal(cfg, EFAULT, "more than the machine has");
	cfg.ram_mib = 1ULL << 40;
	expect_refusal(cfg, EINVAL, "no place");
	cfg.ram_mib = 64;
	cfg.cmdline = longer;
	expect_refusal(cfg, E2BIG, "command line");
	cfg.cmdline = "a\nb";
	expect_refusal(cfg, EINVAL, "printable");
	cfg.cmdline = NULL;
	cfg.kernel.path = "/nonexistent";
	expect_refusal(cfg, ENOENT, "/nonexistent");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rng_is_driven_through_mmio_and_interrupt),
		cmocka_unit_test(nowhere_reads_as_ones),
		cmocka_unit_test(triple_fault_is_a_crash),
		cmocka_unit_test(halt_without_interrupts_ends),
		cmocka_unit_test(raw_image_is_entered_at_its_start),
		cmocka_unit_test(bzimage_is_entered_in_64_bit_mode),
		cmocka_unit_test(elf_without_64_bit_entry_uses_pvh),
		cmocka_unit_test(stop_ends_a_spinning_guest),
		cmocka_unit_test(never_run_is_released),
		cmocka_unit_test(too_many_devices_are_refused),
		cmocka_unit_test(bad_configs_are_refused),
	};
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd < 0) {
		(void)printf("1..0 # SKIP impossible here: /dev/kvm: %s\n", strerror(errno));
		return 0;
	}
	(void)close(fd);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
