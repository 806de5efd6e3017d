/* SPDX-License-Identifier: Apache-2.0 */
#include "image/pem.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

struct pem_certs {
	STACK_OF(X509) * stack;
};

static int read_all(BIO *bio, struct pem_certs *c, struct err *err)
{
	X509 *x;
	unsigned long why;

	while ((x = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
		if (!sk_X509_push(c->stack, x)) {
			X509_free(x);
			return err_set(err, ENOMEM, "read certificates");
		}
	}
	why = ERR_peek_last_error();
	ERR_clear_error();
	if (ERR_GET_LIB(why) != ERR_LIB_PEM || ERR_GET_REASON(why) != PEM_R_NO_START_LINE)
		return err_msg(
			err, EINVAL, "certificate %d cannot be read", sk_X509_num(c->stack) + 1);
	if (sk_X509_num(c->stack) == 0)
		return err_msg(err, EINVAL, "there is no certificate in PEM form in it");
	return 0;
}

int pem_certs_new(const char *pem, size_t len, struct pem_certs **ret, struct err *err)
{
	struct pem_certs *c = calloc(1, sizeof(*c));
	BIO *bio = len <= INT_MAX ? BIO_new_mem_buf(pem, (int)len) : NULL;
	int rc;

	if (c)
		c->stack = sk_X509_new_null();
	if (!c || !bio || !c->stack)
		rc = err_set(err, ENOMEM, "read certificates");
	else
		rc = read_all(bio, c, err);
	BIO_free(bio);
	if (rc < 0) {
		pem_certs_free(c);
		return rc;
	}
	*ret = c;
	return 0;
}

void pem_certs_free(struct pem_certs *certs)
{
	if (!certs)
		return;
	sk_X509_pop_free(certs->stack, X509_free);
	free(certs);
}

int pem_certs_add(const struct pem_certs *certs, void *x509_store)
{
	for (int i = 0; i < sk_X509_num(certs->stack); i++) {
		if (X509_STORE_add_cert(x509_store, sk_X509_value(certs->stack, i)) != 1)
			return -ENOMEM;
	}
	return 0;
}
