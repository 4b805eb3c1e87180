// AVX-512 (F, BW, DQ, VL) with BF16: the kernels of avx512.cpp, and beside them those that multiply pairs of bfloat16.
#define CROSSHEAD_ISA avx512_bf16
#define CROSSHEAD_VECTOR_BYTES 64
#define CROSSHEAD_BFLOAT16 1
#include "heads/gradients.hpp"
#include "isa/kernels.hpp"
#include "pass/bfloat16.hpp"

namespace crosshead {
namespace avx512_bf16 {

inline bool brief(const PassTask& task) { return task.features.brief; }
inline bool brief(const HeadTask& task) { return task.number == Number::bfloat16; }

inline void add_pass_kernels(PassKernels& table) {
  table.sizes = [](const PassTask& task) { return brief(task) ? bfloat16_sizes(task) : kernels_avx512().pass.sizes(task); };
  table.pack_weight = [](const PassTask& task, const double* weight, void* packed) {
    brief(task) ? pack_bfloat16(task, weight, packed) : kernels_avx512().pass.pack_weight(task, weight, packed);
  };
  table.chunk = [](const PassTask& task, std::int64_t first, std::int64_t last, void* scratch, ChunkSums& sums) {
    brief(task) ? bfloat16_chunk(task, first, last, scratch, sums)
                : kernels_avx512().pass.chunk(task, first, last, scratch, sums);
  };
  table.commit_gradient = [](const PassTask& task, void* gradient, double* result) {
    brief(task) ? commit_bfloat16(task, static_cast<float*>(gradient), result)
                : kernels_avx512().pass.commit_gradient(task, gradient, result);
  };
}

inline void add_head_kernels(HeadKernels& table) {
  table.sizes = [](const HeadTask& task) {
    return brief(task) ? head_sizes_as<Paired>(task) : kernels_avx512().head.sizes(task);
  };
  table.pack = [](const HeadTask& task, std::int64_t block) {
    brief(task) ? pack_block<Paired>(task, block) : kernels_avx512().head.pack(task, block);
  };
  table.states = [](const HeadTask& task, std::int64_t first_block, std::int64_t count, std::int64_t first, std::int64_t last,
                    void* scratch, void* state, std::int64_t stride, HeadGradients* scores) {
    const auto run = brief(task) ? head_states<Paired> : kernels_avx512().head.states;
    run(task, first_block, count, first, last, scratch, state, stride, scores);
  };
  table.gradients = [](const HeadTask& task, std::int64_t first, std::int64_t last, void* scratch, const HeadGradients& g,
                       bool kept, const HeadWeightGradient& weight) {
    const auto run = brief(task) ? head_gradients<Paired> : kernels_avx512().head.gradients;
    run(task, first, last, scratch, g, kept, weight);
  };
  table.input_gradient = [](const HeadTask& task, const HeadGradients& g, std::int64_t first_block, std::int64_t last_block,
                            std::int64_t from, std::int64_t to, void* scratch, void* sum, std::int64_t stride) {
    const auto run = brief(task) ? head_input_gradient<Paired> : kernels_avx512().head.input_gradient;
    run(task, g, first_block, last_block, from, to, scratch, sum, stride);
  };
}

inline Kernels make_kernels() {
  Kernels table = kernels_avx512();
  table.name = "avx512_bf16";
  table.has_bfloat16 = true;
  add_pass_kernels(table.pass);
  add_head_kernels(table.head);
  return table;
}

}  // namespace avx512_bf16

const Kernels& kernels_avx512_bf16() {
  static const Kernels kernels = avx512_bf16::make_kernels();
  return kernels;
}
}  // namespace crosshead
