/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "image/reference.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* What is accepted has a canonical form that means the same and stays as it is. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char *text = strndup((const char *)data, len);
	char once[REFERENCE_TEXT_MAX], twice[REFERENCE_TEXT_MAX];
	struct reference r, again;
	struct err err = ERR_INIT;

	if (!text)
		return 0;
	if (reference_parse(text, &r, &err) == 0) {
		reference_format(&r, once);
		assert(reference_parse(once, &again, &err) == 0);
		reference_format(&again, twice);
		assert(strcmp(once, twice) == 0);
		assert(*reference_target(&r));
	} else {
		assert(err.msg[0]);
	}
	free(text);
	return 0;
}
