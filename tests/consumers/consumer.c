/* SPDX-License-Identifier: Apache-2.0 */
/* A program of somebody who has installed the library: is it the one that the header describes? */
#include <flash_llm.h>
#include <stdio.h>

int main(void) {
    int version = 0;
    if (flashllmGetVersion(NULL, &version) != FLASHLLM_STATUS_SUCCESS || version != FLASHLLM_VERSION) {
        fprintf(stderr, "header %d, library %d\n", FLASHLLM_VERSION, version);
        return 1;
    }

    flashllmHandle_t handle = NULL;
    flashllmStatus_t status = flashllmCreateHost(&handle);
    if (status != FLASHLLM_STATUS_SUCCESS) {
        fprintf(stderr, "flashllmCreateHost: %s\n", flashllmGetErrorString(status));
        return 1;
    }
    if (flashllmDestroy(handle) != FLASHLLM_STATUS_SUCCESS) return 1;
    printf("flash_llm %d\n", version);
    return 0;
}
