#ifndef CONSUMER_SECRETS_H
#define CONSUMER_SECRETS_H
#include "schemas/config.h"

/* The providers' keys, read once from where the configuration says (an environment variable or a file). Each is bound to its provider and has no
 * way out but secrets_of; nothing here can print one. */
struct secrets;
/* A file that cannot be read is an error; an unset variable is not (a local server may need no key). */
struct secrets *secrets_new(const struct config *config, struct err *err);
void secrets_free(struct secrets *s); /* wipes them */
/* Borrowed; VIEW_NONE when there is none. arg is the struct secrets (the form worker_ports wants). */
struct view secrets_of(void *arg, const struct config_provider *p);

#endif
