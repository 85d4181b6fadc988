// The emulation's random schedule exposes a missing barrier: a write to memory that others still read.
//
// Built from the kernels' sources with ARASFSR_TEST_MISSING_BARRIER.
#include "check.h"
#include "model.h"

using namespace tests;

namespace {

void race_is_seen(const Model& model) {
    size_t bytes = 0;
    CHECK(arasfsr_render_scratch(&model.problem, &bytes).code == ARASFSR_OK);
    const Buffer<unsigned char> scratch(bytes);
    const std::vector<double> expected = model.render(true);
    int seen = 0;
    for (const char* seed : {"1", "2", "3", "4"}) {
        setenv("ARASFSR_EMULATION_SEED", seed, 1);
        const Buffer<float> out(expected.size());
        CHECK(arasfsr_render(&model.problem, out.data(), scratch.data(), bytes).code == ARASFSR_OK);
        const double error = check::relative_error(out.values(), expected);
        std::printf("rows of %d, seed %s: error %.1e\n", model.problem.padded, seed, error);
        seen += error > 1e-2;
    }
    CHECK(seen == 4);
}

}  // namespace

int main() {
    Case each;
    each.width = each.padded;
    race_is_seen(Model(each));
    setenv("ARASFSR_EMULATION_CAPABILITY", "90", 1);
    each.width = each.padded = 256;
    race_is_seen(Model(each));
    return check::report("races");
}
