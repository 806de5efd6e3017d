/* SPDX-License-Identifier: Apache-2.0 */
/*
 * x86-64: CPUID. The guest sees what this KVM supports, as one package of single-threaded cores
 * (krun-api 3.6), without performance counters and nested virtualisation.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "lib/num.h"
#include "vmm/kvm/kvm_internal.h"

#define MAX_ENTRIES	  256
#define PACKAGE_SHIFT	  6 /* APIC id bits below the package */
#define ECX1_VMX	  (1u << 5)
#define ECX1_TSC_DEADLINE (1u << 24)
#define ECX1_HYPERVISOR	  (1u << 31)
#define EDX1_HTT	  (1u << 28)
#define EAX6_TURBO	  (1u << 1)
#define ECX6_EPB	  (1u << 3)
#define ECX81_SVM	  (1u << 2)
#define ECX81_CMP_LEGACY  (1u << 1)
#define ECX81_TOPOEXT	  (1u << 22)
#define LEVEL_TYPE_SMT	  1u
#define LEVEL_TYPE_CORE	  2u

int arch_cpuid_get(struct machine *m, struct kvm_cpuid2 **ret, struct err *err)
{
	struct kvm_cpuid2 *c =
		calloc(1, sizeof(*c) + MAX_ENTRIES * sizeof(struct kvm_cpuid_entry2));
	int r;

	if (!c)
		return err_set(err, ENOMEM, "CPUID table");
	c->nent = MAX_ENTRIES;
	r = KVM_IOCTL(m->kvm_fd, KVM_GET_SUPPORTED_CPUID, c, err);
	if (r < 0) {
		free(c);
		return r;
	}
	*ret = c;
	return 0;
}

static uint32_t pow2_at_least(uint32_t v)
{
	uint32_t p = 1;

	while (p < v)
		p <<= 1;
	return p;
}

static uint32_t log2_ceil(uint32_t v)
{
	return (uint32_t)__builtin_ctz(pow2_at_least(v));
}

struct topology {
	unsigned id, n;
	bool tsc_deadline;
};

static void leaf_1(struct kvm_cpuid_entry2 *e, const struct topology *t)
{
	e->ebx = (e->ebx & 0xff) | 8u << 8 | pow2_at_least(t->n) << 16 | t->id << 24;
	e->ecx |= ECX1_HYPERVISOR;
	e->ecx &= ~ECX1_VMX;
	/* A timer that needs no calibration; KVM emulates it whatever the host's CPU is. */
	if (t->tsc_deadline)
		e->ecx |= ECX1_TSC_DEADLINE;
	e->edx = t->n > 1 ? e->edx | EDX1_HTT : e->edx & ~EDX1_HTT;
}

/* Intel's caches: levels below the last belong to one core, the last one to the package. */
static void leaf_4(struct kvm_cpuid_entry2 *e, const struct topology *t)
{
	unsigned level = e->eax >> 5 & 7, sharing = level >= 3 ? pow2_at_least(t->n) : 1;

	if (!(e->eax & 0x1f))
		return;
	e->eax = (e->eax & 0x3fff) | (sharing - 1) << 14 | (pow2_at_least(t->n) - 1) << 26;
}

static void leaf_topology(struct kvm_cpuid_entry2 *e, const struct topology *t)
{
	uint32_t level = e->index;

	e->eax = level == 0 ? 0 : level == 1 ? PACKAGE_SHIFT : 0;
	e->ebx = level == 0 ? 1 : level == 1 ? t->n : 0;
	e->ecx = level | (level == 0 ? LEVEL_TYPE_SMT << 8 : level == 1 ? LEVEL_TYPE_CORE << 8 : 0);
	e->edx = t->id;
}

/* AMD's caches: as leaf 4, with the count of sharing threads in bits 25 to 14. */
static void leaf_amd_cache(struct kvm_cpuid_entry2 *e, const struct topology *t)
{
	unsigned sharing = (e->eax >> 5 & 7) >= 3 ? t->n : 1;

	if (e->eax & 0x1f)
		e->eax = (e->eax & ~(0xfffu << 14)) | (sharing - 1) << 14;
}

static void patch(struct kvm_cpuid_entry2 *e, const struct topology *t)
{
	switch (e->function) {
	case 0x1:
		leaf_1(e, t);
		break;
	case 0x4:
		leaf_4(e, t);
		break;
	case 0x6:
		e->eax &= ~EAX6_TURBO;
		e->ecx &= ~ECX6_EPB;
		break;
	case 0xa:
		e->eax = e->ebx = e->ecx = e->edx = 0;
		break;
	case 0xb:
	case 0x1f:
		leaf_topology(e, t);
		break;
	case 0x80000001:
		e->ecx &= ~ECX81_SVM;
		e->ecx = t->n > 1 ? e->ecx | ECX81_CMP_LEGACY : e->ecx & ~ECX81_CMP_LEGACY;
		break;
	case 0x80000008:
		e->ecx = (e->ecx & ~0xf0ffu) | log2_ceil(t->n) << 12 | (t->n - 1);
		break;
	case 0x8000001d:
		leaf_amd_cache(e, t);
		break;
	case 0x8000001e:
		e->eax = t->id;
		e->ebx = (e->ebx & ~0xffffu) | t->id; /* one thread per core */
		e->ecx &= ~0x7ffu;		      /* one node */
		break;
	default:
		break;
	}
}

int arch_cpuid_set(struct vcpu *cpu, struct kvm_cpuid2 *cpuid, struct err *err)
{
	struct topology t = {
		.id = cpu->index,
		.n = cpu->m->vm->cfg.vcpus,
		.tsc_deadline =
			ioctl(cpu->m->fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0,
	};
	int r;

	for (uint32_t i = 0; i < cpuid->nent; i++)
		patch(&cpuid->entries[i], &t);
	r = KVM_IOCTL(cpu->fd, KVM_SET_CPUID2, cpuid, err);
	return r < 0 ? r : 0;
}
