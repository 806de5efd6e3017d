/* SPDX-License-Identifier: Apache-2.0 */
/* x86-64: registers of a vCPU at the kernel's entry (krun-api 3.5). */
#include <errno.h>
#include <string.h>

#include "lib/num.h"
#include "vmm/kvm/kvm_internal.h"

#define CR0_PE	   (1ULL << 0)
#define CR0_ET	   (1ULL << 4)
#define CR0_PG	   (1ULL << 31)
#define CR4_PAE	   (1ULL << 5)
#define EFER_LME   (1ULL << 8)
#define EFER_LMA   (1ULL << 10)
#define RFLAGS_ON  2 /* the bit that is always one */
#define SEL_CODE   0x08
#define SEL_DATA   0x10
#define SEL_TSS	   0x18
#define TYPE_CODE  0xb
#define TYPE_DATA  0x3
#define TYPE_TSS   0xb
#define FCW_INIT   0x37f
#define MXCSR_INIT 0x1f80

#define MSR_SYSENTER_CS	   0x174
#define MSR_SYSENTER_ESP   0x175
#define MSR_SYSENTER_EIP   0x176
#define MSR_MISC_ENABLE	   0x1a0
#define MSR_MTRR_DEF_TYPE  0x2ff
#define MSR_STAR	   0xc0000081
#define MSR_LSTAR	   0xc0000082
#define MSR_CSTAR	   0xc0000083
#define MSR_SYSCALL_MASK   0xc0000084
#define MSR_KERNEL_GS_BASE 0xc0000102
#define MISC_FAST_STRING   1
#define MTRR_WRITE_BACK	   0x806 /* enabled, default type write-back */

#define APIC_LVT_LINT0	 0x350
#define APIC_LVT_LINT1	 0x360
#define APIC_MODE_MASK	 0x700u
#define APIC_MODE_NMI	 0x400u
#define APIC_MODE_EXTINT 0x700u

static struct kvm_segment segment(uint16_t selector, uint8_t type, bool code, bool long_mode)
{
	return (struct kvm_segment){
		.selector = selector,
		.type = type,
		.limit = 0xffffffff,
		.present = 1,
		.s = 1,
		.g = 1,
		.l = code && long_mode,
		.db = !(code && long_mode),
	};
}

static void set_segments(struct kvm_sregs *s, bool long_mode)
{
	struct kvm_segment data = segment(SEL_DATA, TYPE_DATA, false, long_mode);

	s->cs = segment(SEL_CODE, TYPE_CODE, true, long_mode);
	s->ds = s->es = s->fs = s->gs = s->ss = data;
	s->tr = segment(SEL_TSS, TYPE_TSS, false, long_mode);
	s->tr.s = s->tr.g = s->tr.db = 0;
	s->tr.limit = 0xfffff;
	s->gdt.base = LAYOUT_GDT;
	s->gdt.limit = 4 * 8 - 1;
	s->idt.base = LAYOUT_IDT;
	s->idt.limit = 7;
}

static int set_sregs(struct vcpu *cpu, bool long_mode, struct err *err)
{
	struct kvm_sregs s;
	int r = KVM_IOCTL(cpu->fd, KVM_GET_SREGS, &s, err);

	if (r < 0)
		return r;
	set_segments(&s, long_mode);
	if (long_mode) {
		s.cr3 = LAYOUT_PML4;
		s.cr4 |= CR4_PAE;
		s.cr0 |= CR0_PE | CR0_PG;
		s.efer |= EFER_LME | EFER_LMA;
	} else {
		s.cr0 = CR0_PE | CR0_ET;
		s.cr4 = 0;
	}
	return KVM_IOCTL(cpu->fd, KVM_SET_SREGS, &s, err);
}

