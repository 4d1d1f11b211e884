/* SPDX-License-Identifier: Apache-2.0
 *
 * CUDA's libraries loaded with dlopen: for the examples that declare its functions by hand, so that they compile
 * where no CUDA toolkit is installed. Valid as C99, C11 and C++11. */
#ifndef FLASH_LLM_EXAMPLES_DYNAMIC_H
#define FLASH_LLM_EXAMPLES_DYNAMIC_H

#include "common.h"

#include <dlfcn.h>

/* Ends the program as skipped. */
static inline void skip(const char *why) {
    printf("skipped: %s\n", why);
    exit(EXIT_SKIPPED);
}

/* Sets the pointer to a function that `function` points to. POSIX lets dlsym's result be a function; ISO C has no
 * cast for it, hence the copy. */
static inline void load(void *library, const char *name, void *function) {
    void *symbol = dlsym(library, name);
    if (symbol == NULL) {
        fprintf(stderr, "the library that was loaded has no %s\n", name);
        exit(EXIT_FAILURE);
    }
    memcpy(function, &symbol, sizeof symbol);
}

#endif
