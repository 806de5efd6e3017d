/* SPDX-License-Identifier: Apache-2.0 */
/* The static guest binary, embedded: served to the guest as /init.krun, mode 0755. */
#ifndef GUEST_AGENTD_BLOB_H
#define GUEST_AGENTD_BLOB_H

#include <stddef.h>

extern const unsigned char agentd_blob[];
extern const size_t agentd_blob_len;

#endif