static int set_regs(struct vcpu *cpu, bool long_mode, struct err *err)
{
	const struct kernel *k = cpu->m->kernel;
	struct kvm_regs regs = {
		.rflags = RFLAGS_ON,
		.rip = long_mode ? k->entry : k->pvh_entry,
		.rsp = LAYOUT_STACK,
		.rbp = LAYOUT_STACK,
		.rsi = LAYOUT_ZERO_PAGE,
		.rbx = long_mode ? 0 : LAYOUT_PVH_INFO,
	};

	return KVM_IOCTL(cpu->fd, KVM_SET_REGS, &regs, err);
}

static int set_fpu(struct vcpu *cpu, struct err *err)
{
	struct kvm_fpu fpu = { .fcw = FCW_INIT, .mxcsr = MXCSR_INIT };

	return KVM_IOCTL(cpu->fd, KVM_SET_FPU, &fpu, err);
}

static int set_msrs(struct vcpu *cpu, struct err *err)
{
	static const struct kvm_msr_entry values[] = {
		{ .index = MSR_SYSENTER_CS },
		{ .index = MSR_SYSENTER_ESP },
		{ .index = MSR_SYSENTER_EIP },
		{ .index = MSR_STAR },
		{ .index = MSR_LSTAR },
		{ .index = MSR_CSTAR },
		{ .index = MSR_SYSCALL_MASK },
		{ .index = MSR_KERNEL_GS_BASE },
		{ .index = MSR_MISC_ENABLE, .data = MISC_FAST_STRING },
		{ .index = MSR_MTRR_DEF_TYPE, .data = MTRR_WRITE_BACK },
	};
	uint64_t raw[(sizeof(struct kvm_msrs) + sizeof(values)) / sizeof(uint64_t)] = { 0 };
	struct kvm_msrs *msrs = (struct kvm_msrs *)raw;
	int r;

	msrs->nmsrs = ARRAY_LEN(values);
	memcpy(msrs->entries, values, sizeof(values));
	r = KVM_IOCTL(cpu->fd, KVM_SET_MSRS, msrs, err);
	if (r < 0)
		return r;
	if (r != ARRAY_LEN(values))
		return err_msg(err, ENOTSUP, "KVM_SET_MSRS: MSR 0x%x was refused", values[r].index);
	return 0;
}

static void lvt_mode(struct kvm_lapic_state *lapic, unsigned reg, uint32_t mode)
{
	uint8_t *at = (uint8_t *)lapic->regs + reg;

	store_le32(at, (load_le32(at) & ~APIC_MODE_MASK) | mode);
}

static int set_lapic(struct vcpu *cpu, struct err *err)
{
	struct kvm_lapic_state lapic;
	int r = KVM_IOCTL(cpu->fd, KVM_GET_LAPIC, &lapic, err);

	if (r < 0)
		return r;
	lvt_mode(&lapic, APIC_LVT_LINT0, APIC_MODE_EXTINT);
	lvt_mode(&lapic, APIC_LVT_LINT1, APIC_MODE_NMI);
	return KVM_IOCTL(cpu->fd, KVM_SET_LAPIC, &lapic, err);
}

/* The others start from INIT and SIPI, which set what they need. */
static int set_entry(struct vcpu *cpu, struct err *err)
{
	bool long_mode = cpu->m->kernel->entry != 0;
	int r = set_sregs(cpu, long_mode, err);

	if (r >= 0)
		r = set_regs(cpu, long_mode, err);
	if (r >= 0)
		r = set_fpu(cpu, err);
	return r;
}

int arch_vcpu_setup(struct vcpu *cpu, struct kvm_cpuid2 *cpuid, struct err *err)
{
	int r = arch_cpuid_set(cpu, cpuid, err);

	if (r >= 0)
		r = set_msrs(cpu, err);
	if (r >= 0 && cpu->index == 0)
		r = set_entry(cpu, err);
	if (r >= 0)
		r = set_lapic(cpu, err);
	return r < 0 ? err_wrap(err, "vCPU %u", cpu->index) : 0;
}
