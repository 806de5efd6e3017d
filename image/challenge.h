/* SPDX-License-Identifier: Apache-2.0 */
/* WWW-Authenticate: what a registry wants to be shown (RFC 9110 11.6.1). */
#ifndef IMAGE_CHALLENGE_H
#define IMAGE_CHALLENGE_H

#include "image/http.h"

enum challenge_kind { CHALLENGE_NONE, CHALLENGE_BASIC, CHALLENGE_BEARER };

/* struct challenge - @realm (an URL) and @service matter for CHALLENGE_BEARER only; "" not given */
struct challenge {
	enum challenge_kind kind;
	char realm[2048];
	char service[512];
};

/*
 * challenge_parse() - the best of the challenges in @text: Bearer, else Basic, else none
 * @text: values of the headers, one per line
 */
void challenge_parse(const char *text, struct challenge *ret);

#endif
