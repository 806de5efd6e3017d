/* SPDX-License-Identifier: Apache-2.0 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/num.h"
#include "vmm/kernel.h"
#include "vmm/vmm_build.h"

#define HOME_LIB "/.microsandbox/lib/" KERNEL_LIBRARY

/* The two functions of libkrunfw that we call (krun-api 2.1). */
typedef char *krunfw_get_kernel_fn(size_t *load_addr, size_t *entry_addr, size_t *size);
typedef int krunfw_get_version_fn(void);

/* ---- Where the library may be ---- */

struct library_search {
	void *handle;
	char found[256];
	char why[256]; /* dlopen's last complaint about a file that exists */
};

static void try_library(struct library_search *s, const char *path)
{
	/* A bare name is looked up by dlopen(); a path that is not there is no news. */
	if (s->handle || (strchr(path, '/') && access(path, F_OK) != 0))
		return;
	s->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (s->handle)
		(void)snprintf(s->found, sizeof(s->found), "%s", path);
	else if (strchr(path, '/'))
		(void)snprintf(s->why, sizeof(s->why), "%s", dlerror());
}

static void try_joined(struct library_search *s, const char *dir, const char *rest)
{
	char path[4096];
	int n = snprintf(path, sizeof(path), "%s%s", dir, rest);

	if (n > 0 && (size_t)n < sizeof(path))
		try_library(s, path);
}

static void try_beside_executable(struct library_search *s)
{
	char exe[4000];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);

	if (n <= 0)
		return;
	exe[n] = '\0';
	try_joined(s, dirname(exe), "/../lib/" KERNEL_LIBRARY);
}

static int open_named(const char *name, const char *from, struct library_search *s, struct err *err)
{
	s->handle = dlopen(name, RTLD_NOW | RTLD_LOCAL);
	if (!s->handle)
		return err_msg(
			err, ENOENT, "guest kernel library named by %s: %s", from, dlerror());
	(void)snprintf(s->found, sizeof(s->found), "%s", name);
	return 0;
}

static int find_library(const char *wanted, struct library_search *s, struct err *err)
{
	const char *env = secure_getenv(KERNEL_LIBRARY_ENV), *home = secure_getenv("HOME");

	if (wanted)
		return open_named(wanted, "the configuration", s, err);
	if (env && *env)
		return open_named(env, KERNEL_LIBRARY_ENV, s, err);
	if (*VMM_LIBKRUNFW_DIR)
		try_joined(s, VMM_LIBKRUNFW_DIR, "/" KERNEL_LIBRARY);
	try_beside_executable(s);
	if (home && *home)
		try_joined(s, home, HOME_LIB);
	try_library(s, KERNEL_LIBRARY);
	if (s->handle)
		return 0;
	if (*s->why)
		return err_msg(err, ENOENT, "guest kernel library: %s", s->why);
	return err_msg(err, ENOENT,
		"no guest kernel: " KERNEL_LIBRARY " not found beside the program, in "
		"~/.microsandbox/lib or in the library path; install package libkrunfw5 or "
		"set " KERNEL_LIBRARY_ENV);
}

/* ---- The bundle ---- */

/* dlsym() yields an object pointer; POSIX says it may be a function's, ISO C lacks the cast. */
static void *find_symbol(const struct library_search *s, const char *name, struct err *err)
{
	void *sym = dlsym(s->handle, name);

	if (!sym)
		(void)err_msg(err, ENOEXEC, "%s has no symbol %s", s->found, name);
	return sym;
}

static int check_bundle(const struct kernel *k, struct err *err)
{
	if (!k->bundle || (uintptr_t)k->bundle % KERNEL_PAGE || !k->size || k->size % KERNEL_PAGE)
		return err_msg(err, ENOEXEC, "%s: image is not whole pages", k->name);
	if (!k->load_addr || k->load_addr % KERNEL_PAGE ||
		!range_ok(k->load_addr, k->size, KERNEL_ADDR_MAX))
		return err_msg(err, ENOEXEC, "%s: bad load address 0x%llx", k->name,
			(unsigned long long)k->load_addr);
	if (k->entry - k->load_addr >= k->size)
		return err_msg(err, ENOEXEC, "%s: entry 0x%llx is outside the image", k->name,
			(unsigned long long)k->entry);
	return 0;
}

