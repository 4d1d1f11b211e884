// SPDX-License-Identifier: Apache-2.0
// The conversion kernels as a host library: `fl_emulate` runs one by its name.
#include "cuda_emulation.h"

#include "fl_bitmap.cuh"
#include "fl_convert_fragments.cuh"
#include "fl_sell.cuh"

// Each kernel file has its own names for its own things.
namespace slots {
#include "../../kernels/convert_slots.cu"
}
namespace bitmap {
#include "../../kernels/convert_bitmap.cu"
}
namespace tiled_csl {
#include "../../kernels/convert_tiled_csl.cu"
}
namespace banked {
#include "../../kernels/convert_banked.cu"
}
namespace sell {
#include "../../kernels/convert_sell.cu"
}
namespace scan {
#include "../../kernels/convert_scan.cu"
}
namespace table {
#include "../../kernels/convert_table.cu"
}
namespace csr {
#include "../../kernels/convert_csr.cu"
}
namespace prune {
#include "../../kernels/prune.cu"
}

namespace {

struct Entry {
    const char* name;
    void (*run)(void** parameters);
};

#define ENTRY(scope, name, type) \
    { #name, [](void** parameters) { scope::name(*static_cast<const type*>(parameters[0])); } }

const Entry kEntries[] = {
    ENTRY(slots, fl_convert_slots_rows, FlConvertParams),
    ENTRY(slots, fl_convert_slots_size, FlConvertParams),
    ENTRY(slots, fl_convert_slots_encode, FlConvertParams),
    ENTRY(slots, fl_convert_slots_unpack, FlConvertParams),
    ENTRY(bitmap, fl_convert_bitmap_size, FlConvertParams),
    ENTRY(bitmap, fl_convert_bitmap_encode, FlConvertParams),
    ENTRY(bitmap, fl_convert_bitmap_unpack, FlConvertParams),
    ENTRY(tiled_csl, fl_convert_tiled_csl_size, FlConvertParams),
    ENTRY(tiled_csl, fl_convert_tiled_csl_encode, FlConvertParams),
    ENTRY(tiled_csl, fl_convert_tiled_csl_unpack, FlConvertParams),
    ENTRY(banked, fl_convert_banked_size, FlConvertParams),
    ENTRY(banked, fl_convert_banked_encode, FlConvertParams),
    ENTRY(banked, fl_convert_banked_unpack, FlConvertParams),
    ENTRY(sell, fl_convert_sell_size, FlConvertParams),
    ENTRY(sell, fl_convert_sell_encode, FlConvertParams),
    ENTRY(sell, fl_convert_sell_unpack, FlConvertParams),
    ENTRY(scan, fl_convert_scan, FlScanParams),
    ENTRY(table, fl_convert_table, FlTableParams),
    ENTRY(csr, fl_csr_check, FlCsrParams),
    ENTRY(csr, fl_csr_expand, FlCsrParams),
    ENTRY(prune, fl_prune_histogram, FlPruneParams),
    ENTRY(prune, fl_prune_select, FlPruneParams),
    ENTRY(prune, fl_prune_ties, FlPruneParams),
    ENTRY(prune, fl_prune_scan, FlPruneParams),
    ENTRY(prune, fl_prune_apply, FlPruneParams),
    ENTRY(prune, fl_prune_rows, FlPruneParams),
};

}  // namespace

// Runs the kernel `name` to its end. 1 if it is one that this library has, else 0.
extern "C" int fl_emulate(const char* name, const unsigned* grid, unsigned threads, unsigned smem, unsigned order,
                          void** parameters) {
    for (const Entry& entry : kEntries) {
        if (strcmp(entry.name, name) != 0) continue;
        emulation::launch(grid, threads, smem, order, [&] { entry.run(parameters); });
        return 1;
    }
    return 0;
}
