/* SPDX-License-Identifier: Apache-2.0 */
/* Any text as a certificate bundle; what is written must read the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "net/host_cas.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	cleanup_ca_set struct ca_set set = { 0 }, again = { 0 };
	char *pem;

	if (ca_set_add_pem(&set, (const char *)data, len) < 0)
		abort();
	pem = ca_set_to_pem(&set);
	if (!pem || ca_set_add_pem(&again, pem, strlen(pem)) != (int)set.n)
		abort();
	free(pem);
	return 0;
}
