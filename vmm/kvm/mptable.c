/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/kvm/mptable.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "vmm/kvm/layout.h"

#define SPEC_REV	4 /* 1.4 */
#define APIC_VERSION	0x14
#define N_IRQS		16
#define CPU_ENABLED	0x01
#define CPU_BOOT	0x02
#define CPU_SIGNATURE	0x600
#define CPU_FEATURES	0x201 /* FPU, APIC */
#define IOAPIC_ENABLED	0x01
#define INT_TYPE_INT	0
#define INT_TYPE_NMI	1
#define INT_TYPE_EXTINT 3
#define DEST_ALL	0xff

enum { ENTRY_CPU, ENTRY_BUS, ENTRY_IOAPIC, ENTRY_IRQ, ENTRY_LOCAL_IRQ };

struct mp_floating {
	char signature[4];
	uint32_t table;
	uint8_t length, spec, checksum, feature[5];
} __attribute__((packed));

struct mp_header {
	char signature[4];
	uint16_t length;
	uint8_t spec, checksum;
	char oem[8], product[12];
	uint32_t oem_table;
	uint16_t oem_size, count;
	uint32_t lapic;
	uint16_t ext_length;
	uint8_t ext_checksum, reserved;
} __attribute__((packed));

struct mp_cpu {
	uint8_t type, apic_id, apic_version, flags;
	uint32_t signature, features, reserved[2];
} __attribute__((packed));

struct mp_bus {
	uint8_t type, id;
	char name[6];
} __attribute__((packed));

struct mp_ioapic {
	uint8_t type, id, version, flags;
	uint32_t addr;
} __attribute__((packed));

struct mp_irq {
	uint8_t type, irq_type;
	uint16_t flags;
	uint8_t bus, bus_irq, dest, dest_irq;
} __attribute__((packed));

static_assert(sizeof(struct mp_floating) == 16, "MP floating pointer");
static_assert(sizeof(struct mp_header) == 44, "MP configuration header");
static_assert(sizeof(struct mp_cpu) == 20, "MP processor entry");
static_assert(sizeof(struct mp_bus) == 8, "MP bus entry");
static_assert(sizeof(struct mp_ioapic) == 8, "MP IO APIC entry");
static_assert(sizeof(struct mp_irq) == 8, "MP interrupt entry");

struct writer {
	uint8_t *dst;
	size_t pos;
	unsigned entries;
};

static void put(struct writer *w, const void *entry, size_t len)
{
	memcpy(w->dst + w->pos, entry, len);
	w->pos += len;
	w->entries++;
}

static uint8_t checksum(const uint8_t *p, size_t len)
{
	uint8_t sum = 0;

	while (len--)
		sum += *p++;
	return (uint8_t)-sum;
}

static void put_cpus(struct writer *w, unsigned vcpus)
{
	for (unsigned i = 0; i < vcpus; i++) {
		struct mp_cpu cpu = {
			.type = ENTRY_CPU,
			.apic_id = (uint8_t)i,
			.apic_version = APIC_VERSION,
			.flags = CPU_ENABLED | (i ? 0 : CPU_BOOT),
			.signature = CPU_SIGNATURE,
			.features = CPU_FEATURES,
		};
		put(w, &cpu, sizeof(cpu));
	}
}

static void put_interrupts(struct writer *w, uint8_t ioapic)
{
	struct mp_irq extint = { ENTRY_LOCAL_IRQ, INT_TYPE_EXTINT, 0, 0, 0, 0, 0 };
	struct mp_irq nmi = { ENTRY_LOCAL_IRQ, INT_TYPE_NMI, 0, 0, 0, DEST_ALL, 1 };

	for (uint8_t i = 0; i < N_IRQS; i++) {
		struct mp_irq irq = { ENTRY_IRQ, INT_TYPE_INT, 0, 0, i, ioapic, i };
		put(w, &irq, sizeof(irq));
	}
	put(w, &extint, sizeof(extint));
	put(w, &nmi, sizeof(nmi));
}

int mptable_build(uint8_t *dst, size_t len, uint32_t gpa, unsigned vcpus, struct err *err)
{
	struct mp_floating fp = { .signature = "_MP_", .length = 1, .spec = SPEC_REV };
	struct mp_header hdr = { .signature = "PCMP", .spec = SPEC_REV, .lapic = LAYOUT_LAPIC };
	struct mp_bus bus = { .type = ENTRY_BUS, .id = 0, .name = "ISA   " };
	struct mp_ioapic ioapic = { ENTRY_IOAPIC, (uint8_t)(vcpus + 1), APIC_VERSION,
		IOAPIC_ENABLED, LAYOUT_IOAPIC };
	struct writer w = { dst, sizeof(fp) + sizeof(hdr), 0 };
	size_t need = w.pos + vcpus * sizeof(struct mp_cpu) + sizeof(bus) + sizeof(ioapic) +
		      (N_IRQS + 2) * sizeof(struct mp_irq);

	if (!vcpus || vcpus > MPTABLE_MAX_CPUS)
		return err_msg(err, EINVAL, "MP table: %u CPUs", vcpus);
	if (need > len)
		return err_msg(err, E2BIG, "MP table of %zu bytes has no room", need);
	memcpy(hdr.oem, "FC      ", sizeof(hdr.oem));
	memcpy(hdr.product, "000000000000", sizeof(hdr.product));
	put_cpus(&w, vcpus);
	put(&w, &bus, sizeof(bus));
	put(&w, &ioapic, sizeof(ioapic));
	put_interrupts(&w, ioapic.id);
	hdr.length = (uint16_t)(w.pos - sizeof(fp));
	hdr.count = (uint16_t)w.entries;
	memcpy(dst + sizeof(fp), &hdr, sizeof(hdr));
	dst[sizeof(fp) + offsetof(struct mp_header, checksum)] =
		checksum(dst + sizeof(fp), hdr.length);
	fp.table = gpa + (uint32_t)sizeof(fp);
	fp.checksum = checksum((const uint8_t *)&fp, sizeof(fp));
	memcpy(dst, &fp, sizeof(fp));
	return (int)w.pos;
}
