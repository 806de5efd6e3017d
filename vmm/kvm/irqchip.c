/* SPDX-License-Identifier: Apache-2.0 */
/* x86-64: interrupt controllers and timer, all in the kernel; must precede the first vCPU. */
#include "vmm/kvm/kvm_internal.h"

int arch_create_irqchip(struct machine *m, struct err *err)
{
	struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };
	int r = KVM_IOCTL(m->fd, KVM_SET_TSS_ADDR, LAYOUT_TSS, err);

	if (r < 0)
		return r;
	r = KVM_IOCTL(m->fd, KVM_CREATE_IRQCHIP, 0, err);
	if (r < 0)
		return r;
	r = KVM_IOCTL(m->fd, KVM_CREATE_PIT2, &pit, err);
	return r < 0 ? r : 0;
}
