/* SPDX-License-Identifier: Apache-2.0 */
/* The MultiProcessor table (Intel MP spec 1.4): how a guest without ACPI finds CPUs and IRQs. */
#ifndef VMM_KVM_MPTABLE_H
#define VMM_KVM_MPTABLE_H

#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"

#define MPTABLE_MAX_CPUS 254

/*
 * mptable_build() - write floating pointer and configuration table for @vcpus CPUs
 * @gpa: where @dst appears in the guest, 16-byte aligned
 * Return: bytes written; -E2BIG more than @len; -EINVAL vcpus is 0 or above MPTABLE_MAX_CPUS
 */
int mptable_build(uint8_t *dst, size_t len, uint32_t gpa, unsigned vcpus, struct err *err);

#endif
