/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest without an operating system, to test the kvm engine wherever /dev/kvm opens: a few
 * hundred plain instructions that even a KVM which emulates instructions can run. It is entered
 * like a Linux kernel (64-bit mode, zero page in rsi, first GiB mapped one to one) and does what
 * "payload=X" on its command line says. Progress and result go to the POST code port 0x80; the end
 * is a reset through the i8042.
 */
#include <stdint.h>

#define CMD_LINE_PTR 0x228   /* in the zero page */
#define PDPTE	     0xa000u /* set up by the VMM */
#define LAPIC	     0xfee00000u
#define IOAPIC	     0xfec00000u
#define WINDOW	     0xd0000000u
#define N_SLOTS	     11u
#define FIRST_IRQ    5u
#define VECTOR	     0x40u
#define PATIENCE     2000000u

/* Register offsets of virtio-mmio (virtio 1.2, 4.2.2) */
enum {
	MAGIC = 0x00,
	VERSION = 0x04,
	DEVICE_ID = 0x08,
	DEVICE_FEATURES = 0x10,
	DEVICE_FEATURES_SEL = 0x14,
	DRIVER_FEATURES = 0x20,
	DRIVER_FEATURES_SEL = 0x24,
	QUEUE_SEL = 0x30,
	QUEUE_MAX = 0x34,
	QUEUE_SIZE = 0x38,
	QUEUE_READY = 0x44,
	NOTIFY = 0x50,
	INTERRUPT_STATUS = 0x60,
	INTERRUPT_ACK = 0x64,
	STATUS = 0x70,
	QUEUE_DESC = 0x80,
	QUEUE_AVAIL = 0x90,
	QUEUE_USED = 0xa0,
};

/* What the last POST code says; the test knows these. */
enum {
	POST_STARTED = 0x01,
	POST_FOUND = 0x02,
	POST_NEGOTIATED = 0x03,
	POST_NOTIFIED = 0x04,
	POST_USED = 0x05,
	POST_OK = 0x2a,
	POST_BAD = 0xe0, /* and above: what was wrong */
};

#define QSIZE	 8
#define RNG_LEN	 64
#define D_WRITE	 2
#define ID_RNG	 4
#define V1_PAGE	 1
#define V1_BIT	 1
#define S_ACK	 1
#define S_DRIVER 2
#define S_OK	 4
#define S_FEAT	 8

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

static struct {
	struct desc desc[QSIZE];
	struct {
		uint16_t flags, idx, ring[QSIZE];
	} avail __attribute__((aligned(64)));
	struct {
		uint16_t flags, idx;
		struct {
			uint32_t id, len;
		} ring[QSIZE];
	} used __attribute__((aligned(64)));
	uint8_t data[RNG_LEN] __attribute__((aligned(64)));
} volatile q __attribute__((aligned(4096)));

static volatile uint64_t window_pd[512] __attribute__((aligned(4096)));

static inline void outb(uint16_t port, uint8_t v)
{
	__asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

static inline uint8_t inb(uint16_t port)
{
	uint8_t v;

	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port) : "memory");
	return v;
}

static inline uint32_t get(uint32_t addr)
{
	uint32_t v;

	__asm__ volatile("movl (%1), %0" : "=a"(v) : "r"((uint64_t)addr) : "memory");
	return v;
}

static inline void set(uint32_t addr, uint32_t v)
{
	__asm__ volatile("movl %0, (%1)" : : "a"(v), "r"((uint64_t)addr) : "memory");
}

static void end(uint8_t post)
{
	outb(0x80, post);
	for (;;)
		outb(0x64, 0xfe);
}

/* Devices and interrupt controllers live in the fourth GiB, which is not mapped yet. */
static void map_window(uint32_t addr)
{
	window_pd[addr >> 21 & 511] =
		(addr & ~0x1fffffu) | 0x93; /* present, write, 2 MiB, uncached */
	*(volatile uint64_t *)(uintptr_t)(PDPTE + 3 * 8) = (uint64_t)(uintptr_t)window_pd | 3;
}

static uint32_t find_rng(void)
{
	for (uint32_t i = 0; i < N_SLOTS; i++) {
		uint32_t at = WINDOW + i * 0x1000;

		if (get(at + MAGIC) == 0x74726976 && get(at + VERSION) == 2 &&
			get(at + DEVICE_ID) == ID_RNG)
			return at;
	}
	end(POST_BAD);
	return 0;
}

static void negotiate(uint32_t rng)
{
	set(rng + STATUS, 0);
	set(rng + STATUS, S_ACK);
	set(rng + STATUS, S_ACK | S_DRIVER);
	set(rng + DEVICE_FEATURES_SEL, V1_PAGE);
	if (!(get(rng + DEVICE_FEATURES) & V1_BIT))
		end(POST_BAD + 1);
	set(rng + DRIVER_FEATURES_SEL, V1_PAGE);
	set(rng + DRIVER_FEATURES, V1_BIT);
	set(rng + STATUS, S_ACK | S_DRIVER | S_FEAT);
	if (!(get(rng + STATUS) & S_FEAT))
		end(POST_BAD + 2);
}

static void put_addr(uint32_t reg, volatile const void *p)
{
	set(reg, (uint32_t)(uintptr_t)p);
	set(reg + 4, (uint32_t)((uintptr_t)p >> 32));
}

