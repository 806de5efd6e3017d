/* SPDX-License-Identifier: Apache-2.0 */
/* Inside vmm/: checks and copies of struct vm_config. */
#ifndef VMM_CONFIG_H
#define VMM_CONFIG_H

#include "vmm/vmm.h"

/*
 * vm_config_check() - is @cfg a machine that can exist?
 * @host_ram_mib: RAM of the host; the guest may not have more
 * Return: 0; -EINVAL (what and which limit); -ENOMEM more RAM than the host has
 */
int vm_config_check(const struct vm_config *cfg, uint64_t host_ram_mib, struct err *err);

/*
 * vm_config_copy() - deep copy of strings; descriptors stay borrowed, fs[].cfg.extra (only
 * for fs_server_new()) and net (only for vm_network_new()) are dropped
 * Return: 0, @dst owned by the caller (vm_config_release()); -ENOMEM
 */
int vm_config_copy(struct vm_config *dst, const struct vm_config *src, struct err *err);
void vm_config_release(struct vm_config *cfg);

#endif
