/* SPDX-License-Identifier: Apache-2.0 */
/* Finds libc's own functions: the next of their names behind this library. */
#include "preload/real.h"

#include <dlfcn.h>
#include <string.h>

struct zp_libc zp_real_found;
int zp_real_known;

void zp_real_begin(void)
{
#define X(type, name, args)                                         \
	{                                                           \
		void *found = dlsym(RTLD_NEXT, #name);              \
		memcpy(&zp_real_found.name, &found, sizeof(found)); \
	}
	ZP_REALS(X)
#undef X
	__atomic_store_n(&zp_real_known, 1, __ATOMIC_RELEASE); /* who comes at once finds the same */
}
