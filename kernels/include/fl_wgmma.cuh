// SPDX-License-Identifier: Apache-2.0
// wgmma, dense, A from registers and B from shared memory.
// Layouts: PTX ISA, "Asynchronous Warpgroup Level Matrix Instructions".
#pragma once

#include "fl_ptx.cuh"

namespace fl {

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

// Registers written before may be read by the wgmma that follow.
__device__ __forceinline__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }

__device__ __forceinline__ void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

// Waits until at most kPending of this thread's groups are at work.
template <int kPending>
__device__ __forceinline__ void wgmma_wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

// Sums may be read: the compiler sees no other dependence on the wait.
__device__ __forceinline__ void wgmma_read(float4& v) {
    asm volatile("" : "+f"(v.x), "+f"(v.y), "+f"(v.z), "+f"(v.w)::"memory");
}

// Bytes of a row of the operand below: 64 of K.
constexpr uint32_t kWgmmaRow = 128;

// B whose columns are rows along K, 64 of K each, 16-byte pieces swizzled by the row's number mod 8; 16 of K further is 32 bytes
// further. `address` is a multiple of 1024, but for that.
__device__ __forceinline__ uint64_t wgmma_descriptor_k_major(uint32_t address) {
    constexpr uint64_t kSwizzle128 = 1ull << 62, kEightRows = (1024ull >> 4) << 32;
    return static_cast<uint64_t>((address & 0x3ffff) >> 4) | 1ull << 16 | kEightRows | kSwizzle128;
}

