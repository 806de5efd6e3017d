/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtual machine from plain data. struct vm_config says what the machine is; an engine (kvm: our
 * own VMM; qemu: QEMU as CPU and RAM, our devices over vhost-user) runs it.
 *
 * Order: vm_new() opens and prepares everything (files, /dev/kvm, memory, kernel, QEMU's binary);
 * the caller may then confine the process; vm_run() runs guest code until the guest ends or
 * vm_stop().
 */
#ifndef VMM_VMM_H
#define VMM_VMM_H

#include <stdbool.h>
#include <stdint.h>

#include "block/block.h"
#include "fs/fs.h"
#include "lib/err.h"
#include "lib/loop.h"
#include "net/config.h"

#define VM_MAX_VCPUS	16
#define VM_MAX_CONSOLES 8
#define VM_MAX_FS	8
#define VM_MAX_DISKS	4
#define VM_MAX_PARTS	256 /* of one disk */
#define VM_MIN_RAM_MIB	64  /* below that the bundled kernel does not reach init */

enum vm_engine { VM_ENGINE_AUTO, VM_ENGINE_KVM, VM_ENGINE_QEMU };

/* VM_KERNEL_AUTO: look at the file's first bytes (ELF, bzImage header, else raw). */
enum vm_kernel_format { VM_KERNEL_AUTO, VM_KERNEL_RAW, VM_KERNEL_ELF, VM_KERNEL_BZIMAGE };

/*
 * struct vm_kernel - NULL path: the bundle of libkrunfw.so.5
 * @library: file name or path for dlopen; NULL: libkrunfw.so.5 by the search order of vmm/kernel.h
 */
struct vm_kernel {
	const char *path;
	enum vm_kernel_format format;
	const char *library;
};

/* struct vm_kernel_version - 6 and 12 of "6.12.91"; zeros: not known */
struct vm_kernel_version {
	unsigned major, minor;
};

/*
 * vm_kernel_version() - which Linux a kernel file says it is; nothing but its version is believed
 * Return: 0 and *ret, zeros for the bundle (NULL path) and for files that do not say; -ENOENT,
 * -ENOEXEC, -errno: it cannot be opened or is no kernel, as vm_new() would say
 */
int vm_kernel_version(
	const struct vm_kernel *kernel, struct vm_kernel_version *ret, struct err *err);

/*
 * struct vm_console - one port of the console device, in order; port 0 is hvc0
 * @name:	  port name seen in /sys/class/virtio-ports; NULL for none
 * @in_fd, @out_fd: host ends, borrowed for the life of the vm; -1: none. The same socket may be
 * both.
 * @tty:	  a terminal (console port with size); resized by vm_console_resize()
 */
struct vm_console {
	const char *name;
	int in_fd, out_fd;
	bool tty;
};

/* struct vm_fs - a share; cfg.root_fd is duplicated by vm_new() */
struct vm_fs {
	const char *tag; /* 1 to 36 bytes */
	struct fs_config cfg;
};

/*
 * struct vm_disk - an image; descriptors are borrowed for the life of the vm
 * @fd:     open for writing unless @read_only
 * @dir_fd: where an image of several files has the others, or those it builds on; -1: none are
 *          opened
 * @path, @dir_path, @backing: as in struct block_config
 * @parts:  read-only raw files that make up one disk, one behind the other, in place of @fd; as
 *          long as the vm
 * @id:     serial, up to 20 bytes; NULL: from the file
 * @label:  what messages call it: "disk image 'data.raw'"; NULL: by @id or place
 * @unsafe: the guest's flushes are not passed on: for what does not outlive the machine
 * @is_root: it is refused unless its first sectors can be those of a root
 * @fstype: what it is said to hold then; NULL: nothing was said
 */
struct vm_disk {
	enum block_format format;
	int fd, dir_fd;
	const char *path, *dir_path;
	bool backing;
	const int *parts;
	unsigned n_parts;
	bool read_only, unsafe, is_root;
	const char *id, *label, *fstype;
};

/*
 * struct vm_net - a network device with a stack of its own behind it (net/net.h)
 * @config: borrowed for vm_new(), which opens the published ports and reads the host's resolvers
 * @plan:   from net_plan_make(): addresses; MAC address and MTU of the device
 * What the guest configures on its interface is told to it by other means (agent protocol).
 */
struct vm_net {
	const struct net_config *config;
	struct net_plan plan;
};

/* struct vm_config - borrowed by vm_new() for the call; strings are copied as needed */
struct vm_config {
	enum vm_engine engine;
	unsigned vcpus;	  /* 1 to VM_MAX_VCPUS */
	uint64_t ram_mib; /* VM_MIN_RAM_MIB to what the host has */
	struct vm_kernel kernel;
	const char *cmdline; /* appended to the engine's own tokens; printable ASCII; NULL: none */
	struct vm_console console[VM_MAX_CONSOLES];
	unsigned n_consoles;
	struct vm_fs fs[VM_MAX_FS]; /* the first one is the root if its tag is /dev/root */
	unsigned n_fs;
	struct vm_disk disk[VM_MAX_DISKS];
	unsigned n_disks;
	const struct vm_net *net; /* NULL: no network device */
	bool no_rng, no_balloon;
};

/* How a machine ended. */
enum vm_end {
	VM_END_GUEST,	/* the guest rebooted or powered off: the normal end */
	VM_END_STOPPED, /* vm_stop() */
	VM_END_CRASH, /* triple fault, unhandled exit, KVM internal error, QEMU died: detail says */
};

struct vm_exit {
	enum vm_end end;
	char detail[ERR_MSG_MAX]; /* one line, for VM_END_CRASH: what died and its last words */
};

struct vm;

/*
 * vm_new() - prepare a machine; nothing of the guest has run yet
 * Errors a caller may act on (message is ready to print): -EINVAL bad config; -ENOENT no kernel
 * library, no /dev/kvm, no QEMU; -EACCES; -ENOMEM more RAM than the host has; -ENOTSUP engine
 * cannot work here.
 */
int vm_new(const struct vm_config *cfg, struct vm **ret_vm, struct err *err);
void vm_free(struct vm *vm);

/* vm_loop() - the loop that vm_run() drives on the calling thread; the caller may watch its own fds
 * there. */
struct loop *vm_loop(struct vm *vm);

/* vm_engine_name() - "kvm" or "qemu": what was chosen; vm_engine_reason(): one line why. */
const char *vm_engine_name(const struct vm *vm);
const char *vm_engine_reason(const struct vm *vm);

/* vm_run() - run to the end. Return: 0 and *ret_exit; -errno if the machine could not be started.
 */
int vm_run(struct vm *vm, struct vm_exit *ret_exit, struct err *err);

/* vm_stop() - end the machine now, as power loss; any thread, async-signal-safe. */
void vm_stop(struct vm *vm);

/* vm_console_resize() - tell a tty port its new size; loop thread. */
void vm_console_resize(struct vm *vm, unsigned port, uint16_t rows, uint16_t cols);

/*
 * vm_engine_choose() - what "auto" means here
 * @reason: one line why, for logs and diagnosis; may be NULL
 * Return: VM_ENGINE_KVM or VM_ENGINE_QEMU (also when QEMU is not installed: vm_new() then says so)
 */
enum vm_engine vm_engine_choose(const struct vm_kernel *kernel, char *reason, size_t reason_len);

#endif
