#ifndef BASE_BANNED_H
#define BASE_BANNED_H
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Calls nobody needs here: unbounded, locale- or state-dependent. Included by base/view.h, so
 * everywhere. */
#undef alloca /* a macro of stdlib.h: poisoning an existing macro is an error */
#pragma GCC poison strcpy strcat strncpy strncat sprintf vsprintf strtok atoi atol atof gets       \
    alloca localtime gmtime

#endif