static int open_bundle(struct kernel *k, const char *wanted, struct err *err)
{
	struct library_search s = { 0 };
	size_t load = 0, entry = 0, size = 0;
	int r = find_library(wanted, &s, err);

	if (r)
		return r;
	k->library = s.handle;
	(void)snprintf(k->name, sizeof(k->name), "%s", s.found);
	krunfw_get_version_fn *get_version = find_symbol(&s, "krunfw_get_version", err);
	krunfw_get_kernel_fn *get_kernel = find_symbol(&s, "krunfw_get_kernel", err);
	if (!get_version || !get_kernel)
		return -ENOEXEC;
	/* Before ABI 4 krunfw_get_kernel() had another signature. */
	int abi = get_version();
	if (abi < 4 || abi > 5)
		return err_msg(err, ENOEXEC, "%s: ABI %d is neither 4 nor 5", k->name, abi);
	k->abi = (unsigned)abi;
	k->bundle = (uint8_t *)get_kernel(&load, &entry, &size);
	k->load_addr = load;
	k->entry = entry;
	k->size = size;
	return check_bundle(k, err);
}

int kernel_bundle_pvh(const struct kernel *k, uint32_t *ret_entry, struct err *err)
{
	uint32_t entry = k->bundle ? kernel_find_pvh(k->bundle, k->size) : 0;

	if (!entry)
		return err_msg(err, ENOEXEC, "%s: no PVH entry point", k->name);
	*ret_entry = entry;
	return 0;
}

/* ---- Files ---- */

int kernel_src_read(const struct kernel_src *src, uint64_t off, void *dst, size_t len)
{
	ssize_t n;

	if (!range_ok(off, len, src->size))
		return -ENOEXEC;
	if (src->mem) {
		memcpy(dst, src->mem + off, len);
		return 0;
	}
	n = io_pread(src->fd, dst, len, off);
	if (n < 0)
		return (int)n;
	return (size_t)n == len ? 0 : -EIO;
}

static int parse(struct kernel *k, const struct kernel_src *src, struct err *err)
{
	if (k->format == VM_KERNEL_AUTO)
		k->format = kernel_format_guess(src);
	switch (k->format) {
	case VM_KERNEL_ELF:
		return kernel_parse_elf(k, src, err);
	case VM_KERNEL_BZIMAGE:
		return kernel_parse_bzimage(k, src, err);
	case VM_KERNEL_RAW:
		return kernel_parse_raw(k, src, err);
	default:
		return err_msg(err, EINVAL, "unknown kernel format %d", k->format);
	}
}

static int open_file(struct kernel *k, const char *path, struct err *err)
{
	struct stat st;

	(void)snprintf(k->name, sizeof(k->name), "%s", path);
	k->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (k->fd < 0)
		return err_set(err, errno, "open kernel '%s'", path);
	if (fstat(k->fd, &st) != 0)
		return err_set(err, errno, "stat kernel '%s'", path);
	if (!S_ISREG(st.st_mode))
		return err_msg(err, ENOEXEC, "kernel '%s': not a regular file", path);
	struct kernel_src src = { .fd = k->fd, .size = (uint64_t)st.st_size };
	int r = parse(k, &src, err);
	if (r)
		(void)err_wrap(err, "kernel '%s'", path);
	return r;
}

int kernel_open(const struct vm_kernel *cfg, struct kernel **ret, struct err *err)
{
	struct kernel *k = calloc(1, sizeof(*k));
	int r;

	if (!k)
		return err_set(err, ENOMEM, "open kernel");
	k->fd = -1;
	k->format = cfg->format;
	r = cfg->path ? open_file(k, cfg->path, err) : open_bundle(k, cfg->library, err);
	if (r) {
		if (k->library)
			(void)dlclose(k->library);
		kernel_free(k);
		return r;
	}
	*ret = k;
	return 0;
}

void kernel_free(struct kernel *k)
{
	if (!k)
		return;
	/* The library is never unloaded: its pages may be some machine's memory. */
	if (k->fd >= 0)
		(void)close(k->fd);
	free(k);
}
