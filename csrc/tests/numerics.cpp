// Sines and cosines as each format takes them, against those of long double.
#include <random>

#include "../src/numerics.h"
#include "check.h"

using namespace arasfsr;

namespace {

const long double TURN = 2 * std::acos(-1.0L);

// Up to 2^9 the encoding's arguments go, beyond it only weights could take them.
template <class Function>
void for_angles_up_to(double most, const Function& function) {
    std::mt19937 random(7);
    std::uniform_real_distribution<float> uniform(-1, 1);
    for (double range = 1e-3; range <= most; range *= 2) {
        for (int i = 0; i < 2000; ++i) function(static_cast<float>(range * uniform(random)));
    }
    // where the nearest number of turns changes, and where the sine does not cancel to zero
    for (int halves = 0; halves * TURN / 4 < most; halves += halves < 4000 ? 1 : 997) {
        const float edge = static_cast<float>(halves * TURN / 4);
        for (float x : {std::nextafter(edge, 0.0f), edge, std::nextafter(edge, INFINITY)}) {
            function(x);
            function(-x);
        }
    }
}

void whole_turns_are_taken_off_to_the_last_bit() {
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

// What a 16-bit format stores is seldom rounded the other way, and never off by more than a step.
template <class T>
void rounding_hides_them(double step, double share) {
    std::mt19937 random(11);
    std::uniform_real_distribution<float> uniform(-512, 512);
    const int count = 100000;
    int others = 0;
    for (int i = 0; i < count; ++i) {
        const float x = uniform(random), right = static_cast<float>(std::sin(static_cast<long double>(x)));
        const hw::Pair<T> pair = hw::pack<T>(Angle<T>(x).sine(), right);
        const float off = std::fabs(hw::lower<T>(pair) - hw::upper<T>(pair));
        CHECK(off <= std::max(step * std::fabs(right), 8e-7));
        others += off > 8e-7;
    }
    CHECK(others < share * count);
}

template <class T>
void what_is_no_number_stays_none() {
    for (float x : {INFINITY, -INFINITY, NAN}) {
        CHECK(std::isnan(Angle<T>(x).sine()));
        CHECK(std::isnan(Angle<T>(x).cosine()));
    }
}

}  // namespace

int main() {
    whole_turns_are_taken_off_to_the_last_bit();
    errors_are_below<Bfloat16>(8e-7, 1 << 20);
    errors_are_below<Float16>(8e-7, 1 << 20);
    errors_are_below<Tf32>(1.3e-7, 1 << 12);
    rounding_hides_them<Bfloat16>(1.0 / 128, 0.001);
    rounding_hides_them<Float16>(1.0 / 1024, 0.005);
    what_is_no_number_stays_none<Bfloat16>();
    what_is_no_number_stays_none<Float16>();
    what_is_no_number_stays_none<Tf32>();
    return check::report("numerics");
}
