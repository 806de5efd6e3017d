/* SPDX-License-Identifier: Apache-2.0 */
/* Is the KVM of this host worth using for an ordinary guest kernel? */
#ifndef VMM_KVM_KVM_PROBE_H
#define VMM_KVM_KVM_PROBE_H

#include <stdbool.h>
#include <stddef.h>

/*
 * kvm_probe() - what the automatic engine choice asks; opens and closes /dev/kvm, no guest runs
 * @reason: filled with one line, for either answer; may be NULL
 * Return: true if hardware virtualisation is behind /dev/kvm; false if it is missing, may not be
 * opened, or is the software kind
 */
bool kvm_probe(char *reason, size_t len);

#endif
