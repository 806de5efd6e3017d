/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates of authorities that a user trusts beside those of the system. */
#ifndef IMAGE_PEM_H
#define IMAGE_PEM_H

#include <stddef.h>

#include "lib/err.h"

struct pem_certs;

/* pem_certs_new() - parse a PEM bundle. Return: 0; -EINVAL no certificate in it, or a broken one */
int pem_certs_new(const char *pem, size_t len, struct pem_certs **ret, struct err *err);
void pem_certs_free(struct pem_certs *certs);

/* pem_certs_add() - trust them. @x509_store: X509_STORE of OpenSSL. Return: 0; -ENOMEM */
int pem_certs_add(const struct pem_certs *certs, void *x509_store);

#endif
