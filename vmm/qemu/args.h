/* SPDX-License-Identifier: Apache-2.0 */
/* QEMU's command line from plain data: no system calls here, so that tests read the result. */
#ifndef VMM_QEMU_ARGS_H
#define VMM_QEMU_ARGS_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/err.h"
#include "vmm/vmm.h"

/* microvm has 8 virtio-mmio slots (IRQ 5 to 12) without its second IO-APIC, which needs ACPI. */
#define QEMU_MAX_DEVICES 8

/* Linux keeps this much of a command line, its NUL included (x86 COMMAND_LINE_SIZE). */
#define QEMU_CMDLINE_MAX 2048

/* struct qemu_port - one virtio-serial port; @fd: a connected stream socket, -1: no host end */
struct qemu_port {
	const char *name; /* NULL: none */
	int fd;
	bool tty;
};

/* struct qemu_spec - everything on the command line; all descriptors are inherited by QEMU */
struct qemu_spec {
	unsigned vcpus;
	bool vcpu_threads; /* a thread each; else they take turns in one */
	uint64_t ram_mib;
	int ram_fd;	     /* memfd of ram_mib: guest RAM, kernel already in it */
	int kernel_fd;	     /* what -kernel reads */
	bool root_fs;	     /* the first share is the root file system */
	uint64_t tsc_khz;    /* of the host; 0: unknown, or no good as a clock */
	const char *cmdline; /* appended; NULL: none */
	struct qemu_port port[VM_MAX_CONSOLES];
	unsigned n_ports;
	struct {
		const char *tag;
		int fd; /* vhost-user socket */
	} fs[VM_MAX_FS];
	unsigned n_fs;
	int disk_fd[VM_MAX_DISKS]; /* vhost-user sockets */
	unsigned n_disks;
	struct {
		bool present;
		uint8_t mac[6];
		uint16_t mtu, queue_size;
	} net; /* its vhost-user socket is descriptor 0 (sandbox.h) */
	bool rng, balloon;
};

/* struct qemu_args - argv, NULL-terminated; qemu_args_release() frees it */
struct qemu_args {
	char **v;
	unsigned n, cap;
};

/*
 * qemu_args_build() - argv of @spec, @binary as argv[0]
 * Return: 0; -E2BIG too many devices, or kernel command line too long; -ENOMEM
 */
int qemu_args_build(
	const struct qemu_spec *spec, const char *binary, struct qemu_args *ret, struct err *err);
void qemu_args_release(struct qemu_args *args);

#endif
