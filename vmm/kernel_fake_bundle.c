/* SPDX-License-Identifier: Apache-2.0 */
/* For tests: a library with the functions of libkrunfw whose answers come from the environment. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

int krunfw_get_version(void);
char *krunfw_get_kernel(size_t *load_addr, size_t *entry_addr, size_t *size);

static __attribute__((aligned(4096))) uint8_t image[65536] = {
	[0] = 0xf4,
	/* A PHYS32_ENTRY note: namesz 4, descsz 4, type 18, "Xen", entry 0x1000000. */
	[0x7000] = 4,
	[0x7004] = 4,
	[0x7008] = 18,
	[0x700c] = 'X',
	[0x700d] = 'e',
	[0x700e] = 'n',
	[0x7013] = 1,
};

static size_t env_number(const char *name, size_t otherwise)
{
	const char *v = getenv(name);

	return v ? strtoul(v, NULL, 0) : otherwise;
}

int krunfw_get_version(void)
{
	return (int)env_number("FAKE_ABI", 5);
}

char *krunfw_get_kernel(size_t *load_addr, size_t *entry_addr, size_t *size)
{
	*load_addr = env_number("FAKE_LOAD", 0x1000000);
	*entry_addr = env_number("FAKE_ENTRY", 0x1000010);
	*size = env_number("FAKE_SIZE", sizeof(image));
	return (char *)image + env_number("FAKE_OFFSET", 0);
}