#define FL_D(i) "+f"(d[i].x), "+f"(d[i].y), "+f"(d[i].z), "+f"(d[i].w)
#define FL_D2(i) FL_D(i), FL_D(i + 1)
#define FL_D4(i) FL_D2(i), FL_D2(i + 2)
#define FL_WGMMA(columns, sums, operands)                                                                             \
    asm volatile("wgmma.mma_async.sync.aligned.m64n" columns "k16." FL_WGMMA_TYPES " {" sums "}, " operands           \
                 ", 1, 1, 1, 0;"
#define FL_A_B "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b)
#define FL_R4(a, b, c, d) "%" #a ",%" #b ",%" #c ",%" #d
#define FL_R8(a, b, c, d, e, f, g, h) FL_R4(a, b, c, d) "," FL_R4(e, f, g, h)
#define FL_R16_0 FL_R8(0, 1, 2, 3, 4, 5, 6, 7) "," FL_R8(8, 9, 10, 11, 12, 13, 14, 15)
#define FL_R8_2 FL_R8(16, 17, 18, 19, 20, 21, 22, 23)
#define FL_R16_1 FL_R8_2 "," FL_R8(24, 25, 26, 27, 28, 29, 30, 31)
#define FL_R16_2 FL_R8(32, 33, 34, 35, 36, 37, 38, 39) "," FL_R8(40, 41, 42, 43, 44, 45, 46, 47)
#define FL_R8_6 FL_R8(48, 49, 50, 51, 52, 53, 54, 55)
#define FL_R16_3 FL_R8(48, 49, 50, 51, 52, 53, 54, 55) "," FL_R8(56, 57, 58, 59, 60, 61, 62, 63)
#define FL_R16_4 FL_R8(64, 65, 66, 67, 68, 69, 70, 71) "," FL_R8(72, 73, 74, 75, 76, 77, 78, 79)
#define FL_R16_5 FL_R8(80, 81, 82, 83, 84, 85, 86, 87) "," FL_R8(88, 89, 90, 91, 92, 93, 94, 95)
#define FL_R16_6 FL_R8(96, 97, 98, 99, 100, 101, 102, 103) "," FL_R8(104, 105, 106, 107, 108, 109, 110, 111)
#define FL_R16_7 FL_R8(112, 113, 114, 115, 116, 117, 118, 119) "," FL_R8(120, 121, 122, 123, 124, 125, 126, 127)
#define FL_R64_0 FL_R16_0 "," FL_R16_1 "," FL_R16_2 "," FL_R16_3

// D += A * B for 64 rows, 16 of each warp, 8 NT columns and 16 of K; a and d[i] as those of mma.m16n8k16, d[i] for columns 8 i.
template <int NT>
__device__ __forceinline__ void wgmma_k16(float4* d, const uint32_t* a, uint64_t b) {
    if constexpr (NT == 1) {
        FL_WGMMA("8", FL_R4(0, 1, 2, 3), "{%4,%5,%6,%7}, %8") : FL_D(0) : FL_A_B);
    } else if constexpr (NT == 2) {
        FL_WGMMA("16", FL_R8(0, 1, 2, 3, 4, 5, 6, 7), "{%8,%9,%10,%11}, %12") : FL_D2(0) : FL_A_B);
    } else if constexpr (NT == 4) {
        FL_WGMMA("32", FL_R16_0, "{%16,%17,%18,%19}, %20") : FL_D4(0) : FL_A_B);
    } else if constexpr (NT == 6) {
        FL_WGMMA("48", FL_R16_0 "," FL_R8_2, "{%24,%25,%26,%27}, %28") : FL_D4(0), FL_D2(4) : FL_A_B);
    } else if constexpr (NT == 8) {
        FL_WGMMA("64", FL_R16_0 "," FL_R16_1, "{%32,%33,%34,%35}, %36") : FL_D4(0), FL_D4(4) : FL_A_B);
    } else if constexpr (NT == 12) {
        FL_WGMMA("96", FL_R16_0 "," FL_R16_1 "," FL_R16_2, "{%48,%49,%50,%51}, %52") : FL_D4(0), FL_D4(4), FL_D4(8) : FL_A_B);
    } else if constexpr (NT == 14) {
        FL_WGMMA("112", FL_R16_0 "," FL_R16_1 "," FL_R16_2 "," FL_R8_6, "{%56,%57,%58,%59}, %60")
            : FL_D4(0), FL_D4(4), FL_D4(8), FL_D2(12) : FL_A_B);
    } else if constexpr (NT == 16) {
        FL_WGMMA("128", FL_R64_0, "{%64,%65,%66,%67}, %68") : FL_D4(0), FL_D4(4), FL_D4(8), FL_D4(12) : FL_A_B);
    } else if constexpr (NT == 20) {
        FL_WGMMA("160", FL_R64_0 "," FL_R16_4, "{%80,%81,%82,%83}, %84")
            : FL_D4(0), FL_D4(4), FL_D4(8), FL_D4(12), FL_D4(16) : FL_A_B);
    } else if constexpr (NT == 24) {
        FL_WGMMA("192", FL_R64_0 "," FL_R16_4 "," FL_R16_5, "{%96,%97,%98,%99}, %100")
            : FL_D4(0), FL_D4(4), FL_D4(8), FL_D4(12), FL_D4(16), FL_D4(20) : FL_A_B);
    } else if constexpr (NT == 28) {
        FL_WGMMA("224", FL_R64_0 "," FL_R16_4 "," FL_R16_5 "," FL_R16_6, "{%112,%113,%114,%115}, %116")
            : FL_D4(0), FL_D4(4), FL_D4(8), FL_D4(12), FL_D4(16), FL_D4(20), FL_D4(24) : FL_A_B);
    } else {
        static_assert(NT == 32, "8, 16, 32, 48, 64, 96, 112, 128, 160, 192, 224 or 256 columns");
        FL_WGMMA("256", FL_R64_0 "," FL_R16_4 "," FL_R16_5 "," FL_R16_6 "," FL_R16_7, "{%128,%129,%130,%131}, %132")
            : FL_D4(0), FL_D4(4), FL_D4(8), FL_D4(12), FL_D4(16), FL_D4(20), FL_D4(24), FL_D4(28) : FL_A_B);
    }
}

#undef FL_R64_0
#undef FL_R16_7
#undef FL_R16_6
#undef FL_R16_5
#undef FL_R16_4
#undef FL_R16_3
#undef FL_R8_6
#undef FL_R16_2
#undef FL_R16_1
#undef FL_R8_2
#undef FL_R16_0
#undef FL_R8
#undef FL_R4
#undef FL_A_B
#undef FL_WGMMA
#undef FL_D4
#undef FL_D2
#undef FL_D

#endif

}  // namespace fl
