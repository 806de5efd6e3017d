/* SPDX-License-Identifier: Apache-2.0 */
/* Which host does a client mean? Reads the name out of the first bytes it sends. */
#ifndef NET_INSPECT_H
#define NET_INSPECT_H

#include <stddef.h>
#include <stdint.h>

#include "net/name.h"

/* No client needs more before it has said the name. */
#define INSPECT_MAX 16384

enum inspect_result {
	INSPECT_MORE,	  /* a name may still come */
	INSPECT_NONE,	  /* neither TLS nor HTTP/1 */
	INSPECT_TLS_NAME, /* SNI */
	INSPECT_TLS_ANON, /* TLS that names no host */
	INSPECT_HTTP,	  /* an HTTP/1 request begins: see http.h */
};

/*
 * inspect_first_bytes() - look at everything a client has sent so far
 * @ret_name: canonical; only for INSPECT_TLS_NAME
 */
enum inspect_result inspect_first_bytes(const uint8_t *p, size_t len, char ret_name[NAME_BUF]);

#endif
