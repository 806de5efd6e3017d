/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/qemu/ram.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/num.h"
#include "vmm/qemu/stub.h"

static int write_all(int fd, const void *data, size_t len, off_t off, struct err *err)
{
	int r = io_pwrite(fd, data, len, (uint64_t)off);

	return r < 0 ? err_set(err, r, "write kernel into guest memory") : 0;
}

static int new_memfd(const char *name, uint64_t size, int *ret_fd, struct err *err)
{
	cleanup_fd int fd = memfd_create(name, MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, size) < 0)
		return err_set(
			err, errno, "create %s of %llu bytes", name, (unsigned long long)size);
	*ret_fd = take_fd(&fd);
	return 0;
}

/* A kernel file goes in through the part of guest memory that kernels may use. */
static int load_file(struct qemu_ram *ram, const struct kernel *kernel, struct err *err)
{
	struct guest_mem *mem = guest_mem_new();
	int rc;

	if (!mem)
		return err_set(err, ENOMEM, "map guest memory");
	rc = guest_mem_add_fd(
		mem, 0, MIN_OF(ram->size, (uint64_t)KERNEL_ADDR_MAX), 0, ram->fd, 0, err);
	if (rc == 0)
		rc = kernel_load(kernel, mem, err);
	guest_mem_unref(mem);
	return rc;
}

/* QEMU's own loader takes bzImages; the copy is because it may not open the file as "nobody". */
static int copy_bzimage(struct qemu_ram *ram, const struct kernel *kernel, struct err *err)
{
	struct stat st;
	off_t off = 0;
	int rc;

	if (fstat(kernel->fd, &st) < 0)
		return err_set(err, errno, "stat kernel '%s'", kernel->name);
	rc = new_memfd("kernel image", 0, &ram->kernel_fd, err);
	if (rc < 0)
		return rc;
	while (off < st.st_size) {
		ssize_t n = sendfile(ram->kernel_fd, kernel->fd, &off, st.st_size - off);

		if (n <= 0)
			return err_set(err, n < 0 ? errno : EIO, "copy kernel '%s'", kernel->name);
	}
	ram->loaded = true;
	return 0;
}

static int pvh_entry(const struct kernel *kernel, uint32_t *ret, struct err *err)
{
	if (kernel->bundle)
		return kernel_bundle_pvh(kernel, ret, err);
	*ret = kernel->pvh_entry;
	return *ret ? 0
		    : err_msg(err, ENOEXEC,
			      "the qemu engine cannot enter kernel '%s': it has no PVH entry "
			      "(CONFIG_PVH)",
			      kernel->name);
}

static int make_stub(struct qemu_ram *ram, const struct kernel *kernel, struct err *err)
{
	uint64_t page_at = ALIGN_DOWN(kernel->load_addr, (uint64_t)QEMU_STUB_PAGE);
	uint8_t stub[QEMU_STUB_SIZE], page[QEMU_STUB_PAGE];
	uint32_t entry;
	int rc;

	rc = pvh_entry(kernel, &entry, err);
	if (rc == 0 && !kernel->bundle)
		rc = qemu_ram_load(ram, kernel, err); /* the first page is read back from RAM */
	if (rc < 0)
		return rc;
	if (!kernel->bundle && pread(ram->fd, page, sizeof(page), page_at) != sizeof(page))
		return err_set(err, EIO, "read first page of kernel '%s'", kernel->name);
	qemu_stub_build(stub, entry, page_at, kernel->bundle ? kernel->bundle : page);
	rc = new_memfd("kernel stub", 0, &ram->kernel_fd, err);
	if (rc < 0)
		return rc;
	return write_all(ram->kernel_fd, stub, sizeof(stub), 0, err);
}

int qemu_ram_init(
	struct qemu_ram *ram, uint64_t ram_mib, const struct kernel *kernel, struct err *err)
{
	int rc;

	ram->size = MIB(ram_mib);
	if (!range_ok(kernel->load_addr, kernel->size, ram->size))
		return err_msg(err, ENOMEM, "kernel '%s' does not fit into %llu MiB", kernel->name,
			(unsigned long long)ram_mib);
	rc = new_memfd("guest memory", ram->size, &ram->fd, err);
	if (rc < 0)
		return rc;
	if (!kernel->bundle && kernel->format == VM_KERNEL_BZIMAGE)
		return copy_bzimage(ram, kernel, err);
	return make_stub(ram, kernel, err);
}

int qemu_ram_load(struct qemu_ram *ram, const struct kernel *kernel, struct err *err)
{
	int rc;

	if (ram->loaded)
		return 0;
	if (kernel->bundle)
		rc = write_all(ram->fd, kernel->bundle, kernel->size, kernel->load_addr, err);
	else
		rc = load_file(ram, kernel, err);
	ram->loaded = rc == 0;
	return rc;
}

void qemu_ram_release(struct qemu_ram *ram)
{
	close_fd(&ram->fd);
	close_fd(&ram->kernel_fd);
}
