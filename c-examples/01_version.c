/* SPDX-License-Identifier: Apache-2.0
 *
 * Which library is this? Needs no GPU and creates nothing. */
#include "common.h"

int main(void) {
    int version = 0, major = 0, minor = 0, patch = 0;
    CHECK(flashllmGetVersion(NULL, &version));
    CHECK(flashllmGetProperty(FLASHLLM_MAJOR_VERSION, &major));
    CHECK(flashllmGetProperty(FLASHLLM_MINOR_VERSION, &minor));
    CHECK(flashllmGetProperty(FLASHLLM_PATCH_LEVEL, &patch));

    printf("flash_llm %d.%d.%d (%d)\n", major, minor, patch, version);
    printf("build: %s\n", flashllmGetBuildInfo());

    REQUIRE(version == major * 10000 + minor * 100 + patch, "the version number is not its parts");
    /* A program may run with a newer library than it was compiled for, never with an older one. */
    REQUIRE(version >= FLASHLLM_VERSION, "the library is older than the header");

    /* Every failure has a number, a name and a sentence. */
    const flashllmStatus_t status = flashllmGetVersion(NULL, NULL);
    REQUIRE(status == FLASHLLM_STATUS_NULL_POINTER, "a NULL out-pointer was not refused");
    printf("an error looks like this: %s (%s): %s\n", flashllmGetErrorName(status),
           flashllmGetErrorString(status), flashllmGetLastErrorMessage());
    return EXIT_SUCCESS;
}
