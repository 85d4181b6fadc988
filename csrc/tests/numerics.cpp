// The sines and cosines of each format against those of long double.
#include <random>

#include "../src/numerics.h"
#include "check.h"

using namespace arasfsr;

namespace {

const long double TURN = 2 * std::acos(-1.0L);

// The encoding's arguments are below 2^9; the modulator's depend on its weights.
template <class Function>
void for_angles_up_to(double most, const Function& function) {
    std::mt19937 random(7);
    std::uniform_real_distribution<float> uniform(-1, 1);
    for (double range = 1e-3; range <= most; range *= 2) {
        for (int i = 0; i < 2000; ++i) function(static_cast<float>(range * uniform(random)));
    }
    // multiples of a quarter turn, where the rounded number of turns changes
    for (int halves = 0; halves * TURN / 4 < most; halves += halves < 4000 ? 1 : 997) {
        const float edge = static_cast<float>(halves * TURN / 4);
        for (float x : {std::nextafter(edge, 0.0f), edge, std::nextafter(edge, INFINITY)}) {
            function(x);
            function(-x);
        }
    }
}

void reduction_by_whole_turns_is_accurate() {
    for_angles_up_to(1 << 20, [](float x) {
        const float reduced = within_a_turn(x);
        const long double turns = std::nearbyint((x - static_cast<long double>(reduced)) / TURN);
        CHECK(std::fabs(reduced) < 3.2f);
        CHECK(std::fabs(x - turns * TURN - reduced) < 1.3e-7);
    });
    CHECK(within_a_turn(0.0f) == 0.0f && within_a_turn(1e-30f) == 1e-30f && within_a_turn(3.0f) == 3.0f);
}

template <class T>
void errors_are_below(double most, double largest_angle) {
    for_angles_up_to(largest_angle, [most](float x) {
        const Angle<T> angle(x);
        CHECK(std::fabs(angle.sine() - std::sin(static_cast<long double>(x))) < most);
        CHECK(std::fabs(angle.cosine() - std::cos(static_cast<long double>(x))) < most);
    });
}

// In a 16-bit format, stored sines differ seldom from the correctly rounded ones, and never by more than a unit in the
// last place.
template <class T>
void stored_sines_are_seldom_rounded_wrong(double step, double fraction) {
    std::mt19937 random(11);
    std::uniform_real_distribution<float> uniform(-512, 512);
    const int count = 100000;
    int others = 0;
    for (int i = 0; i < count; ++i) {
        const float x = uniform(random), expected = static_cast<float>(std::sin(static_cast<long double>(x)));
        const hw::Pair<T> pair = hw::pack<T>(Angle<T>(x).sine(), expected);
        const float off = std::fabs(hw::lower<T>(pair) - hw::upper<T>(pair));
        CHECK(off <= std::max(step * std::fabs(expected), 8e-7));
        others += off > 8e-7;
    }
    CHECK(others < fraction * count);
}

template <class T>
void nan_propagates() {
    for (float x : {INFINITY, -INFINITY, NAN}) {
        CHECK(std::isnan(Angle<T>(x).sine()));
        CHECK(std::isnan(Angle<T>(x).cosine()));
    }
}

}  // namespace

int main() {
    reduction_by_whole_turns_is_accurate();
    errors_are_below<Bfloat16>(8e-7, 1 << 20);
    errors_are_below<Float16>(8e-7, 1 << 20);
    errors_are_below<Tf32>(1.3e-7, 1 << 12);
    stored_sines_are_seldom_rounded_wrong<Bfloat16>(1.0 / 128, 0.001);
    stored_sines_are_seldom_rounded_wrong<Float16>(1.0 / 1024, 0.005);
    nan_propagates<Bfloat16>();
    nan_propagates<Float16>();
    nan_propagates<Tf32>();
    return check::report("numerics");
}
