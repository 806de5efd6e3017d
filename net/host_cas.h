/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The certificates this host trusts, for guests that are to trust them too (`trust_host_cas`).
 * Reads files; call it before the sandbox is confined.
 */
#ifndef NET_HOST_CAS_H
#define NET_HOST_CAS_H

#include <stddef.h>

#include "lib/err.h"

/* Where the text belongs in the guest, beside the tail every bundle there should get. */
#define HOST_CAS_GUEST_NAME "microsandbox-host-cas"

/* struct ca_set - certificates, each once, as DER; zero-initialised is empty */
struct ca_set {
	struct ca_cert *certs;
	size_t n, cap;
};

/*
 * ca_set_add_pem() - take the certificates out of a PEM text; other sections and broken ones are
 * passed over
 * Return: how many were new; -ENOMEM; -E2BIG beyond CA_SET_MAX
 */
int ca_set_add_pem(struct ca_set *set, const char *text, size_t len);

/* ca_set_to_pem() - lines of 64 characters that end in LF. Return: malloc'ed text, NULL: -ENOMEM.
 */
char *ca_set_to_pem(const struct ca_set *set);
void ca_set_release(struct ca_set *set);
#define cleanup_ca_set __attribute__((cleanup(ca_set_release)))

#define CA_SET_MAX 4096

/*
 * host_cas_collect() - all of the host's as one PEM text
 * From SSL_CERT_FILE and SSL_CERT_DIR if one of them is set, else from where distributions keep
 * them.
 * Return: 0 and *ret_pem, for free(); -ENOENT: the host has none; -errno
 */
int host_cas_collect(char **ret_pem, struct err *err);

#endif