static void set_up_queue(uint32_t rng)
{
	set(rng + QUEUE_SEL, 0);
	if (get(rng + QUEUE_MAX) < QSIZE)
		end(POST_BAD + 3);
	set(rng + QUEUE_SIZE, QSIZE);
	put_addr(rng + QUEUE_DESC, q.desc);
	put_addr(rng + QUEUE_AVAIL, &q.avail);
	put_addr(rng + QUEUE_USED, &q.used);
	set(rng + QUEUE_READY, 1);
	set(rng + STATUS, S_ACK | S_DRIVER | S_FEAT | S_OK);
}

/* The interrupt is not taken, only seen pending in the local APIC: that needs no IDT. */
static void route_interrupt(uint32_t pin)
{
	map_window(LAPIC);
	map_window(IOAPIC);
	set(LAPIC + 0xf0, 0x1ff); /* enable */
	set(IOAPIC, 0x10 + 2 * pin + 1);
	set(IOAPIC + 0x10, 0);
	set(IOAPIC, 0x10 + 2 * pin);
	set(IOAPIC + 0x10, VECTOR);
}

static int interrupt_pending(void)
{
	return get(LAPIC + 0x200 + (VECTOR / 32) * 0x10) >> (VECTOR % 32) & 1;
}

static void fill_one(uint32_t rng)
{
	q.desc[0].addr = (uint64_t)(uintptr_t)q.data;
	q.desc[0].len = RNG_LEN;
	q.desc[0].flags = D_WRITE;
	q.avail.ring[0] = 0;
	q.avail.idx = 1;
	set(rng + NOTIFY, 0);
}

static void check_data(void)
{
	uint8_t any = 0;

	for (unsigned i = 0; i < RNG_LEN; i++)
		any |= q.data[i];
	if (q.used.ring[0].len != RNG_LEN || q.used.ring[0].id != 0 || !any)
		end(POST_BAD + 5);
}

static void drive_rng(void)
{
	map_window(WINDOW);
	uint32_t rng = find_rng();
	outb(0x80, POST_FOUND);
	negotiate(rng);
	outb(0x80, POST_NEGOTIATED);
	route_interrupt(FIRST_IRQ + (rng - WINDOW) / 0x1000);
	set_up_queue(rng);
	fill_one(rng);
	outb(0x80, POST_NOTIFIED);
	for (unsigned i = 0; q.used.idx != 1; i++)
		if (i == PATIENCE)
			end(POST_BAD + 4);
	check_data();
	outb(0x80, POST_USED);
	for (unsigned i = 0; !interrupt_pending(); i++)
		if (i == PATIENCE)
			end(POST_BAD + 6);
	if (!(get(rng + INTERRUPT_STATUS) & 1))
		end(POST_BAD + 7);
	set(rng + INTERRUPT_ACK, 1);
	if (get(rng + INTERRUPT_STATUS) & 1)
		end(POST_BAD + 8);
	end(POST_OK);
}

/* Neither memory nor a device: reads are all ones, writes vanish. */
static void touch_nowhere(void)
{
	map_window(0xe0000000u);
	set(0xe0000000u, 0x12345678);
	if (get(0xe0000000u) != 0xffffffff || inb(0x3f8) != 0xff)
		end(POST_BAD);
	outb(0x3f8, 'x');
	end(POST_OK);
}

static void triple_fault(void)
{
	static const struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) empty = { 0, 0 };

	__asm__ volatile("lidt %0; ud2" : : "m"(empty));
}

static void halt_for_good(void)
{
	for (;;)
		__asm__ volatile("cli; hlt");
}

static void spin(void)
{
	for (;;)
		__asm__ volatile("pause");
}

static char mode_of(const char *cmdline)
{
	static const char key[] = "payload=";

	for (; *cmdline; cmdline++) {
		unsigned i = 0;

		while (key[i] && cmdline[i] == key[i])
			i++;
		if (!key[i])
			return cmdline[i];
	}
	return 0;
}

void payload_main(const uint8_t *zero_page);

void payload_main(const uint8_t *zero_page)
{
	outb(0x80, POST_STARTED);
	switch (mode_of((const char *)(uintptr_t) * (const uint32_t *)(zero_page + CMD_LINE_PTR))) {
	case 'r':
		drive_rng();
		break;
	case 'n':
		touch_nowhere();
		break;
	case 't':
		triple_fault();
		break;
	case 'h':
		halt_for_good();
		break;
	case 's':
		spin();
		break;
	default:
		end(POST_OK);
	}
}

__asm__(".globl _start\n"
	"_start:\n"
	"	mov %rsi, %rdi\n"
	"	call payload_main\n"
	"1:	jmp 1b\n"
	/* PVH: 32-bit, no paging, ebx points to the start info. Says 0x2b if that is well-formed.
	 */
	".code32\n"
	"pvh_start:\n"
	"	mov $0xe9, %al\n"
	"	cmpl $0x336ec578, (%ebx)\n" /* magic */
	"	jne 1f\n"
	"	mov 24(%ebx), %esi\n"	    /* command line */
	"	cmpl $0x6f626572, (%esi)\n" /* "rebo" */
	"	jne 1f\n"
	"	cmpl $2, 48(%ebx)\n" /* memory map: two ranges */
	"	jne 1f\n"
	"	mov $0x2b, %al\n"
	"1:	out %al, $0x80\n"
	"	mov $0xfe, %al\n"
	"	out %al, $0x64\n"
	"	jmp 1b\n"
	".code64\n"
	".pushsection .note.Xen, \"a\", @note\n"
	"	.align 4\n"
	"	.long 4, 4, 18\n" /* XEN_ELFNOTE_PHYS32_ENTRY */
	"	.asciz \"Xen\"\n"
	"	.long pvh_start\n"
	".popsection\n");
