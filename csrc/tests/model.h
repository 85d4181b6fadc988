// A random problem with all its buffers, and a plain decoder in double, one query at a time.
#ifndef ARASFSR_TESTS_MODEL_H
#define ARASFSR_TESTS_MODEL_H

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "arasfsr/core.h"

namespace tests {

// Memory aligned as the C API requires, filled with NaN so that elements nobody writes show. The destructor aborts if
// there was a write beyond the end.
template <class Number>
class Buffer {
  public:
    explicit Buffer(size_t size = 0) : size_(size), memory_(new unsigned char[bytes() + 16 + GUARD]) {
        for (size_t i = 0; i < bytes() + 16 + GUARD; ++i) memory_[i] = 0xFF;
    }
    Buffer(Buffer&&) = default;
    Buffer& operator=(Buffer&&) = default;
    ~Buffer() {
        if (memory_ == nullptr) return;
        const unsigned char* end = reinterpret_cast<const unsigned char*>(data() + size_);
        for (size_t i = 0; i < GUARD; ++i) {
            if (end[i] == 0xFF) continue;
            std::printf("%zu bytes, written %zu beyond\n", bytes(), i);
            std::abort();
        }
    }
    Number* data() const {
        unsigned char* start = memory_.get();
        return reinterpret_cast<Number*>(start + (-reinterpret_cast<uintptr_t>(start) & 15));
    }
    Number* or_null() const { return size_ ? data() : nullptr; }
    Number& operator[](size_t i) const { return data()[i]; }
    size_t size() const { return size_; }
    std::vector<Number> values() const { return {data(), data() + size_}; }

  private:
    static constexpr size_t GUARD = 4096;

    size_t bytes() const { return size_ * sizeof(Number); }

    size_t size_;
    std::unique_ptr<unsigned char[]> memory_;
};

// A number rounded to a dtype of the C API.
double rounded_to(int dtype, double x);

// Numbers of a dtype, NaN until set.
class Numbers {
  public:
    explicit Numbers(int dtype = ARASFSR_BFLOAT16, size_t size = 0)
        : dtype(dtype), size_(size), bytes_(size * (dtype == ARASFSR_TF32 ? 4 : 2)) {}
    size_t size() const { return size_; }
    void* data() const { return bytes_.data(); }
    void* or_null() const { return bytes_.or_null(); }
    double operator[](size_t i) const;
    void set(size_t i, float x) const;
    std::vector<double> values() const;
    std::vector<unsigned char> bytes() const { return bytes_.values(); }

  private:
    int dtype;
    size_t size_;
    Buffer<unsigned char> bytes_;
};

struct Case {
    std::string name;
    int dtype = ARASFSR_BFLOAT16;
    int layers = 3, width = 60, padded = 64;
    bool modulated = true, grid = true, has_cell = false, skip = true, per_image = false;
    int images = 1;
    int64_t queries = 100;  // of an image
    int lr_height = 5, lr_width = 7;
};

// All intermediate results of one query of one image; vectors are `width` long.
struct Trace {
    using Vector = std::vector<double>;
    int64_t query_index;  // among all queries of the problem
    float y, x;
    int64_t lr_row[4];
    double rel[4][2], share[4];
    std::vector<Vector> f[4];  // of each corner, of each layer
    std::vector<Vector> s, cosines;
    double out[3];
};

class Model {
  public:
    explicit Model(const Case& config, unsigned seed = 1);

    // With `rounded`, activations are rounded where the kernels round them, and sines as in the emulation.
    Trace trace(int image, int64_t query, bool rounded) const;

    // The output, (images, queries, 3).
    std::vector<double> render(bool rounded) const;

    Case config;
    arasfsr_problem problem{};
    Numbers content_weight, encoding_weight, modulator_weight;

  private:
    using Vector = Trace::Vector;

    void locate(Trace& result, int image_index, int64_t query) const;
    void coordinate_branch(Trace& result, bool rounded) const;
    void content_branch(Trace& result, int v, bool rounded) const;
    double skip(const Trace& at, int image_index, int channel) const;
    double round(double x, bool rounded) const;
    double of_unit(double x, bool rounded) const;  // rounds a sine or cosine like the special-function unit
    Numbers weights(int matrices, int outputs, int inputs, int row, double scale);
    Buffer<float> numbers(int rows, int used, int row, double scale);

    std::mt19937 random;
    Buffer<float> lr_map, image, coord, cell, rel_weight, cell_weight;
    Buffer<float> content_bias, modulator_bias, output_weight, output_bias;
};

// Cases that together reach every branch of the kernels.
std::vector<Case> cases();

// Kept rows in plain order; from row `first` on they may be in the private order of core.h.
std::vector<double> in_rows(const Model& model, const Numbers& kept, int64_t first);

// A chunk's kept activations.
struct Kept {
    Kept(const Model& model, int64_t first, int64_t count);
    arasfsr_status fill(const Model& model) const;
    arasfsr_kept kept;
    int64_t rows;
    Numbers f, s, cosines;
    Buffer<int64_t> lr_rows;
    Buffer<float> rel, share;
};

struct Gradients {
    Gradients(const Model& model, const Kept& kept, bool share);
    arasfsr_status fill(const Model& model, const Kept& kept) const;
    arasfsr_gradients gradients;
    Buffer<float> grad;
    Numbers z;
    Buffer<float> s, share, combined;
};

// A plain backward over the kept activations of a chunk: in double, z rounded where the kernels round it.
struct PlainGradients {
    PlainGradients(const Model& model, const Kept& kept, const Gradients& gradients);
    std::vector<double> z, s, share, combined;
};

}  // namespace tests
#endif
