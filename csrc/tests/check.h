// A minimal test framework: checks that print what failed and where, and count.
#ifndef ARASFSR_TESTS_CHECK_H
#define ARASFSR_TESTS_CHECK_H

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace check {

inline int failures = 0;

inline void that(bool holds, const std::string& what, const char* file, int line) {
    if (holds) return;
    ++failures;
    std::printf("%s:%d: %s\n", file, line, what.c_str());
}

// Root mean square of the difference over that of the expected values.
template <class Actual, class Expected>
double relative_error(const std::vector<Actual>& actual, const std::vector<Expected>& expected) {
    double difference = 0, size = 0;
    for (size_t i = 0; i < expected.size(); ++i) {
        const double off = static_cast<double>(actual[i]) - expected[i];
        difference += off * off;
        size += static_cast<double>(expected[i]) * expected[i];
    }
    if (actual.size() != expected.size() || std::isnan(difference)) return INFINITY;
    return size > 0 ? std::sqrt(difference / size) : std::sqrt(difference);
}

inline int report(const char* name) {
    std::printf("%s: %s\n", name, failures ? "FAILED" : "passed");
    return failures ? EXIT_FAILURE : EXIT_SUCCESS;
}

}  // namespace check

#define CHECK(condition) check::that((condition), #condition, __FILE__, __LINE__)
#define CHECK_CASE(condition, name) check::that((condition), std::string(name) + ": " #condition, __FILE__, __LINE__)
#endif
